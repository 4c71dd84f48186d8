"""What a model's card says of the machine that it was made on is left out of what is shared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

_ABSOLUTE = re.compile(r"(?<![\w:/.])(?:~|[A-Za-z]:)?[/\\\\][^\s'\"]*[^\s'\".,;:)]")


def without_paths(value: Any) -> Any:
    """JSON values in whose texts each absolute path is its last part: "/home/ann/photos" ->
    "photos"."""
    if isinstance(value, str):
        return _ABSOLUTE.sub(lambda found: _last(found[0]), value)
    if isinstance(value, Mapping):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    return value


def copy_without_paths(source: Path, target: Path) -> None:
    """Copy a model's file; its tensors stay, and its card has no paths of this machine."""
    with safe_open(source, "pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    card = without_paths(json.loads(metadata["ganpress"]))
    save_file(tensors, target, metadata={**metadata, "ganpress": json.dumps(card)})


def _last(path: str) -> str:
    kind: type[PurePath] = PureWindowsPath if "\\" in path or path[1:2] == ":" else PurePosixPath
    return kind(path).name or path
