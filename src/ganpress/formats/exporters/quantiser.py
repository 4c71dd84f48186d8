"""Fake quantisers as ONNX operators: int8 weights, and activations through the same grid.

The arithmetic is that of `quantise.FakeQuantiser`; only the operators differ, because the
training quantiser's autograd function is not one an exporter knows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ganpress.nn.integer_layers import output_grids
from ganpress.nn.layers import Quantisable, quantisable
from ganpress.quantisation.quantise import FakeQuantiser, input_step, range_of


class ExportQuantiser(nn.Module):
    """What one quantised convolution applies, as QuantizeLinear and DequantizeLinear nodes.

    The authors' 257-level grid (levels="gs2020") does not fit a byte: its activations are exported
    as Clip, Div, Round and Mul in float. Saturation is the byte's own where the grid fills it;
    fewer bits, and signed grids (which have no -128), are clipped before.
    """

    levels: Tensor
    step: Tensor
    zero: Tensor
    activation_step: Tensor
    activation_zero: Tensor
    bias_levels: Tensor
    bias_step: Tensor

    def __init__(self, layer: Quantisable, quantiser: FakeQuantiser) -> None:
        super().__init__()
        self.axis = layer.out_dim if quantiser.per_channel else None
        weight = layer.weight.detach()
        levels, step = quantiser.weight_integers(weight, out_dim=layer.out_dim)
        self.register_buffer("levels", levels)
        self.register_buffer("step", step.flatten() if self.axis is not None else step)
        self.register_buffer("zero", torch.zeros_like(self.step, dtype=torch.int8))
        is_signed = quantiser.is_signed(layer.signed)
        self.in_bytes = quantiser.levels != "gs2020"
        self.p = range_of(layer)
        self.low = -self.p if is_signed else 0.0
        self.fills_byte = quantiser.bits == 8 and not is_signed
        self.rounds_image = quantiser.image_step is not None and layer.reads_image
        kind = torch.int8 if is_signed or self.rounds_image else torch.uint8
        self.reads_grid = self.in_bytes and input_step(layer) is not None
        self.rounds_bias, self.wants_integers = False, quantiser.outputs == "int8"
        self.register_buffer("activation_step", torch.tensor(input_step(layer) or 1.0))
        self.register_buffer("activation_zero", torch.zeros((), dtype=kind))

    def input(self, x: Tensor, *, signed: bool, learned: Tensor | None = None) -> Tensor:
        """q_a of the layer's input, (n, c, h, w)."""
        if not (self.in_bytes and self.fills_byte):  # else QuantizeLinear saturates by itself
            x = x.clamp(self.low, self.p)
        if not self.in_bytes:
            return torch.round(x / self.activation_step) * self.activation_step
        return self._on_bytes(x)

    def image(self, x: Tensor) -> Tensor:
        """The picture, (n, 3, h, w); an exact network's on its grid, which fills int8."""
        return self._on_bytes(x) if self.rounds_image else x

    def bias(self, b: Tensor, layer: Quantisable) -> Tensor:
        """The bias, (out,): `use_export_quantisers` has rounded it; or in int32 (`round_bias`)."""
        if not self.rounds_bias:
            return b
        inputs = (self.bias_levels, self.bias_step)
        return _node("DequantizeLinear", inputs, {"axis": 0}, torch.float32, b)

    def give_steps(self, step: Tensor, dim: int) -> None:
        """A step for each output channel, (out,) float32, along this dim of the weight."""
        self.axis, self.step = dim, step
        self.zero = torch.zeros_like(step, dtype=torch.int8)

    def round_bias(self, bias: Tensor) -> None:
        """Keep the bias, (out,) double, in int32 on the grid of the layer's sums, if its input is
        on a grid; the weight has a step for each output channel."""
        if not self.reads_grid:
            return
        step = self.step * self.activation_step
        levels = torch.round(bias / step.double().clamp_min(1e-38)).clamp(-(2**31), 2**31 - 1)
        self.register_buffer("bias_step", step)
        self.register_buffer("bias_levels", levels.to(torch.int32))
        self.rounds_bias = True

    def _on_bytes(self, x: Tensor) -> Tensor:
        grid = (self.activation_step, self.activation_zero)
        kind = self.activation_zero.dtype
        levels = _node("QuantizeLinear", (x, *grid), {}, kind, x)
        return _node("DequantizeLinear", (levels, *grid), {}, torch.float32, x)

    def weight(self, w: Tensor, *, out_dim: int) -> Tensor:
        """q_w of the layer's weight, kept in int8."""
        attributes: dict[str, Any] = {} if self.axis is None else {"axis": self.axis}
        inputs = (self.levels, self.step, self.zero)
        return _node("DequantizeLinear", inputs, attributes, torch.float32, self.levels)


class ExportGrid(nn.Module):
    """What rounds an output (`nn.layers.OutputGrid`), as QuantizeLinear and DequantizeLinear: the
    byte's own ends are those of the grid."""

    step: Tensor
    zero: Tensor

    def __init__(self, quantiser: FakeQuantiser) -> None:
        super().__init__()
        self.register_buffer("step", torch.tensor(quantiser.output_bounds[2]))
        self.register_buffer("zero", torch.zeros((), dtype=torch.int8))

    def output(self, x: Tensor) -> Tensor:
        """(n, c, h, w) on the grid."""
        levels = _node("QuantizeLinear", (x, self.step, self.zero), {}, torch.int8, x)
        return _node("DequantizeLinear", (levels, self.step, self.zero), {}, torch.float32, x)


def _node(
    op: str, inputs: tuple[Tensor, ...], attributes: dict[str, Any], kind: torch.dtype, like: Tensor
) -> Tensor:
    """One ONNX node whose output has the shape of ``like``; it is only for exporting."""
    return torch.onnx.ops.symbolic(op, inputs, attributes, dtype=kind, shape=tuple(like.shape))


@torch.no_grad()
def use_export_quantisers(net: nn.Module) -> nn.Module:
    """Replace each fake quantiser by its exportable form, in place; gates must be folded."""
    for layer in quantisable(net).values():
        if isinstance(layer.quantiser, FakeQuantiser):
            exportable: Any = ExportQuantiser(layer, layer.quantiser)
            bias = layer.added_bias(layer.bias)
            if bias is not None:
                layer.bias = nn.Parameter(bias)
            del layer.quantiser  # a plain attribute would hide the submodule
            layer.quantiser, layer.range = exportable, None
    for grid in output_grids(net).values():
        if isinstance(grid.quantiser, FakeQuantiser):
            rounding: Any = ExportGrid(grid.quantiser)
            del grid.quantiser
            grid.quantiser = rounding
    return net
