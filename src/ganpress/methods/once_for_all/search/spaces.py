"""The search spaces of the paper by family, and one for any network of any widths."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganpress.channels.ranking import rounded_width
from ganpress.errors import ConfigError, did_you_mean
from ganpress.methods.once_for_all.search.space import Slot, Space, check_fits
from ganpress.run.files import text_of
from ganpress.sniff import no_toml

if TYPE_CHECKING:
    from ganpress.types import Options, Widths

RATIOS = (1.0, 0.75, 0.5, 0.375, 0.25)
"""Widths of a slot of `default_space`, as fractions of the network's."""

FROM_64 = (64, 56, 48, 40, 32, 24, 16)
SPADE_64 = (64, 48, 40, 32)
PUBLISHED: dict[str, dict[str, tuple[tuple[int, ...], ...]]] = {
    "cyclegan": {
        "channels-32": ((32, 24, 16),) * 8,  # 6561: horse2zebra, full pipeline
        "channels-48": (*((48, 32),) * 2, *((48, 40, 32),) * 4, *((48, 32, 24, 16),) * 2),  # 5184
        "channels-64-cyclegan": ((64, 48, 32, 24, 16),) * 8,  # 5^8
        "channels-64-pix2pix": (FROM_64,) * 8,  # 7^8
    },
    "gaugan": {
        "channels-48": (*((48, 40, 32),) * 5, *((48, 40, 32, 24),) * 3),  # 3^5 * 4^3
        "channels-64": (*(SPADE_64,) * 5, *((*SPADE_64, 24),) * 3),  # 4^5 * 5^3
        "channels-64-coco": ((*SPADE_64, 24),) * 8,  # 5^8
    },
    "munit": {"channels-64": (FROM_64,) * 10},  # 7^10
}
"""Numbers of each slot, by family and by the authors' name of the space."""

SPADE_HIDDEN = 2
"""Hidden channels of a SPADE norm for each 1 of its block's number."""

Named = tuple[str, dict[str, int]]
"""A slot's name, and its groups with their multipliers."""


def space_for(
    wanted: str,
    family: str,
    options: Options,
    network: Widths,
    *,
    ratios: Sequence[float] = RATIOS,
    multiple: int = 8,
    min_channels: int = 8,
) -> Space:
    """The space of a setting, checked against the network.

    Args:
        wanted: "default"; a published space of the family; or a TOML file (`read_space`).
        network: every group with its channels: those of the supernet.
        ratios, multiple, min_channels: of "default" (`default_space`).
    Raises: ConfigError, with the nearest name, for one that there is not or that does not fit.
    """
    if wanted == "default":
        how = {"multiple": multiple, "min_channels": min_channels}
        return default_space(family, options, network, ratios, **how)
    if wanted.endswith(".toml"):
        space = read_space(Path(wanted))
        check_fits(space, network, tuple(network))
        return space
    space = published_space(wanted, family, options)
    check_fits(space, network, _free(family, network))
    return space


def published_space(name: str, family: str, options: Options) -> Space:
    """A space of the paper on this family's groups.

    Raises: ConfigError where the family has none of that name, or the network lacks what a slot
        sets: fewer than three blocks, no style encoder.
    """
    known = PUBLISHED.get(family, {})
    if name not in known:
        others = [f for f, spaces in PUBLISHED.items() if name in spaces]
        where = f" It is a space of {' and '.join(others)}." if others else ""
        names = ["default", *known]
        raise ConfigError(
            f"There is no search space '{name}' of '{family}'{did_you_mean(name, names)}.{where} "
            f"Spaces: {', '.join(names)}, or a .toml file of your own."
        )
    numbers, slots = known[name], _published_slots(family, options)
    if empty := [slot for slot, groups in slots if not groups]:
        raise ConfigError(
            f"Space '{name}' has a slot '{empty[0]}', which is no part of this '{family}' network. "
            "Take search.space=default, which is made from its own groups."
        )
    return Space(tuple(Slot(n, g, k) for (n, g), k in zip(slots, numbers, strict=True)))


def default_space(
    family: str,
    options: Options,
    network: Widths,
    ratios: Sequence[float] = RATIOS,
    *,
    multiple: int = 8,
    min_channels: int = 8,
) -> Space:
    """A space for any network of any widths: a slot for each group, or for each set of groups that
    the paper sets together (a third of the residual blocks, a SPADE block with its norms).

    A slot's number is the channels of its narrowest group; one whose channels are no whole multiple
    of that has a slot of its own. The widest set is the network as it is.

    Args:
        network: every group with its channels, at least 1.
        ratios: fractions of the network's channels, over 0 to 1; 1 is always among them.
        multiple: channels of the narrowest group are multiples of this (or all it has).
        min_channels: of the narrowest group (or all it has).
    Raises: ConfigError for a ratio out of range, and a network without groups.
    """
    if bad := [ratio for ratio in ratios if not 0 < ratio <= 1]:
        raise ConfigError(f"Ratios of widths are over 0, up to 1; got {bad[0]:g}.")
    free, slots = _free(family, network), []
    for name, groups in _parts(family, options, network):
        for label, together in _aligned(name, {g: network[g] for g in groups if g not in free}):
            widest = min(together.values())
            multipliers = {group: width // widest for group, width in together.items()}
            numbers = {
                rounded_width(round(ratio * widest), min_channels, widest, multiple)
                for ratio in (1.0, *ratios)
            }
            slots.append(Slot(label, multipliers, tuple(sorted(numbers, reverse=True))))
    return Space(tuple(slots))


def read_space(path: Path) -> Space:
    """A space from a TOML file: a table [[slot]] each, with ``name``, ``groups`` (each with its
    multiplier) and ``numbers``. Raises: ConfigError."""
    try:
        rows = tomllib.loads(text_of(path)).get("slot")
    except FileNotFoundError as error:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.toml")])
        raise ConfigError(f"There is no search space {path}{near}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} {no_toml(path, error)}.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{path} has no [[slot]]. {_FORM}")
    return Space(tuple(_slot(path, i, row) for i, row in enumerate(rows)))


_FORM = 'Write for each slot: [[slot]], name = "stem", groups = {stem = 1}, numbers = [32, 24, 16].'


def _slot(path: Path, i: int, row: Any) -> Slot:
    keys = {"name": str, "groups": dict, "numbers": list}
    given = row if isinstance(row, dict) else {}
    for key in given:
        if key not in keys:
            raise ConfigError(f"{path}: slot {i + 1} has '{key}'{did_you_mean(key, keys)}. {_FORM}")
    for key, kind in keys.items():
        if not isinstance(given.get(key), kind):
            raise ConfigError(f"{path}: slot {i + 1} has no usable '{key}'. {_FORM}")
    return Slot(given["name"], given["groups"], tuple(given["numbers"]))


def _published_slots(family: str, options: Options) -> list[Named]:
    """The slots of the paper, in the order of the authors' names of width sets."""
    if family == "cyclegan":
        names = ("blocks, first third", "blocks, second third", "blocks, last third")
        inner = zip(names, _split(_blocks(options, "block"), 3), strict=True)
        return [
            ("stem", {"stem": 1}),
            ("down1", {"down1": 2}),
            ("trunk", {"trunk": 4}),
            *((name, dict.fromkeys(groups, 4)) for name, groups in inner),
            ("up1", {"up1": 2}),
            ("up2", {"up2": 1}),
        ]
    if family == "gaugan":
        trunk = ("head_0", "G_middle_0", "G_middle_1")
        return [
            ("trunk", {"trunk": 16}),
            *((name, {f"{name}_mid": 16, **_hidden(name, "01")}) for name in trunk),
            *(
                (f"up_{i}", {f"up_{i}": 8 >> i, f"up_{i}_mid": 8 >> i, **_hidden(f"up_{i}", "01s")})
                for i in range(4)
            ),
        ]
    style = {f"style{i}": 2 ** min(i, 2) for i in range(5)} if options["style_encoder"] else {}
    halves = {part: _split(_blocks(options, part, "res"), 2) for part in ("res", "dec")}
    return [
        ("style", style),
        ("stem", {"stem": 1}),
        ("down1", {"down1": 2}),
        ("trunk", {"trunk": 4}),
        *(
            (f"{part}, {half} half", dict.fromkeys(groups, 4))
            for part, both in halves.items()
            for half, groups in zip(("first", "last"), both, strict=True)
        ),
        ("up1", {"up1": 2}),
        ("up2", {"up2": 1}),
    ]


def _hidden(block: str, norms: str) -> dict[str, int]:
    return {f"{block}_hidden_{k}": SPADE_HIDDEN for k in norms}


def _blocks(options: Options, prefix: str, count: str = "blocks") -> list[str]:
    return [f"{prefix}{i}" for i in range(int(options[count]))]


def _split(groups: list[str], parts: int) -> list[list[str]]:
    """Equal parts in order; the last has what is left over."""
    each = len(groups) // parts
    cuts = [each * k for k in range(parts)]
    return [groups[a:b] for a, b in zip(cuts, [*cuts[1:], len(groups)], strict=True)]


def _free(family: str, network: Widths) -> tuple[str, ...]:
    """Groups that the paper does not search: MUNIT's MLP, which makes the styles' parameters."""
    return tuple(g for g in network if family == "munit" and g.startswith("mlp"))


def _together(family: str, options: Options, network: Widths) -> dict[str, list[str]]:
    """Groups that one slot sets, by its name; the others have a slot each."""
    if family in ("cyclegan", "cartoongan"):
        thirds = _split(_blocks(options, "block"), 3)
        return {f"blocks, third {k + 1}": groups for k, groups in enumerate(thirds)}
    if family == "munit":
        halves = {p: _split(_blocks(options, p, "res"), 2) for p in ("res", "dec")}
        found = {f"{p}, half {k + 1}": g for p, both in halves.items() for k, g in enumerate(both)}
        return {"style": [g for g in network if g.startswith("style")], **found}
    if family == "gaugan":
        blocks = [group.removesuffix("_mid") for group in network if group.endswith("_mid")]
        return {b: [g for g in network if g == b or g.startswith(f"{b}_")] for b in blocks}
    return {}


def _parts(family: str, options: Options, network: Widths) -> list[tuple[str, list[str]]]:
    """Every group of the network, in slots, in the order of each one's first group."""
    part_of = {
        group: (name, groups)
        for name, groups in _together(family, options, network).items()
        for group in groups
    }
    found: dict[str, list[str]] = {}
    for group in network:
        name, groups = part_of.get(group, (group, [group]))
        found.setdefault(name, groups)
    return list(found.items())


def _aligned(name: str, widths: Mapping[str, int]) -> list[Named]:
    """The groups as one slot where their channels are whole multiples of the narrowest's; those
    that are not have slots of their own, named by their groups."""
    found, left = list[Named](), dict(widths)
    while left:
        narrowest = min(left.values())
        fitting = {g: w for g, w in left.items() if w % narrowest == 0}
        found.append((name if len(fitting) == len(widths) else ", ".join(fitting), fitting))
        left = {g: w for g, w in left.items() if g not in fitting}
    return found
