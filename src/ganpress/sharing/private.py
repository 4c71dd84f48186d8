"""What a model's card says of the machine that it was made on is left out of what is shared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

_START = r"(?:file:(?=/)|~[\w.-]*|[A-Za-z]:|\.\.)?(?!//\w)[/\\]"
"""How a path begins that leads out of the working folder; no address of the web does."""
_IN_WORD = r"(?<=\w)'(?=\w)"
"""An apostrophe that ends no quotation: "/home/o'brien"."""
_QUOTED = re.compile(rf"(['\"])(?={_START})((?:[^'\"\n]|{_IN_WORD})+)\1")
_PLAIN = re.compile(rf"(?<![\w/.]){_START}(?:[^\s'\"]|{_IN_WORD})*[^\s'\".,;:)]")
_IN_NAME = r"(?:[^'\"\n]|(?<=\w)')"
_WHOLE = re.compile(rf"{_START}{_IN_NAME}*\s(?!{_START})(?:[^\s'\"]|(?<=\w)')*[/\\]{_IN_NAME}*")
"""A text that is a path with spaces in the names of its folders."""


def without_paths(value: Any) -> Any:
    """JSON values in whose texts each path that leads out of the working folder is its last part:
    "/home/ann/photos" -> "photos"."""
    if isinstance(value, str):
        return _text_without_paths(value)
    if isinstance(value, Mapping):
        return {without_paths(key): without_paths(one) for key, one in value.items()}
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


def _text_without_paths(text: str) -> str:
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~")  # it may have spaces, which would end a path in a sentence
    if _WHOLE.fullmatch(text):
        return _last(text)
    text = _QUOTED.sub(lambda found: f"{found[1]}{_last(found[2])}{found[1]}", text)
    return _PLAIN.sub(lambda found: _last(found[0]), text)


def _last(path: str) -> str:
    kind: type[PurePath] = PureWindowsPath if "\\" in path or path[1:2] == ":" else PurePosixPath
    return kind(path).name or path
