"""What the stand-in of the hub holds: repositories with branches, commits and files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WRITER, READER = "hf_writer_0123456789", "hf_reader_0123456789"
LARGE = (".safetensors", ".onnx", ".png", ".bin")


@dataclass(frozen=True)
class Blob:
    data: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def git(self) -> str:
        """The hash of git's blob: of a large file that of its pointer."""
        stored = self.data
        if self.large:
            oid = f"oid sha256:{self.sha256}\nsize {len(self.data)}\n"
            stored = f"version https://git-lfs.github.com/spec/v1\n{oid}".encode()
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.git


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)  # branches and tags -> commit
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, Blob], branch: str = "main", message: str = "") -> str:
        digest = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[digest], self.refs[branch] = files, digest
        self.messages.append(message)
        return digest


class Hub:
    """The state of the stand-in.

    Attributes:
        requests: (method, path, the token or None) of each request.
        lie: what is sent in the place of a file's bytes; its listing stays that of the file.
        break_uploads: how many uploads of large files break off half-way from now on.
        answer: (method, path) -> a status that is answered to all such requests, or None.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.lie: Callable[[bytes], bytes] = lambda data: data
        self.break_uploads = 0
        self.answer: Callable[[str, str], int | None] = lambda method, path: None
        self.url = ""
        self.cdn = ""  # another host, as on the hub: no token goes there

    def add(self, repo: str, files: dict[str, bytes], branch: str = "main", **how: Any) -> str:
        """Put files into a repository, made where there is none; gives the commit."""
        home = self.repos.setdefault(repo, Repo(**how))
        return home.commit(
            {name: Blob(data, name.endswith(LARGE)) for name, data in files.items()}, branch
        )

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        home = self.repos[repo]
        blobs = home.commits[home.refs.get(revision, revision)]
        return {name: blob.data for name, blob in blobs.items()}

    def sent(self, method: str, part: str) -> list[str]:
        """Paths of the requests of a method that have ``part`` in them."""
        return [path for verb, path, _ in self.requests if verb == method and part in path]
