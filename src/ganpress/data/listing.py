"""The files of a folder: which are pictures, which are not and why, and when each was written."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ganpress.data.decode import ImagesWarning
from ganpress.data.endings import advice, ending_of, is_beside, is_hidden, is_picture
from ganpress.errors import ImagesError

Stamp: TypeAlias = tuple[int, ...]
"""(time of the last change of its bytes, of its entry, ns; size, bytes): another file, another
stamp. () where a file's cannot be had."""

_KINDS_NAMED = 12


@dataclass
class Passed:
    """The files below one path that are not read: by what they are, how many, and the first."""

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, what: str, where: str) -> None:
        """Count one more file: what it is (an ending, '' for none, or words) and where it lies."""
        count, first = self.found.get(what, (0, where))
        self.found[what] = count + 1, first

    def add_file(self, name: str, where: str) -> None:
        """Count a file by its name, unless it is hidden."""
        if not is_hidden(name):
            self.add(ending_of(name), where)


def stamp_of(facts: os.stat_result) -> Stamp:
    """What changes whenever a file does."""
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size


def walk(root: Path, passed: Passed) -> Iterator[tuple[str, Stamp]]:
    """Path and stamp of each picture file below a folder, through links, each real folder once.

    Hidden names are left out without a word; what else is no picture is counted in ``passed``.
    Raises OSError: the folder itself cannot be read.
    """
    seen: set[str] = set()
    left = [str(root)]
    while left:
        folder = left.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == str(root):
                raise
            passed.add(f"folder that cannot be opened ({error.strerror})", folder)
            continue
        folders: list[str] = []
        for entry in inside:
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                folders.append(entry.path)
            elif not is_picture(entry.name):
                passed.add_file(entry.name, entry.path)
            else:
                yield from _picture(entry, passed)
        left.extend(reversed(folders))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _picture(entry: os.DirEntry[str], passed: Passed) -> Iterator[tuple[str, Stamp]]:
    """The file, unless opening it would wait for ever; one that is not there says so when read."""
    try:
        facts = entry.stat()
    except OSError:
        yield entry.path, ()
        return
    if stat.S_ISREG(facts.st_mode):
        yield entry.path, stamp_of(facts)
    else:
        passed.add("pipe, socket or device", entry.path)


def report_passed(every: Iterable[tuple[Path, Passed]], *, strict: bool) -> None:
    """Say once, for all the paths of one opening, what was not read.

    Silent where there is nothing but texts and the like. Raises ImagesError if ``strict``.
    """
    whole, places = Passed(), []
    for root, passed in every:
        if any(not is_beside(what) for what in passed.found) and str(root) not in places:
            places.append(str(root))
        for what, (count, first) in passed.found.items():
            known, earlier = whole.found.get(what, (0, first))
            whole.found[what] = known + count, earlier
    if not places:
        return
    total = sum(count for count, _ in whole.found.values())
    files = "1 file in" if total == 1 else f"{total} files in"
    was = "was" if total == 1 else "were"
    text = f"{files} {', '.join(places)} {was} not read: {described(whole)}."
    if strict:
        raise ImagesError(f"{text} Convert or remove them, or go without --strict.")
    warnings.warn(text, ImagesWarning, stacklevel=3)


def described(passed: Passed) -> str:
    """'10 .heic (pip install ...), 2 .txt': the most first, and texts last."""
    found = sorted(passed.found.items(), key=lambda one: (is_beside(one[0]), -one[1][0], one[0]))
    parts = [_described(what, count, first) for what, (count, first) in found[:_KINDS_NAMED]]
    more = sum(count for _, (count, _) in found[_KINDS_NAMED:])
    return ", ".join([*parts, *([f"{more} of other kinds"] if more else [])])


def _described(what: str, count: int, first: str) -> str:
    if is_beside(what):
        return f"{count} {what if what.startswith('.') else what.upper()}"
    hint = advice(what) or (first if count == 1 else f"{first} for one")
    return f"{count} {what or 'without an ending'} ({hint})"
