"""The user's cache folder: what can be fetched or found out again, and is kept to save the time."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from ganpress.errors import ConfigError
from ganpress.run.files import make_folder

UNUSED_DAYS = 90
"""How long what nobody uses is kept, by `clear_unused`."""


def cache_dir() -> Path:
    """$XDG_CACHE_HOME/ganpress, or ~/.cache/ganpress."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ganpress"


def cache_folder(folder: Path) -> Path:
    """Make a folder of the cache. Raises: ConfigError where it may not be made; DiskFull."""
    try:
        return make_folder(folder)
    except ConfigError as error:
        raise ConfigError(
            f"{error} That is where the cache lies: XDG_CACHE_HOME=FOLDER names another."
        ) from error


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
