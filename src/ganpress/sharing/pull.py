"""Pull a model, and what lies beside it, from a repository of the hub into a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganpress.errors import ConfigError
from ganpress.run.files import copy_file, make_folder
from ganpress.run.hub.address import at_revision, read_address
from ganpress.run.hub.fetch import Repository, fetch, look, may_be_fetched, model_of


@dataclass(frozen=True)
class Pulled:
    """What was pulled: the folder, the files in it by name, and the commit that they are of.

    Attributes: left: files of the repository that are of no kind that is ever fetched.
    """

    folder: Path
    files: tuple[Path, ...]
    commit: str
    left: tuple[str, ...]


def pull(
    repo: str,
    out: Path | str | None = None,
    *,
    revision: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Pulled:
    """Fetch the files of a repository that has a ganpress model, each whole and of the listed hash.

    Only files that cannot run code are fetched: safetensors, ONNX, JSON, Markdown, PNG, JPEG.

    Args:
        repo: "owner/name[@revision][/file]"; with a file only that one.
        out: the folder; made where missing. None: one of the repository's name, here.
        revision: a branch, tag or commit; None: the main branch.
        overwrite: put them in the place of other files of their names.
    Raises: ConfigError where the folder has other files of these names; HubError, MissingExtra.
    """
    address = at_revision(read_address(repo), revision)
    folder = Path(out) if out is not None else Path(address.repo.split("/")[1])
    repository = look(address)
    wanted = [address.file] if address.file else _all_of(repository)
    fetched = {name: fetch(repository, name, quiet=quiet) for name in wanted}
    if not overwrite:
        _check_free(folder, fetched)
    for name, path in fetched.items():
        make_folder((folder / name).parent)
        copy_file(path, folder / name)
    left = () if address.file else tuple(n for n in repository.files if not may_be_fetched(n))
    return Pulled(folder, tuple(folder / name for name in wanted), repository.commit, left)


def _all_of(repository: Repository) -> list[str]:
    """What is fetched of a repository, its model first, so that one of another tool ends there."""
    model = model_of(repository)
    return [model, *(n for n in repository.files if may_be_fetched(n) and n != model)]


def _check_free(folder: Path, fetched: dict[str, Path]) -> None:
    """Refuse a folder that holds other files of these names: ConfigError."""
    for name, path in fetched.items():
        target = folder / name
        if target.exists() and (not target.is_file() or target.read_bytes() != path.read_bytes()):
            raise ConfigError(
                f"{target} is there already and is not that of the hub: choose another folder "
                "(-o), or --overwrite."
            )
