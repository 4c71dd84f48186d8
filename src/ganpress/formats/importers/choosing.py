"""Which of a checkpoint's networks is meant: the one asked for, or the only one it can be."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence

from ganpress.errors import CheckpointError, ConfigError, did_you_mean
from ganpress.formats.importers.entries import Entry, entries_of, entry_at

_AVERAGED = re.compile(r"(?:^|[._])(?:e?ma|avg|averaged?|swa|shadow|smooth(?:ed)?)(?:[._]|$)", re.I)
_DOMAIN = re.compile(r"(?:2|to|to_|_)([A-Za-z\d])$")  # a generator ends in: G_A2B, GAtoB, G_B
_LISTED = 12


def choose(
    loaded: object,
    *,
    source: str,
    entry: str | None = None,
    fits: Callable[[Entry], bool] = lambda _: True,
) -> Entry:
    """The generator of a loaded checkpoint.

    Averaged weights are taken before the raw ones of the same shapes.

    Args:
        entry: the name of the one that is meant, whole or its last parts.
        fits: whether a generator can be what was asked for; used only where there are several.
    Raises:
        ConfigError: there is no such entry; it has the nearest and the list.
        CheckpointError: no tensors, or it is not clear which ones are meant; it has the list.
    """
    found: Sequence[Entry] = entries_of(loaded, source=source)
    if entry is not None:
        found = _asked_for(loaded, found, entry, source)
    meant = _generators(found, fits)
    if len(meant) == 1:
        return meant[0]
    if (averaged := _averaged(meant)) is not None:
        return averaged
    if all(e.kind is None and e.what is not None for e in found):
        raise CheckpointError(
            f"{source} holds no generator, but {listed(found)}. Give the file of the generator."
        )
    name = meant[0].name
    raise CheckpointError(
        f"{source} holds several sets of weights, and it is not clear which one is the generator: "
        f"{listed(found)}. Say which: --entry {shlex.quote(name)} (in Python entry={name!r})."
    )


def listed(entries: Sequence[Entry]) -> str:
    """'G_A2B' (a ResNet generator of CycleGAN, 188 tensors), ...; at most twelve."""
    more = len(entries) - _LISTED
    rest = f", and {more} more" if more > 0 else ""
    return ", ".join(_described(e) for e in entries[:_LISTED]) + rest


def _described(entry: Entry) -> str:
    unknown = f"unknown, its first tensors are {', '.join(list(entry.state)[:2])}"
    values = sum(t.numel() for t in entry.state.values())
    return f"'{entry.name}' ({entry.what or unknown}; {values:,} values)"


def _asked_for(loaded: object, found: Sequence[Entry], name: str, source: str) -> Sequence[Entry]:
    """The entries of a name: that one, those that end in it, those below it, what lies there."""
    inner = re.compile(rf"(?:^|\.){re.escape(name)}(?:\.|$)")
    for match in (
        [e for e in found if e.name == name],
        [e for e in found if e.name.endswith(f".{name}")],
        [e for e in found if inner.search(e.name)],
    ):
        if match:
            return match
    rest = entry_at(loaded, name) if name else None
    if rest is not None and (rest.kind or not any(e.kind for e in found)):
        return [rest]
    names = [e.name for e in found if e.name]
    near = did_you_mean(name, dict.fromkeys([*names, *(p for n in names for p in n.split("."))]))
    if not names:
        raise ConfigError(f"{source} is one network without a name: leave the entry '{name}' out.")
    raise ConfigError(f"{source} has no entry '{name}'{near}. It holds {listed(found)}.")


def _generators(found: Sequence[Entry], fits: Callable[[Entry], bool]) -> Sequence[Entry]:
    """Those of the entries that can be what is wanted, the best kind of reason first."""
    known = [e for e in found if e.kind is not None]
    for some in (
        [e for e in known if fits(e)],
        known,
        [e for e in found if e.what is None and not e.is_discriminator],
    ):
        if some:
            return some
    return found


def _averaged(entries: Sequence[Entry]) -> Entry | None:
    """The averaged one of two networks of the same shapes, or None."""
    averaged = [e for e in entries if _AVERAGED.search(e.name)]
    shapes = [{n: t.shape for n, t in e.state.items()} for e in entries]
    if len(averaged) == 1 and len(entries) == 2 and shapes[0] == shapes[1]:
        return averaged[0]
    return None


def discriminator_beside(loaded: object, chosen: Entry, *, source: str) -> Entry | None:
    """The discriminator that a checkpoint holds beside a generator, or None.

    Of several, the one of the domain that the generator ends in: G_A2B's is D_B; G_A's, in
    junyanz's naming, D_A.
    """
    found = [e for e in entries_of(loaded, source=source) if e.is_discriminator]
    return partner(found, chosen.name) if chosen.name else None


def partner(found: Sequence[Entry], generator: str) -> Entry | None:
    """The discriminator of a generator's name among several; the only one is always it."""
    raw = [e for e in found if not _AVERAGED.search(e.name)] or found
    if len(raw) <= 1:
        return raw[0] if raw else None
    places = [*reversed(generator.split("."))]
    domain = next((to[1] for place in places if (to := _DOMAIN.search(place))), "")
    ends = re.compile(rf"(?:_|[dD]){re.escape(domain)}(?:\.|$)")
    fitting = [e for e in raw if domain and ends.search(e.name)]
    return fitting[0] if len(fitting) == 1 else None
