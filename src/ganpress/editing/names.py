"""Names of files for photos that come from folders, archives and packs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


def file_stems(names: Sequence[str]) -> list[str]:
    """One file name without ending for each photo: its last part; where two have the same one,
    the whole name with '-' in place of '/', and a number where those are the same, too.

    >>> file_stems(["a/x.png", "b/x.png", "y.jpg"])
    ['a-x', 'b-x', 'y']
    """
    short = [_plain(PurePosixPath(name).name) for name in names]
    counts = Counter(short)
    found = [
        _plain(name) if counts[stem] > 1 else stem for name, stem in zip(names, short, strict=True)
    ]
    taken: set[str] = set()
    for i, stem in enumerate(found):
        number = 1
        while found[i] in taken:
            number += 1
            found[i] = f"{stem}-{number}"
        taken.add(found[i])
    return found


def _plain(name: str) -> str:
    stem = str(PurePosixPath(name).with_suffix("")).strip("/")
    kept = "".join("-" if c in '/\\:*?"<>|\0\n' else c for c in stem)
    return kept.lstrip(".") or "photo"
