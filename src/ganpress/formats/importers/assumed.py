"""What a file cannot say: given by the user, decided by the file's tensors, or assumed and said.

An importer asks for each option of a network that no tensor shows. What it had to assume goes into
its `Plan`, from there onto the model's card, and is printed by 'ganpress import'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from ganpress.errors import ConfigError, did_you_mean


class Assumed(TypedDict):
    """One assumption, as JSON values.

    Attributes:
        value: what was assumed: a value, or several options' values by name.
        why: why the file cannot say it, and what depends on it.
        otherwise: the alternatives as a user types them ('--option upsampling=more'); none where
            ganpress has no other.
    """

    value: Any
    why: str
    otherwise: list[str]


Assumptions = dict[str, Assumed]


def assumption(option: str, value: Any, others: Iterable[Any], why: str) -> Assumptions:
    """An assumption about one option, of which ``others`` are the other values possible."""
    return {option: Assumed(value=value, why=why, otherwise=[typed({option: v}) for v in others])}


def typed(options: Mapping[str, Any]) -> str:
    """Options as a user types them: '--option labels=35 --option edges=true'."""
    return " ".join(f"--option {name}={as_toml(value)}" for name, value in options.items())


def named(options: Mapping[str, Any]) -> str:
    """Options in a sentence: 'labels=35, edges=true'."""
    return ", ".join(f"{name}={as_toml(value)}" for name, value in options.items())


def as_toml(value: Any) -> str:
    """A value as a user types it: true, 35, more."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def values(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were assumed of a model with this provenance, with their values."""
    found: dict[str, Any] = {}
    for option, one in provenance.get("assumed", {}).items():
        value = one["value"]
        found |= value if isinstance(value, Mapping) else {option: value}
    return found


def summary(provenance: Mapping[str, Any]) -> str:
    """`values` in a line: 'upsampling=normal, middle=instance'."""
    return named(values(provenance))


def sentence(option: str, found: Mapping[str, Any]) -> str:
    """An assumption in one line, for the console."""
    shown = summary({"assumed": {option: found}})
    others = " or ".join(found["otherwise"])
    rest = f"Otherwise: {others}" if others else "ganpress has no other."
    return f"assumed {shown}: {found['why']}. {rest}"


def pick(source: str, option: str, given: Any, possible: Sequence[Any], why: str) -> Any:
    """The value given, or the first one that the file leaves possible.

    Args:
        given: None for an option that the user left out.
        why: what in the file rules the other values out.
    Raises: ConfigError for a value that the file rules out.
    """
    if given is None:
        return possible[0]
    if given not in possible:
        allowed = " or ".join(as_toml(v) for v in possible)
        raise ConfigError(
            f"{source} cannot have {option}={as_toml(given)}: {why}. Give {option}={allowed}, or "
            "leave it out."
        )
    return given


def reject_others(kind: str, options: Iterable[str], known: Iterable[str], source: str) -> None:
    """Refuse options that mean nothing for such a file: ConfigError."""
    for name in options:
        if name not in known:
            every = ", ".join(known)
            hint = f"Its options: {every}." if every else f"All is read off {source}."
            raise ConfigError(f"A {kind} file takes no '{name}'{did_you_mean(name, known)}. {hint}")
