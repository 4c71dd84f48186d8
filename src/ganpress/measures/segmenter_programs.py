"""A user's own segmentation network, from an ONNX or a TorchScript file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ganpress.errors import CheckpointError, ConfigError, WeightsError
from ganpress.formats.runtimes import Opened, open_file
from ganpress.sniff import misplaced
from ganpress.types.sizes import Size, height_width, spelled

ENDINGS = (".onnx", ".pt", ".ts")


class OnnxNetwork(nn.Module):
    """The first input and output of an ONNX file, by onnxruntime on the CPU; no gradients."""

    def __init__(self, opened: Opened) -> None:
        super().__init__()
        self.opened = opened
        self.reads, port = next(iter(opened.inputs.items()))
        self.batch = port.dims[0]

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, classes, h', w') on the pictures' device."""
        parts = x.detach().cpu().split(self.batch or len(x))
        return torch.cat([self._run(part) for part in parts]).to(x.device)

    def _run(self, x: Tensor) -> Tensor:
        rows = torch.arange(self.batch or len(x)).clamp_max(len(x) - 1)  # of a fixed batch size
        given = np.ascontiguousarray(x[rows].numpy())
        out = next(iter(self.opened.run({self.reads: given}).values()))
        return torch.from_numpy(np.asarray(out, np.float32))[: len(x)]


def open_network(
    path: Path, size: Size | str, card: Path, *, channels_last: bool = False
) -> nn.Module:
    """The network in a file, on the CPU.

    Args:
        size: of the pictures that it is to read, pixels, or a word where they differ.
        card: the file that says so, for a message.
        channels_last: it reads (n, h, w, 3).
    Raises: WeightsError, ConfigError, MissingExtra.
    """
    if path.suffix == ".onnx":
        return _onnx(path, size, card, channels_last)
    return _torchscript(path)


def _onnx(path: Path, size: Size | str, card: Path, channels_last: bool) -> nn.Module:
    try:
        opened = open_file(path)
    except CheckpointError as error:
        raise _unreadable(path, "ONNX", error.__cause__ or error) from error
    shape = next(iter(opened.inputs.values())).dims
    at = 3 if channels_last else 1
    if len(shape) != 4 or shape[at] not in (3, None):
        wanted = "(n, h, w, 3)" if channels_last else "(n, 3, h, w)"
        raise WeightsError(f"{path} takes {shape}: it must take {wanted} pictures.")
    height, width = shape[1:3] if channels_last else shape[2:]
    fixed = None if height is None or width is None else (height, width)
    if fixed and (isinstance(size, str) or height_width(size) != fixed):
        there = spelled(fixed)
        raise ConfigError(
            f"{path} takes pictures of {there} pixels and no others: write "
            f'size = "{there}" in {card}.'
        )
    return OnnxNetwork(opened)


def _torchscript(path: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's: TorchScript is deprecated
            net: nn.Module = torch.jit.load(path, map_location="cpu")
    except Exception as error:  # torch raises many kinds for a bad file
        raise _unreadable(path, "TorchScript", error) from error
    return net


def _unreadable(path: Path, kind: str, error: BaseException) -> WeightsError:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    other = misplaced(path, "weights") if kind == "ONNX" else ""
    return WeightsError(
        f"'{path}' {other or f'cannot be read as {kind} ({why})'}. Export the network to ONNX or "
        "TorchScript (torch.jit.save) and give that file."
    )
