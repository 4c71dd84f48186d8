"""Where a file lies on the hub: hub:owner/name[@revision][/file]."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from ganpress.errors import ConfigError

SCHEME = "hub:"
FORM = "hub:owner/name[@revision][/file]"
_ADDRESS = re.compile(r"(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+))?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_MAX_NAME = 96


@dataclass(frozen=True)
class Address:
    """A repository, or one file of it.

    Attributes:
        repo: "owner/name".
        revision: a branch, tag or commit; None: the main branch.
        file: its path in the repository; None: the repository's model.
    """

    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        at = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"{SCHEME}{self.repo}{at}{f'/{self.file}' if self.file else ''}"


def is_address(path: Path | str) -> bool:
    """Whether this names a file on the hub, not one on disk."""
    return str(path).startswith(SCHEME)


def read_address(text: Path | str) -> Address:
    """`FORM`, with or without "hub:"; a revision with slashes has %2F for each.

    Raises: ConfigError for another form, a name that no repository can have, and a file outside of
        the repository.
    """
    given = str(text).replace("\\", "/")  # what pathlib makes of it on Windows
    found = _ADDRESS.fullmatch(given.removeprefix(SCHEME).rstrip("/"))
    if found is None:
        raise ConfigError(f"{given!r} is no address of the hub: give {FORM}.")
    check_repo(found["repo"])
    revision = unquote(found["revision"]) if found["revision"] else None
    if found["file"] and not is_inside(found["file"]):
        raise ConfigError(f"{given!r} names a file outside of the repository: give {FORM}.")
    return Address(found["repo"], revision, found["file"])


def at_revision(address: Address, revision: str | None) -> Address:
    """The address at a revision that was given beside it. Raises: ConfigError where it names
    another one itself."""
    if revision and address.revision and revision != address.revision:
        raise ConfigError(
            f"{address} names a revision, and --revision is {revision}: give one of them."
        )
    return replace(address, revision=revision or address.revision)


def check_repo(repo: str) -> None:
    """Refuse what is no "owner/name" that the hub allows: ConfigError."""
    parts = repo.split("/")
    allowed = len(parts) == 2 and all(_NAME.fullmatch(part) for part in parts)
    if not allowed or len(repo) > _MAX_NAME or "--" in repo or ".." in repo:
        raise ConfigError(
            f"{repo!r} is no repository's name: give owner/name, of letters, digits, '-', '_' and "
            f"'.', without '--' and '..', at most {_MAX_NAME} signs."
        )


def is_inside(file: str) -> bool:
    """Whether a path of a listing stays below the folder that it is put into."""
    path = PurePosixPath(file)
    return not (path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file)
