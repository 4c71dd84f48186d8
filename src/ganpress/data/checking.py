"""Decode every image once, or remember that it was: what is left out, and what is said of it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias

from ganpress.data.decode import ImagesWarning
from ganpress.data.pairing import listed
from ganpress.data.remembered import recall, remember
from ganpress.data.sources import Facts, Found, Source, check, check_ids, stamp_in
from ganpress.errors import ImagesError

Checked: TypeAlias = Facts | ImagesError
Kept: TypeAlias = tuple[Source, Facts]

MAPS = ("labels", "instances")
WORTH_S = 1.0
"""What decoding has taken at least where its result is worth a file in the cache, seconds."""
_SETTLED_NS = 2_000_000_000
"""A file that was written this shortly before may change again without another time of change."""
_TOGETHER = 32  # images a task of the pool: one task an image costs more than a small image


def checked(kind: str, found: Found) -> dict[str, Checked]:
    """The facts of every image at a path, or the error that says why it cannot be used.

    By `Source.where`. An image that was decoded at an earlier start and has not changed since is
    not decoded again.
    Args: kind: "x", "y", "labels" or "instances".
    """
    kind = kind if kind in MAPS else "x"
    known = recall(found.root, kind)
    facts: dict[str, Checked] = {}
    new: dict[str, Source] = {}
    for name, source in found.sources.items():
        stamp, remembered = known.get(name, ((), None))
        if remembered is not None and stamp and stamp == stamp_in(source):
            facts[source.where] = remembered
        else:
            new[name] = source
    began, started = time.time_ns(), time.monotonic()
    facts |= _decoded(list(new.values()), kind)
    gone = known.keys() - found.sources.keys()
    if time.monotonic() - started >= WORTH_S or (known and (new or gone)):
        _remember(kind, found, facts, before_ns=began - _SETTLED_NS)
    return facts


def _remember(kind: str, found: Found, facts: Mapping[str, Checked], *, before_ns: int) -> None:
    """Keep the facts of the images that cannot change again without being noticed."""
    keep = {}
    for name, source in found.sources.items():
        stamp, fact = stamp_in(source), facts[source.where]
        if isinstance(fact, Facts) and stamp and stamp[0] < before_ns:
            keep[name] = stamp, fact
    remember(found.root, kind, keep)


def _decoded(sources: Sequence[Source], kind: str) -> dict[str, Checked]:
    """In threads: Pillow lets go of the interpreter while it decodes."""
    if not sources:
        return {}
    check_one = partial(check_ids, listed=kind == "labels") if kind in MAPS else check
    parts = [sources[i : i + _TOGETHER] for i in range(0, len(sources), _TOGETHER)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # here, once: the filters are not safe inside threads
        with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
            rows = pool.map(lambda part: [(s.where, check_one(s)) for s in part], parts)
            return dict(one for row in rows for one in row)


def usable(
    columns: Mapping[str, Sequence[Source]],
    facts: Mapping[str, Mapping[str, Checked]],
    strict: bool,
) -> tuple[dict[str, list[Kept]], list[int]]:
    """The columns without the rows that hold a bad file, and the numbers of the rows left.

    Args: facts: of each column, by `Source.where`.
    Raises ImagesError: a bad file and ``strict``, or nothing left.
    """
    found = {kind: [facts[kind][one.where] for one in column] for kind, column in columns.items()}
    rows = list(zip(*found.values(), strict=True))
    good = [i for i, row in enumerate(rows) if all(isinstance(f, Facts) for f in row)]
    wrong = [f for column in found.values() for f in column if isinstance(f, ImagesError)]
    _report_bad(wrong, left=len(good), total=len(rows), strict=strict)
    kept: dict[str, list[Kept]] = {}
    for kind, column in found.items():
        pairs = [(columns[kind][i], column[i]) for i in good]
        kept[kind] = [(source, f) for source, f in pairs if isinstance(f, Facts)]
    _report_frames(one for column in kept.values() for one in column)
    return kept, good


def _report_bad(wrong: Sequence[ImagesError], *, left: int, total: int, strict: bool) -> None:
    if not wrong:
        return
    reasons = listed([str(error).rstrip(".") for error in wrong], "; ")
    if strict or not left:
        rest = "" if left else " Nothing is left to use."
        raise ImagesError(f"Unusable images: {reasons}.{rest} Repair or remove them.")
    text = f"Left out {total - left} of {total} images: {reasons}."
    warnings.warn(text, ImagesWarning, stacklevel=4)


def _report_frames(images: Iterable[Kept]) -> None:
    """Say once which files are animations or have several pages."""
    many = {source.where: facts.frames for source, facts in images if facts.frames > 1}
    if many:
        warnings.warn(first_frames(many), ImagesWarning, stacklevel=4)


def first_frames(many: Mapping[str, int]) -> str:
    """A sentence about files that have several frames: their numbers, by path."""
    named = listed([f"{where} ({count})" for where, count in many.items()])
    files = "1 file has" if len(many) == 1 else f"{len(many)} files have"
    return f"{files} several frames, of which the first is used: {named}."
