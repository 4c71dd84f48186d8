"""Fetch a public data set: download, check, unpack, and lay it out for `ganpress train`."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ganpress.data.cifar import pack_cifar10
from ganpress.data.public import PublicSet, public_set
from ganpress.data.unpack import new_folder, unpack
from ganpress.errors import ConfigError, ImagesError
from ganpress.run.download import Wanted, download
from ganpress.run.files import make_folder, read_json, write_json
from ganpress.run.locks import alone
from ganpress.sniff import look

RECORD = "downloads.json"
"""Beside the data: SHA-256, size and address of each archive at its first download."""


def get_public(name: str, to: Path = Path("data"), *, mirror: str | None = None) -> Path:
    """Fetch the set `name` to the folder `to`/`name`; one that is there already is left alone.

    The archive is checked against the publisher's hash where there is one, else against the one
    that was recorded in `downloads.json` at the first download. A broken download goes on where
    it stopped; the archive is removed once it is unpacked. One put there by hand is used.

    Args:
        mirror: an address to use in place of the publisher's host, the path staying the same;
            default: the environment's GANPRESS_MIRROR.
    Raises: ConfigError (no such set, one to be brought by the user, something else in the way),
        ImagesError (no connection, a wrong or damaged file), DiskFull.
    """
    entry, folder = public_set(name), to / name
    if entry.url is None:
        raise ConfigError(
            f"{name} is for registered users, or very large: you fetch it. Get {entry.files} from "
            f"{entry.page}, put them in a folder and run: ganpress data prepare {name} --from "
            "FOLDER"
        )
    make_folder(to)
    with alone(to / f".{name}.lock"):
        if folder.is_dir() and not _lacking(entry, folder):
            return folder
        if folder.exists():
            raise ConfigError(f"{folder} is there, but is not {name}. Choose another --to.")
        return _fetched(name, entry, _address(entry.url, mirror), folder)


def _fetched(name: str, entry: PublicSet, url: str, folder: Path) -> Path:
    archive = folder.with_name(Path(urlsplit(url).path).name)
    _download(name, entry, url, archive)
    with new_folder(folder) as part:
        try:
            _lay_out(entry, archive, part)
        except ImagesError as error:
            archive.unlink()
            raise ImagesError(f"{error} It was removed: run the same command again.") from error
        _record(archive, url)
    archive.unlink()
    archive.with_name(archive.name + ".lock").unlink(missing_ok=True)
    return folder


def _address(url: str, mirror: str | None) -> str:
    base = mirror or os.environ.get("GANPRESS_MIRROR")
    return url if not base else base.rstrip("/") + urlsplit(url).path


def _download(name: str, entry: PublicSet, url: str, archive: Path) -> None:
    wanted = Wanted(
        title=name,
        url=url,
        wrong=lambda path: _wrong(path, entry, archive),
        advice=f"Fetch it by other means, put it at {archive}, and run the same command again.",
        error=ImagesError,
    )
    download(wanted, archive)


def _wrong(path: Path, entry: PublicSet, archive: Path) -> str:
    """What is wrong with a downloaded archive, or ""."""
    with path.open("rb") as file:
        head = file.read(2)
    zipped = archive.suffix == ".zip"
    if not (zipfile.is_zipfile(path) if zipped else head == b"\x1f\x8b"):
        return f"it is no {'zip' if zipped else 'gzip'} archive, but {look(path).what}"
    if entry.md5 is not None and _hash(path, "md5") != entry.md5:
        return f"its MD5 is not the published {entry.md5}"
    known = _records(archive.parent).get(archive.name)
    if known is not None and known["sha256"] != _hash(path, "sha256"):
        return (
            f"its SHA-256 is not {known['sha256']}, which {archive.parent / RECORD} has recorded "
            "at the first download (remove it there if the publisher has changed the file)"
        )
    return ""


def _hash(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _records(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict) or any("sha256" not in one for one in found.values()):
        raise ConfigError(f"{path} is not a record of downloads. Remove or repair it.")
    return found


def _record(archive: Path, url: str) -> None:
    known = _records(archive.parent)
    if archive.name not in known:
        size, sha256 = archive.stat().st_size, _hash(archive, "sha256")
        known[archive.name] = {"url": url, "bytes": size, "sha256": sha256}
        write_json(archive.parent / RECORD, known)


def _lay_out(entry: PublicSet, archive: Path, folder: Path) -> None:
    """Unpack into `folder`, without the archive's own top folder."""
    raw = folder / "unpacked"
    raw.mkdir()
    unpack(archive, raw)
    inner = [path for path in raw.iterdir() if path.is_dir() and path.name != "__MACOSX"]
    top = inner[0] if len(inner) == 1 else raw
    if not entry.folders:
        pack_cifar10(top, folder)
    else:
        if lacking := _lacking(entry, top):
            raise ImagesError(f"{archive} has no images in {', '.join(lacking)}.")
        for name in entry.folders:
            os.replace(top / name, folder / name)
    shutil.rmtree(raw)


def _lacking(entry: PublicSet, folder: Path) -> list[str]:
    """Which of a set's folders (of CIFAR-10, packs) are missing or empty."""
    if not entry.folders:
        return [name for name in ("train.npz", "test.npz") if not (folder / name).is_file()]
    return [name for name in entry.folders if not any((folder / name).glob("*.*"))]
