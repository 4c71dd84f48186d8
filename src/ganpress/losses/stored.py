"""The tensors of a weight file: read without running anything, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ganpress.errors import WeightsError


def read(path: Path) -> Mapping[str, Any]:
    """What a .safetensors or a torch file holds, by name. Raises: WeightsError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many kinds for a bad file
        raise WeightsError(
            f"Cannot read weights from '{path}': {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no message'}. "
            "Is the file whole? Remove it and fetch it again."
        ) from error
    if not isinstance(stored, Mapping):
        raise WeightsError(
            f"'{path}' holds a {type(stored).__name__}, not a dictionary of tensors. "
            "Save the network's state_dict() and give that file."
        )
    return stored


def tensor_of(stored: Mapping[str, Any], key: str, shape: tuple[int, ...], path: Path) -> Tensor:
    """The tensor of this name as float32. Raises: WeightsError where it is not of this shape."""
    found = stored.get(key)
    if not isinstance(found, Tensor) or found.shape != shape:
        seen = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
        raise WeightsError(
            f"'{path}' is not the file it should be: '{key}' should be {shape} but is {seen}. Give "
            "the published file with --weights, or remove this one so that it is fetched again."
        )
    return found.float()
