"""Fetching from the hub: only models, tables and pictures, whole and with the hash that is listed.

What was fetched is kept in the library's own cache (HF_HOME), and found there without a connection.
"""

from __future__ import annotations

import hashlib
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganpress.errors import HubError, did_you_mean
from ganpress.run.hub.address import Address, is_address, is_inside, read_address
from ganpress.run.hub.client import cache_folder, endpoint, explained, hub, is_unreachable

MODEL = "model.safetensors"
MODEL_ENDINGS = (".safetensors", ".onnx")
ENDINGS = (*MODEL_ENDINGS, ".json", ".md", ".png", ".jpg")
"""Of all files that are ever fetched: none of them can run code."""
MAX_MODEL_BYTES, MAX_OTHER_BYTES = 4_000_000_000, 64_000_000
"""The largest model, and the largest file of another kind, that is fetched."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Listed:
    """A file as the hub lists it: its size, and its SHA-256, or git's SHA-1 of a small one."""

    bytes: int
    digest: str


@dataclass(frozen=True)
class Repository:
    """What an address names, as it is now.

    Attributes:
        commit: 40 hex digits.
        files: all files by path; only those that `may_be_fetched` ever are.
        snapshot: the folder of an earlier fetch, where the hub cannot be reached; else None.
    """

    address: Address
    commit: str
    files: Mapping[str, Listed]
    snapshot: Path | None = None


def local_file(path: Path | str) -> Path:
    """The path itself, or the file that an address of the hub names, fetched.

    Raises: ConfigError for an address of another form; HubError, MissingExtra, DiskFull.
    """
    if not is_address(path):
        return Path(path)
    address = read_address(path)
    repository = look(address)
    return fetch(repository, address.file or model_of(repository))


def look(address: Address) -> Repository:
    """The files of a repository, or of its copy on this disk where the hub cannot be reached.

    Raises: HubError where there is no such repository, revision or connection; MissingExtra.
    """
    client = hub()
    with explained(address, f"looking into {address.repo}"):
        try:
            info = client.model_info(address.repo, revision=address.revision, files_metadata=True)
        except Exception as error:
            if is_unreachable(error) and (kept := _kept(address)) is not None:
                return kept
            if type(error).__name__ == "RevisionNotFoundError":
                raise _no_revision(client, address) from None
            raise
    files = {s.rfilename: _listed(s) for s in info.siblings or () if is_inside(s.rfilename)}
    return Repository(address, str(info.sha), files)


def may_be_fetched(file: str) -> bool:
    """Whether a file is of a kind that is ever fetched."""
    return file.lower().endswith(ENDINGS)


def model_of(repository: Repository) -> str:
    """The file of a repository's model: its own name, or the only one.

    Raises: HubError where there is none, or several, naming what is there.
    """
    models = [file for file in repository.files if file.endswith(".safetensors")]
    if MODEL in models:
        return MODEL
    if len(models) == 1:
        return models[0]
    if models:
        one = Address(repository.address.repo, repository.address.revision, models[0])
        raise HubError(
            f"{repository.address} has several models: name one, as {one}. {_has(models)}"
        )
    raise no_model(repository, "there is no .safetensors file")


def no_model(repository: Repository, reason: str) -> HubError:
    """The error for a repository of another tool: it says what was found in it."""
    return HubError(
        f"{repository.address} has no model of ganpress: {reason}. {_has(repository.files)} "
        "Fetch a network of another code base by yourself, then: ganpress import auto FILE."
    )


def fetch(repository: Repository, file: str, *, quiet: bool = False) -> Path:
    """One file of a repository, checked; where it was fetched before it is not fetched again.

    Raises: HubError for a file that is not there, not of a kind that is fetched, too large, no
        ganpress model, cut off or of the wrong hash; DiskFull.
    """
    check_file(repository, file)
    if repository.snapshot is not None:
        return repository.snapshot / file
    address, listed = repository.address, repository.files[file]
    if file.endswith(".safetensors") and not _is_kept(repository, file):
        _check_card(repository, file)
    with explained(address, f"fetching {file} of {address.repo}"):
        from huggingface_hub import hf_hub_download

        path = Path(
            hf_hub_download(
                address.repo,
                file,
                revision=address.revision,
                endpoint=hub().endpoint,
                library_name="ganpress",
                tqdm_class=bounded_bar(listed.bytes, quiet=quiet),
            )
        )
    if not listed.digest:
        raise HubError(f"{endpoint()} lists no hash of {file}, so that it cannot be checked.")
    if (found := digest_of(path, listed.digest)) != listed.digest:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise HubError(
            f"{file} of {address.repo} was not received as the hub lists it: its hash is "
            f"{found[:12]}, listed is {listed.digest[:12]}. It was removed. Start again; a proxy, "
            "or a push at the same time, may be in the way."
        )
    return path


def check_file(repository: Repository, file: str) -> None:
    """Refuse a file that is not there, or never fetched: HubError."""
    where = repository.address.repo
    if not may_be_fetched(file):
        raise HubError(
            f"{file} of {where} is not fetched: only {', '.join(ENDINGS)} files are, which cannot "
            "run code."
        )
    if file not in repository.files:
        able = [name for name in repository.files if may_be_fetched(name)]
        raise HubError(f"{where} has no file {file}{did_you_mean(file, able)}. {_has(able)}")
    size, most = repository.files[file].bytes, max_bytes(file)
    if size > most:
        raise HubError(
            f"{file} of {where} is {size / 1e9:.1f} GB, and files of its kind are fetched up to "
            f"{most / 1e9:g} GB. Fetch it by yourself (hf download {where} {file}), and give "
            "the file."
        )


def max_bytes(file: str) -> int:
    """The largest size of a file of this name that is fetched."""
    return MAX_MODEL_BYTES if file.lower().endswith(MODEL_ENDINGS) else MAX_OTHER_BYTES


def digest_of(path: Path, like: str) -> str:
    """The hash of a file by the rule of another one: SHA-256, or git's SHA-1 of a blob."""
    data = path.stat().st_size
    found = hashlib.sha256() if _SHA256.fullmatch(like) else hashlib.sha1(b"blob %d\0" % data)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def bounded_bar(most: int, *, quiet: bool) -> Any:
    """A progress bar for the library, of standard error where that is a terminal, which ends a
    download that brings more bytes than were listed."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        """Counts what arrives."""

        received = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            hidden = quiet or not sys.stderr.isatty()
            super().__init__(*args, **{**options, "disable": hidden or options.get("disable")})

        def update(self, n: float | None = 1) -> bool | None:
            """Raises: HubError when more arrives than was listed."""
            self.received += int(n or 0)
            if self.received > most:
                raise HubError(
                    f"The hub sent more than the {most:,} bytes that it lists: the download was "
                    "ended. Start again; a proxy may be in the way."
                )
            return bool(super().update(n))

    return Bar


def _check_card(repository: Repository, file: str) -> None:
    """Look at a model's first bytes, so that no large file of another tool is fetched."""
    address = repository.address
    with explained(address, f"looking into {file} of {address.repo}"):
        try:
            header = hub().parse_safetensors_file_metadata(
                address.repo, file, revision=address.revision
            )
            metadata = header.metadata or {}
        except Exception as error:
            if type(error).__name__ != "SafetensorsParsingError":
                raise
            raise no_model(repository, f"{file} is not a whole safetensors file") from None
    if "ganpress" not in metadata:
        raise no_model(repository, f"{file} has no ganpress card")


def _is_kept(repository: Repository, file: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository.address.repo, file, revision=repository.commit)
    return isinstance(found, str)


def _listed(sibling: Any) -> Listed:
    lfs = sibling.lfs
    digest = lfs.sha256 if lfs is not None else sibling.blob_id
    return Listed(int(sibling.size or 0), str(digest or ""))


def _kept(address: Address) -> Repository | None:
    """The copy of an earlier fetch, and a warning that it may be old; None where there is none."""
    folder = cache_folder() / f"models--{address.repo.replace('/', '--')}"
    named, wanted = folder / "refs" / (address.revision or "main"), address.revision or ""
    commit = named.read_text().strip() if named.is_file() else wanted
    snapshot = folder / "snapshots" / commit
    if not _SHA1.fullmatch(commit) or not snapshot.is_dir():
        return None
    warnings.warn(
        f"{endpoint()} is not reached: {address} is read from what was fetched before, commit "
        f"{commit[:12]}.",
        stacklevel=2,
    )
    paths = {p.relative_to(snapshot).as_posix(): p for p in snapshot.rglob("*") if p.is_file()}
    files = {name: Listed(path.stat().st_size, "") for name, path in paths.items()}
    return Repository(address, commit, files, snapshot)


def _no_revision(client: Any, address: Address) -> HubError:
    try:
        refs = client.list_repo_refs(address.repo)
        names = [ref.name for ref in (*refs.branches, *refs.tags)]
    except Exception:  # it is only for the message
        names = []
    there = f" Branches and tags: {', '.join(names[:8])}." if names else ""
    near = did_you_mean(str(address.revision), names)
    return HubError(f"{address.repo} has no revision '{address.revision}'{near}.{there}")


def _has(files: Iterable[str], most: int = 8) -> str:
    names = sorted(files)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"It has {', '.join(names[:most])}{more}." if names else "It has no files."
