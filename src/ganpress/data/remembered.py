"""What decoding every image of a folder found, kept in the user's cache for the next start."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

import PIL

from ganpress.data.listing import Stamp
from ganpress.data.sources import Facts
from ganpress.errors import GanpressError
from ganpress.run.cache import cache_dir, clear_unused, mark_used
from ganpress.run.files import make_folder, write_file
from ganpress.run.locks import alone

Known: TypeAlias = dict[str, tuple[Stamp, Facts]]
"""By an image's name below its path: which file it was, and what was found in it."""

VERSION = 1
"""To be raised when an image that was taken would be refused now, or other facts found in it."""

_FIELDS = [field.name for field in fields(Facts)]


def recall(root: Path, kind: str) -> Known:
    """What is known of the images at a path; {} where nothing is, or the file is damaged.

    Args: kind: as what they were checked ("x", "labels", ...), for the same file may be two things.
    """
    path = _file(root, kind)
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        if head != _head(body):
            return {}
        names, stamps, rows = json.loads(body)
    except (OSError, ValueError):
        return {}
    mark_used(path)
    facts = (Facts(*map(_plain, row)) for row in rows)
    return {n: (tuple(s), f) for n, s, f in zip(names, stamps, facts, strict=True)}


def remember(root: Path, kind: str, known: Mapping[str, tuple[Stamp, Facts]]) -> None:
    """Keep what is known, in the place of what was; without an error where it cannot be kept.

    Only to save time: the cache may be read-only or full. Processes that write at once do it one
    after the other, each a whole file.
    """
    rows = [[getattr(facts, name) for name in _FIELDS] for _, facts in known.values()]
    content = [list(known), [stamp for stamp, _ in known.values()], rows]
    body = json.dumps(content, separators=(",", ":")).encode()
    path = _file(root, kind)
    with suppress(OSError, GanpressError):
        make_folder(path.parent)
        with alone(path.with_suffix(".lock")):
            write_file(path, _head(body) + b"\n" + body)
        clear_unused(path.parent)


def _file(root: Path, kind: str) -> Path:
    key = hashlib.sha256(f"{kind} {os.path.realpath(root)}".encode()).hexdigest()[:24]
    return cache_dir() / "listings" / f"{key}.json"


def _head(body: bytes) -> bytes:
    """What makes the rest believable: who wrote it, and that it is whole."""
    writer = f"{VERSION} pillow {PIL.__version__} {' '.join(_FIELDS)}"
    return f"{writer} {hashlib.sha256(body).hexdigest()}".encode()


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
