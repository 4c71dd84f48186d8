"""Push a model, or what a run made, to a repository of the hub."""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError, HubError
from ganpress.run.hub.address import Address, at_revision, read_address
from ganpress.run.hub.client import LOG_IN, endpoint, explained, has_token, hub
from ganpress.run.progress import say
from ganpress.sharing.contents import OWN, write_contents
from ganpress.sharing.source import Source, open_source
from ganpress.sharing.terms import Given

_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Pushed:
    """What was pushed.

    Attributes:
        address: what `ganpress.load` takes, as "hub:owner/name"; of several models the first one's,
            with its file.
        url: of the commit, for a browser. commit: 40 hex digits.
        files: name -> bytes.
    """

    address: str
    url: str
    commit: str
    files: dict[str, int]


def push(
    source: Path | str,
    repo: str,
    *,
    private: bool = False,
    message: str | None = None,
    revision: str | None = None,
    licence: str | None = None,
    terms: str | None = None,
    datasets: Sequence[str] = (),
    picture: Path | str | None = None,
    onnx: bool = True,
    quiet: bool = False,
) -> Pushed:
    """Share a model's file, or what a finished run made, in one commit: all of it or nothing.

    The repository is made where there is none. It gets the model (safetensors) and its card as
    JSON, an ONNX file that was checked against torch, README.md with costs, metrics, protocol and
    terms, the run's results.json, and a picture. The token is the library's (HF_TOKEN, or 'hf auth
    login'); it is neither shown nor written.

    Args:
        source: a .safetensors file, or a run's folder.
        repo: "owner/name".
        private: of a repository that is made now: only its owner sees it.
        message: of the commit. revision: the branch to push to, made where there is none.
        licence, terms, datasets: see `write_card`. picture: a .png or .jpg file to show.
        onnx: whether an ONNX file is shared, too.
    Raises: ConfigError, CheckpointError, before anything is sent; HubError; MissingExtra.
    """
    address = read_address(repo)
    if address.file:
        raise ConfigError(f"{repo} names a file: a push is to a repository, owner/name.")
    address = at_revision(address, revision)
    if address.revision and _COMMIT.fullmatch(address.revision):
        raise ConfigError(f"--revision {address.revision} is a commit: push to a branch.")
    opened = open_source(source)
    client = hub()
    if not has_token():
        raise HubError(f"There is no token for {endpoint()}. {LOG_IN}.")
    given = Given(licence, terms, tuple(datasets))
    shown = Path(picture) if picture else None
    with tempfile.TemporaryDirectory(prefix="ganpress-push-") as name:
        folder = Path(name)
        stated = write_contents(
            opened, folder, repo=address.repo, given=given, picture=shown, onnx=onnx, quiet=quiet
        )
        if stated.advice:
            warnings.warn(stated.advice, stacklevel=2)
        say(f"pushing to {address.repo}", quiet=quiet)
        said = message or _message(opened)
        made = _send(client, address, folder, private=private, message=said)
    return replace(made, address=made.address + opened.inside)


def _send(client: Any, address: Address, folder: Path, *, private: bool, message: str) -> Pushed:
    files = {path.name: path for path in sorted(folder.iterdir())}
    with explained(address, f"pushing to {address.repo}"), _quiet_library():
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        client.create_repo(address.repo, private=private or None, exist_ok=True)
        if private and client.model_info(address.repo).private is False:
            raise HubError(
                f"{address.repo} is there already, and everybody sees it: nothing was pushed. Make "
                f"it private on {endpoint()}/{address.repo}/settings, or leave --private out."
            )
        if address.revision not in (None, "main"):
            client.create_branch(address.repo, branch=address.revision, exist_ok=True)
        there = client.model_info(address.repo, revision=address.revision)
        former = {s.rfilename for s in there.siblings or ()} & set(OWN) - files.keys()
        commit = client.create_commit(
            address.repo,
            [
                *(CommitOperationDelete(name) for name in sorted(former)),
                *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
            ],
            commit_message=message,
            revision=address.revision,
        )
    sizes = {name: path.stat().st_size for name, path in files.items()}
    return Pushed(str(address), str(commit.commit_url), str(commit.oid), sizes)


def _message(source: Source) -> str:
    model = source.first
    method = model.provenance.get("method")
    made = f", compressed with {method}" if source.is_compressed and method else ""
    return f"A {model.family.name} generator{made}, by ganpress"


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Without the library's bars where standard error is no terminal, and without its remarks: an
    upload that goes well says nothing."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    level, hide = logging.get_verbosity(), not sys.stderr.isatty()
    was_hidden = are_progress_bars_disabled()
    logging.set_verbosity_error()
    if hide:
        disable_progress_bars()
    try:
        with (
            warnings.catch_warnings()
        ):  # huggingface_hub 2.4 uploads by a former argument of httpx2
            warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if hide and not was_hidden:
            enable_progress_bars()
