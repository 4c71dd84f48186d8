"""Settings: frozen, unknown keys refused with the nearest name, one default in one place.

Pydantic is used here, at the border, only; below it the settings are plain attributes. A setting
comes from the defaults here, then the TOML file of ``--config``, then each ``--set key=value``;
``--set key=`` resets a setting of the file to its default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ganpress.errors import ConfigError, did_you_mean
from ganpress.run.files import text_of
from ganpress.run.recipes import config_file
from ganpress.sniff import no_toml
from ganpress.types.seeds import MAX_SEED
from ganpress.types.sizes import Size, as_size, covers, is_multiple, scaled, shorter, words


class Settings(BaseModel):
    """Base of every group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe_kinds: ClassVar[tuple[str, ...]] = ("*",)
    """Kinds of the recipes that can be named in place of a file (`run.recipes`)."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Settings, or groups of them, by the dotted names they had before."""

    def with_given(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What was given of this group, over what this default sets."""
        return {**self.model_dump(exclude_defaults=True), **given}


def _read_size(value: object) -> Size:
    try:
        return as_size(value, "it")
    except ConfigError as error:
        said = str(error).partition(": ")[2].rstrip(".")
        raise PydanticCustomError("size", "{said}", {"said": said}) from error


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
"""What seeds torch's and numpy's draws alike."""
PixelSize = Annotated[Size, BeforeValidator(_read_size)]
"""A size in pixels: 256, or "256x512" for height x width; an int where it is square."""


def at_least(pixels: int) -> AfterValidator:
    """Of a `PixelSize`: neither side is shorter than this."""

    def check(size: Size) -> Size:
        if shorter(size) < pixels:
            raise PydanticCustomError(
                "size", "Input should be greater than or equal to {pixels}", {"pixels": pixels}
            )
        return size

    return AfterValidator(check)


def multiple_of(step: int) -> AfterValidator:
    """Of a `PixelSize`: both sides are divisible by this."""

    def check(size: Size) -> Size:
        if not is_multiple(size, step):
            raise PydanticCustomError(
                "size", "Input should be a multiple of {step}", {"step": step}
            )
        return size

    return AfterValidator(check)


class CropSettings(Settings):
    """What every description of training crops has; subclasses say which sizes can be."""

    size: PixelSize
    load_size: PixelSize | None = Field(
        default=None,
        description="shorter side before the crop, or height x width that the picture is to cover, "
        "pixels; None: as size",
    )
    flip: bool = Field(default=True, description="mirror each crop with probability 1/2")
    workers: int = Field(
        default=1, ge=0, description="processes that decode images; 0: the training process itself"
    )

    def with_given(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As of every group; a default ``load_size`` keeps its proportion to a given size."""
        out = super().with_given(given)
        if self.load_size is not None and "size" in given and "load_size" not in given:
            try:
                out["load_size"] = scaled(self.load_size, self.size, as_size(given["size"]))
            except ConfigError:
                del out["load_size"]  # the size is refused by its own field
        return out

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        if self.load_size is not None and not covers(self.load_size, self.size):
            raise ConfigError(
                f"data.load_size is {words(self.load_size)}, smaller than the crop data.size of "
                f"{words(self.size)}. Make it at least {words(self.size)}, or leave it out."
            )
        return self


C = TypeVar("C", bound=Settings)


def read_config(
    kind: type[C],
    file: str | Path | None = None,
    sets: Iterable[str] = (),
    *,
    settle: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> C:
    """Defaults, then the TOML file or the recipe of that name, then each ``key=value``.

    Keys are dotted, values as in TOML; ``key=`` with no value resets it to the default.

    Args: settle: what was given -> the same with what something else settles, before the checks.
    Raises: ConfigError.
    """
    values: dict[str, Any] = {}
    if file is not None:
        file = config_file(file, kind.recipe_kinds)
        try:
            values = tomllib.loads(text_of(file))
        except FileNotFoundError as error:
            near = did_you_mean(file.name, [p.name for p in file.parent.glob("*.toml")])
            raise ConfigError(f"There is no configuration file {file}{near}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} {no_toml(file, error)}.") from error
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
        check_names(kind, values, str(file))
    for item in sets:
        key, value = _parse(item)
        if not isinstance(value, str) and _is_text(kind, key):  # 32_16_24 is no number there
            value = item.partition("=")[2].strip()
        group = put(values, key, value)
        check_names(kind, values, f"--set {item}")
        if value == "":
            del group[key.split(".")[-1]]
    return checked(kind, settle(values) if settle else values)


def checked(kind: type[C], values: Mapping[str, Any]) -> C:
    """Settings from plain data; every problem in one message."""
    check_names(kind, values, "the settings")
    try:
        return kind.model_validate(_over_defaults(kind, values))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']} (got {e['input']!r})"
            for e in error.errors()
        )
        raise ConfigError(f"These settings cannot be used: {problems}.") from error


def _over_defaults(kind: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values; a group given in part keeps the other values of that group's default."""
    out = dict(values)
    for name, info in kind.model_fields.items():
        given, default = out.get(name), info.default
        if isinstance(default, Settings) and isinstance(given, Mapping):
            out[name] = default.with_given(given)
    return out


def names(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Every setting by its dotted name."""
    found: list[str] = []
    for name, info in kind.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += names(inner, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def check_names(kind: type[BaseModel], values: Mapping[str, Any], where: str) -> None:
    """Refuse an unknown setting, with the nearest name."""
    known = names(kind)
    groups = {n.split(".")[0] for n in known if "." in n}
    free = {n for n, info in kind.model_fields.items() if get_origin(info.annotation) is dict}
    for name in _flatten(values):
        if name in known or name in groups or name.split(".")[0] in free:
            continue
        if today := _today(name, kind):
            raise ConfigError(f"Setting '{name}' in {where} is now called '{today}'.")
        raise ConfigError(
            f"Unknown setting '{name}' in {where}{_nearest(name, known)}. "
            "'ganpress settings' lists them all."
        )


def _today(name: str, kind: type[BaseModel]) -> str | None:
    """What a setting is called that had this name before; None for another."""
    renamed: Mapping[str, str] = getattr(kind, "renamed", {})
    new = name
    for was in sorted(renamed, key=len, reverse=True):
        if name == was or name.startswith(f"{was}."):
            new = renamed[was] + name.removeprefix(was)
            break
    return new if new != name else None


def _nearest(name: str, known: list[str]) -> str:
    """The nearest of the settings with the same last part, or all of those, or the nearest."""
    same = [n for n in known if n.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    if same and "." not in name:
        return f" (did you mean {' or '.join(map(repr, same))}?)"
    return did_you_mean(name, same) or did_you_mean(name, known)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    out: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            out += _flatten(value, f"{prefix}{key}.")
        else:
            out.append(f"{prefix}{key}")
    return out


def pairs(items: Iterable[str], flag: str) -> dict[str, Any]:
    """What was given as ``flag key=value``: dotted keys make groups, values are as in TOML."""
    values: dict[str, Any] = {}
    for item in items:
        put(values, *_parse(item, flag), flag)
    return values


def _parse(item: str, flag: str = "--set") -> tuple[str, Any]:
    key, eq, text = item.partition("=")
    if not eq or not key.strip():
        example = "target.macs=0.05" if flag == "--set" else "padding=replicate"
        raise ConfigError(f"{flag} {item}: write key=value, such as {flag} {example}.")
    try:
        return key.strip(), tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), text.strip()  # a bare word is a string


def _is_text(kind: type[BaseModel], key: str) -> bool:
    """Whether a setting takes text alone, whatever it looks like."""
    found: Any = kind
    for part in key.split("."):
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            return False
        field = found.model_fields.get(part)
        found = field.annotation if field else None
    return found is str or set(get_args(found)) == {str, type(None)}


def put(values: dict[str, Any], key: str, value: Any, flag: str = "--set") -> dict[str, Any]:
    """Put a value in its place; the group it is in. Raises: ConfigError, naming the option."""
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{flag} {key}: '{part}' is a value, not a group of settings.")
    values[last] = value
    return values


def as_toml(kind: type[BaseModel]) -> str:
    """Every setting with its default and meaning, as a file that ``--config`` reads; those that are
    unset by default are comments."""
    from tomlkit import comment, document, inline_table, item, key

    file = document()
    for name, default, meaning in describe(kind):
        if default is None:
            file.add(comment(f"{name} =  # {meaning}" if meaning else f"{name} ="))
            continue
        value = item(default)
        if isinstance(default, dict):
            value = inline_table()  # not a table, which would take in all that follows
            value.update(default)
        file.add(key(name.split(".")), value.comment(meaning) if meaning else value)
    return file.as_string()


def describe(kind: type[BaseModel], prefix: str = "") -> list[tuple[str, Any, str]]:
    """(dotted name, default, meaning with the values to choose from) of every setting."""
    return _described(kind(), prefix)


def _described(defaults: BaseModel, prefix: str) -> list[tuple[str, Any, str]]:
    found: list[tuple[str, Any, str]] = []
    for name, info in type(defaults).model_fields.items():
        value = getattr(defaults, name)
        if isinstance(value, BaseModel):
            found += _described(value, f"{prefix}{name}.")
            continue
        meaning = info.description or ""
        choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
        if any(str(choice) not in meaning for choice in choices):
            meaning += f"; {' | '.join(map(str, choices))}"
        found.append((f"{prefix}{name}", value, meaning))
    return found
