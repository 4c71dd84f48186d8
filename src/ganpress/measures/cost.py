"""What a network costs: MACs in both conventions, parameters, bytes, latency. 1 G = 1e9.

``macs``: true multiply-accumulates, a transposed convolution counted at its input resolution.
``macs_outres``: the convention of the papers' tools, a transposed convolution counted at its output
resolution (methods.md 1.4). Norms, activations and resizing are not counted in either.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.nn.axes import Dim, axes, tags, vanishing_with
from ganpress.nn.integer_layers import SubPixelConv2d
from ganpress.nn.layers import ConvTranspose2d, convolutions, quantisable
from ganpress.nn.modes import in_eval
from ganpress.quantisation.quantise import quantiser_of
from ganpress.types import Inputs, Widths
from ganpress.types.sizes import Size, as_size


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass of one image."""

    params: int
    macs: int
    macs_outres: int
    bytes: int
    """Of the weights at the stored precision; the file adds a header of a few kB."""
    macs_linear: int = 0
    """Of fully connected layers (mapping networks, styles), which the two above leave out."""


@dataclass(frozen=True)
class _Layer:
    weight: str
    positions: int
    positions_outres: int
    is_linear: bool = False


class CostTable:
    """Cost as a function of widths, without building anything: one forward pass on the meta device
    counts how often each weight is used, and a weight's size follows from its axes."""

    def __init__(self, net: nn.Module, size: Size) -> None:
        """Args: size: pixels of the pictures; ignored by families whose options fix it."""
        self._dims = axes(net)
        state = [*net.named_parameters(), *net.named_buffers()]
        self._shapes = {n: tuple(t.shape) for n, t in state}
        self._parameters = {n for n, _ in net.named_parameters()}
        modules = net.named_modules()
        found = {f"{path}." if path else "": vanishing_with(module) for path, module in modules}
        self._vanishing = {path: what for path, what in found.items() if what is not None}
        layers = quantisable(net).items()
        self._int8 = {f"{n}.weight" for n, m in layers if m.quantiser is not None}  # any bits
        self._layers = _count(net, size)

    def __call__(self, widths: Widths | None = None) -> Cost:
        """The cost at these widths (those of the network for groups not named)."""
        w = widths or {}
        gone = self._gone(w)
        numel = {n: 0 if n in gone else self._numel(n, w) for n in self._shapes}
        stored = sum(k * (1 if n in self._int8 else 4) for n, k in numel.items())
        spatial = [layer for layer in self._layers if not layer.is_linear]
        return Cost(
            params=sum(numel[n] for n in self._parameters),
            macs=sum(numel[x.weight] * x.positions for x in spatial),
            macs_outres=sum(numel[x.weight] * x.positions_outres for x in spatial),
            bytes=stored,
            macs_linear=sum(numel[x.weight] * x.positions for x in self._layers if x.is_linear),
        )

    def _gone(self, widths: Widths) -> set[str]:
        """Tensors of blocks whose inner group is empty at these widths, less what remains."""
        return {
            name
            for path, (axis, remains) in self._vanishing.items()
            if widths.get(axis.group, axis.width) == 0
            for name in self._shapes
            if name.startswith(path) and name.removeprefix(path) not in remains
        }

    def _numel(self, name: str, widths: Widths) -> int:
        shape, dims = self._shapes[name], self._dims.get(name, ())
        full = [*dims, *[None] * (len(shape) - len(dims))]
        return prod(
            have if dim is None else _rows(dim, widths)
            for have, dim in zip(shape, full, strict=True)
        )


def _rows(dim: Dim, widths: Widths) -> int:
    return sum((a.width if a.fixed else widths.get(a.group, a.width)) * a.span for a in dim or ())


def _count(net: nn.Module, size: Size) -> list[_Layer]:
    ghost = copy.deepcopy(net).to("meta").eval()
    found: list[_Layer] = []

    def watch(name: str) -> Callable[[nn.Module, Inputs, Tensor], None]:
        def read(layer: nn.Module, inputs: Inputs, output: Tensor) -> None:
            out = output.shape[-2] * output.shape[-1]
            into = inputs[0].shape[-2] * inputs[0].shape[-1]
            if isinstance(layer, SubPixelConv2d):  # places of its kernel, not pixels that it makes
                out = prod(side + 1 for side in inputs[0].shape[-2:])
            true = into if isinstance(layer, ConvTranspose2d) else out
            found.append(_Layer(f"{name}.weight", true, out))

        return read

    def watch_linear(name: str) -> Callable[[nn.Module, Inputs, Tensor], None]:
        def read(_: nn.Module, __: Inputs, output: Tensor) -> None:
            rows = output.numel() // output.shape[-1]
            found.append(_Layer(f"{name}.weight", rows, rows, is_linear=True))

        return read

    for name, layer in convolutions(ghost).items():
        layer.register_forward_hook(watch(name))
    for name, module in ghost.named_modules():
        if len(tags(module).get("weight", ())) == 2:
            module.register_forward_hook(watch_linear(name))
    with torch.no_grad():
        ghost(*(t.to("meta") for t in _example(net, 1, size)))
    return found


def _example(net: object, n: int, size: Size) -> Inputs:
    """The same inputs each time; torch's own random state is neither read nor changed."""
    module = net if isinstance(net, nn.Module) else nn.Identity()
    return draw_inputs(module, n, size, torch.Generator().manual_seed(0))


CostOf = Callable[[Widths], float]
"""Widths -> a cost, in a unit of its own."""


def _counted(name: str) -> Callable[[nn.Module, Size], CostOf]:
    def table(net: nn.Module, size: Size) -> CostOf:
        counted = CostTable(net, size)
        return lambda widths: float(getattr(counted(widths), name))

    return table


COSTS: dict[str, Callable[[nn.Module, Size], CostOf]] = {
    name: _counted(name) for name in ("macs", "params", "bytes")
}
"""What a target can name and is counted: (network, pixels) -> widths -> cost. A latency, which is
measured, is in `timing.latency_target`."""


def cost_ratio(name: str, whole: nn.Module, net: nn.Module, size: Size) -> CostOf:
    """Widths of ``net`` -> its cost as a fraction of what the network ``whole`` costs."""
    full, cost = COSTS[name](whole, size)({}), COSTS[name](net, size)
    return lambda widths: cost(widths) / full


def measure(net: nn.Module, size: Size = 256) -> Cost:
    """Parameters, MACs (both conventions) and bytes of one image of ``size``: a side or (height,
    width) in pixels."""
    return CostTable(net, size)()


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass in torch, with everything that it depends on.

    Attributes:
        precision: "fp32", or "fake int8" of a fake-quantised network, which in torch takes longer
            than a float one: that is no time of what is shipped.
    """

    median_ms: float
    p95_ms: float
    device: str
    threads: int
    batch: int
    size: Size
    repeats: int
    runtime: str = "torch"
    precision: str = "fp32"


@torch.no_grad()
def latency(
    net: Callable[..., Any],
    *,
    size: Size = 256,
    batch: int = 1,
    device: str = "cpu",
    warm_up: int = 3,
    seconds: float = 3.0,
    most: int = 100,
) -> Latency:
    """Median and 95th percentile over as many passes as fit into ``seconds`` (5 to ``most``).

    What is timed is the forward pass of the network alone, in eval mode, without gradients, on
    inputs that are on the device already: of a `Model` its ``net``, without the change of mode
    around each call. On a CUDA device a pass ends when the device has finished it.

    Args:
        net: a network, a `Model`, or any function of a batch of pictures; on ``device``.
        size: of the pictures, a side or (height, width), pixels. batch: pictures in a pass.
    """
    timed: Callable[..., Any] = net.net if isinstance(net, Model) else net
    inputs = [t.to(device) for t in _example(timed, batch, size)]
    with in_eval(timed) if isinstance(timed, nn.Module) else nullcontext():
        times = _timed(timed, inputs, device, warm_up=warm_up, seconds=seconds, most=most)
    times.sort()
    return Latency(
        median_ms=times[len(times) // 2],
        p95_ms=times[min(len(times) - 1, int(0.95 * len(times)))],
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        threads=torch.get_num_threads(),
        batch=batch,
        size=as_size(size),
        repeats=len(times),
        precision=_precision(timed),
    )


def _precision(timed: object) -> str:
    quantiser = quantiser_of(timed) if isinstance(timed, nn.Module) else None
    return f"fake int{quantiser.bits}" if quantiser else "fp32"


def _timed(
    run: Callable[..., Any],
    inputs: Sequence[Tensor],
    device: str,
    *,
    warm_up: int,
    seconds: float,
    most: int,
) -> list[float]:
    """Milliseconds of each pass."""
    times: list[float] = []
    for _ in range(warm_up):
        run(*inputs)
    began = time.perf_counter()
    while len(times) < 5 or (len(times) < most and time.perf_counter() - began < seconds):
        _wait(device)
        start = time.perf_counter()
        run(*inputs)
        _wait(device)
        times.append(1e3 * (time.perf_counter() - start))
    return times


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def as_dict(cost: Cost | Latency) -> Mapping[str, Any]:
    """Plain data for JSON."""
    return asdict(cost)
