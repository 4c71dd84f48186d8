"""Changes of settings that a message proposes: each is tried first, so that no advice is refused.

A message says what was wrong, and then `ways` out of it: settings as they are typed, and only those
that pass every check of the settings they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from ganpress.errors import GanpressError
from ganpress.run.settings import CropSettings, Settings, checked, put
from ganpress.types.sizes import words

S = TypeVar("S", bound=Settings)
Changes = Mapping[str, Any]
"""Values by the dotted names of their settings."""

_trying: ContextVar[bool] = ContextVar("_trying", default=False)


_held: ContextVar[tuple[str, ...]] = ContextVar("_held", default=())


@contextmanager
def holding(*names: str) -> Iterator[None]:
    """Within, these settings or groups of them are decided elsewhere: none is proposed."""
    token = _held.set((*_held.get(), *names))
    try:
        yield
    finally:
        _held.reset(token)


def is_held(key: str) -> bool:
    """Whether a setting, by its dotted name, is one that cannot be chosen now (`holding`)."""
    return any(key == name or key.startswith(f"{name}.") for name in _held.get())


def with_changes(config: S, changes: Changes) -> S:
    """The settings with these, checked. Raises: ConfigError."""
    values = config.model_dump()
    for key, value in changes.items():
        group = put(values, key, value)
        if key.endswith(".size") and _load_size_follows(config, key.removesuffix(".size")):
            group.pop("load_size", None)
    return checked(type(config), values)


def _load_size_follows(config: Settings, group: str) -> bool:
    """Whether a group's ``load_size`` is its default's, in proportion: it is then not given."""
    info, now = type(config).model_fields.get(group), getattr(config, group, None)
    default = info.default if info else None
    if not isinstance(default, CropSettings) or not isinstance(now, CropSettings):
        return False
    return default.with_given({"size": now.size}).get("load_size") == now.load_size


def first_accepted(
    config: Settings,
    candidates: Iterable[Changes],
    check: Callable[[Any], object] | None = None,
) -> Changes | None:
    """The first of the changes that is not refused; None where all are.

    Args: check: what else refuses settings, by raising a GanpressError.
    """
    for changes in candidates:
        if any(map(is_held, changes)):
            continue
        with _quietly():
            try:
                changed = with_changes(config, changes)
                if check is not None:
                    check(changed)
            except GanpressError:
                continue
        return changes
    return None


def ways(
    config: Settings,
    *groups: Iterable[Changes],
    check: Callable[[Any], object] | None = None,
) -> str:
    """' (--set data.size=128 or --set data.size=132)': the first way of each group that is not
    refused; '' where there is none."""
    if _trying.get():
        return ""  # a message of a trial is not read, and its own trials would never end
    found = [first_accepted(config, group, check) for group in groups]
    flags = dict.fromkeys(as_flags(changes) for changes in found if changes is not None)
    return f" ({' or '.join(flags)})" if flags else ""


def as_flags(changes: Changes) -> str:
    """'--set data.size=64 --set options.size=64'."""
    return " ".join(f"--set {key}={_typed(value)}" for key, value in changes.items())


def _typed(value: Any) -> str:
    if value is None:
        return ""  # as a setting is reset
    if isinstance(value, bool):
        return str(value).lower()
    return words(value) if isinstance(value, tuple) else f"{value}"


@contextmanager
def _quietly() -> Iterator[None]:
    token = _trying.set(True)
    try:
        yield
    finally:
        _trying.reset(token)


def fewer(key: str, now: int, least: int = 1) -> Iterator[Changes]:
    """Smaller values of a whole number, from the nearest on."""
    return ({key: value} for value in range(now - 1, least - 1, -1))
