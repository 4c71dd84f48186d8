"""The user's cache folder: what can be fetched or found out again, and is kept to save the time."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

UNUSED_DAYS = 90
"""How long what nobody uses is kept, by `clear_unused`."""


def cache_dir() -> Path:
    """$XDG_CACHE_HOME/ganpress, or ~/.cache/ganpress."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ganpress"


def mark_used(path: Path) -> None:
    """Note that a file of the cache was used now; without an error where that cannot be noted."""
    with suppress(OSError):
        os.utime(path)


def clear_unused(folder: Path) -> None:
    """Remove the files of a folder of the cache that were not used for `UNUSED_DAYS`."""
    oldest = time.time() - UNUSED_DAYS * 86_400
    with suppress(OSError), os.scandir(folder) as entries:  # another process clears it, perhaps
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < oldest:
                os.unlink(entry.path)
