"""The library huggingface_hub: its client, and its errors as sentences that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ganpress.errors import DiskFull, GanpressError, HubError, require
from ganpress.run.files import raise_if_full
from ganpress.run.hub.address import Address

LOG_IN = (
    "Log in with 'hf auth login', or set HF_TOKEN to a token with write access (made on the hub's "
    "page of settings, 'Access Tokens')"
)


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or https://huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub() -> Any:
    """The client of huggingface_hub. Raises: MissingExtra."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it would send what runs it
    require("The hub", "huggingface_hub")
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint(), library_name="ganpress")


def has_token() -> bool:
    """Whether the library knows a token of the user."""
    from huggingface_hub import get_token

    return bool(get_token())


@contextmanager
def explained(address: Address, doing: str) -> Iterator[None]:
    """What goes wrong in the block as one sentence, without anybody's token in it.

    Args: doing: what was tried, as "fetching model.safetensors".
    Raises: HubError, DiskFull.
    """
    try:
        yield
    except GanpressError:
        raise
    except Exception as error:  # the library's errors share no base
        raise from_library(error, address, doing) from None  # its text may hold a request's headers


def from_library(error: BaseException, address: Address, doing: str) -> GanpressError:
    """An error of the library as one of ours, whose text is in our words."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__  # what a thread of an upload met
    try:
        raise_if_full(error, cache_folder() / "file")
    except DiskFull as full:
        return full
    return HubError(_without_token(f"{doing} failed: {_reason(error, address)}"))


def cache_folder() -> Any:
    """Where the library keeps what it fetched."""
    from pathlib import Path

    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_unreachable(error: BaseException) -> bool:
    """Whether it says that the hub cannot be reached now, or that nobody wants it to be."""
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return bool(error.response.status_code >= 500)
    return isinstance(error, errors.OfflineModeIsEnabled | errors.HTTPError)


def _reason(error: BaseException, address: Address) -> str:
    from huggingface_hub import errors

    where, repo = endpoint(), address.repo
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} is gated. Ask for access on {where}/{repo}. {LOG_IN}."
    if isinstance(error, errors.RepositoryNotFoundError):
        unseen = "your token may not see it" if has_token() else f"it may be private. {LOG_IN}"
        return f"there is no repository {repo} on {where}, or {unseen}. Check the name."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision '{address.revision or 'main'}'."
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{repo} no longer has that file. Start again."
    if isinstance(error, errors.HfHubHTTPError):
        return _of_status(error, repo)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and it was not fetched before. Unset it (HF_HUB_OFFLINE=0)."
    if isinstance(error, errors.LocalEntryNotFoundError | errors.HTTPError | ConnectionError):
        return f"{where} cannot be reached. Check the connection, then start again."
    return f"{type(error).__name__}: {error}"


def _of_status(error: Any, repo: str) -> str:
    """A sentence on an answer that is no success."""
    code, owner = error.response.status_code, repo.split("/")[0]
    said = f" ({error.server_message})" if error.server_message else ""
    if code == 401:
        return f"the token is missing, invalid or expired. {LOG_IN}."
    if code == 403:
        return (
            f"your token may not do this in {repo}: it needs write access to '{owner}'. {LOG_IN}."
        )
    if code == 429:
        return "the hub had too many requests from here. Wait some minutes, then start again."
    if code >= 500:
        return f"{endpoint()} answered {code}{said}. Start again later."
    return f"{endpoint()} refused it with {code}{said}."


def _without_token(text: str) -> str:
    """The text without the user's token, wherever it came from."""
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "(token)") if token else text
