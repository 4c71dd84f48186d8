"""A user's own segmentation network, from an ONNX or a TorchScript file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganpress.errors import ConfigError, MissingExtra, WeightsError
from ganpress.sniff import misplaced
from ganpress.types.sizes import Size, height_width, spelled

ENDINGS = (".onnx", ".pt", ".ts")


class OnnxNetwork(nn.Module):
    """The first input and output of an ONNX file, by onnxruntime on the CPU; no gradients."""

    def __init__(self, session: Any, batch: int | None) -> None:
        super().__init__()
        self.session, self.batch = session, batch
        self.reads, self.gives = session.get_inputs()[0].name, session.get_outputs()[0].name

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, classes, h', w') on the pictures' device."""
        parts = x.detach().cpu().split(self.batch or len(x))
        return torch.cat([self._run(part) for part in parts]).to(x.device)

    def _run(self, x: Tensor) -> Tensor:
        rows = torch.arange(self.batch or len(x)).clamp_max(len(x) - 1)  # of a fixed batch size
        given = np.ascontiguousarray(x[rows].numpy())
        out = self.session.run([self.gives], {self.reads: given})[0]
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
        import onnxruntime
    except ImportError as error:
        raise MissingExtra(
            f"{path} is run by onnxruntime: pip install 'ganpress[onnx]' brings it."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many kinds for a bad file
        raise _unreadable(path, "ONNX", error) from error
    shape = session.get_inputs()[0].shape
    at = 3 if channels_last else 1
    if len(shape) != 4 or (shape[at] not in (3, None) and not isinstance(shape[at], str)):
        wanted = "(n, h, w, 3)" if channels_last else "(n, 3, h, w)"
        raise WeightsError(f"{path} takes {shape}: it must take {wanted} pictures.")
    batch, sides = shape[0], tuple(shape[1:3] if channels_last else shape[2:])
    fixed = all(isinstance(side, int) for side in sides)
    if fixed and (isinstance(size, str) or height_width(size) != sides):
        there = spelled((int(sides[0]), int(sides[1])))
        raise ConfigError(
            f"{path} takes pictures of {there} pixels and no others: write "
            f'size = "{there}" in {card}.'
        )
    return OnnxNetwork(session, batch if isinstance(batch, int) else None)


def _torchscript(path: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's: TorchScript is deprecated
            net: nn.Module = torch.jit.load(path, map_location="cpu")
    except Exception as error:  # torch raises many kinds for a bad file
        raise _unreadable(path, "TorchScript", error) from error
    return net


def _unreadable(path: Path, kind: str, error: Exception) -> WeightsError:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    other = misplaced(path, "weights") if kind == "ONNX" else ""
    return WeightsError(
        f"'{path}' {other or f'cannot be read as {kind} ({why})'}. Export the network to ONNX or "
        "TorchScript (torch.jit.save) and give that file."
    )
