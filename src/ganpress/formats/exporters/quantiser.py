"""Fake quantisers as exporters know them, in place of the training quantiser's autograd function.

- `ExportQuantiser`: ONNX operators, int8 weights, and activations through the same grid.
- `TorchQuantiser`: the same in torch's own operators, for torch.export.
- `FloatForm`: what is left of the quantiser in a float file. Weights lie on their grid and
  activations are clamped to their ranges, as the network was trained; nothing else is rounded.
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
        """The bias, (out,): `use_export_quantisers` has rounded it."""
        return b

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


class TorchQuantiser(ExportQuantiser):
    """`ExportQuantiser` in torch's operators: levels are int8 in the file, and the numbers those of
    the fake quantiser."""

    def _on_bytes(self, x: Tensor) -> Tensor:
        span = torch.iinfo(self.activation_zero.dtype)
        levels = torch.round(x / self.activation_step).clamp(span.min, span.max)
        return levels * self.activation_step

    def weight(self, w: Tensor, *, out_dim: int) -> Tensor:
        """q_w of the layer's weight, multiplied out when the network runs."""
        return self.levels.to(torch.float32) * self._column()

    def _column(self) -> Tensor:
        """The step as it multiplies the levels."""
        if self.axis is None:
            return self.step
        return self.step.reshape([-1 if d == self.axis else 1 for d in range(self.levels.ndim)])


class FloatForm(TorchQuantiser):
    """A quantised layer in float: its weight on the grid, its input clamped and not rounded.

    The weight that was trained is the rounded one, and what lies beyond a layer's range was never
    seen by the layers behind it; so both stay. Rounding is what a float file is there to leave out.
    """

    def __init__(self, layer: Quantisable, quantiser: FakeQuantiser) -> None:
        super().__init__(layer, quantiser)
        self.register_buffer("levels", self.levels.to(torch.float32) * self._column())

    def input(self, x: Tensor, *, signed: bool, learned: Tensor | None = None) -> Tensor:
        """The layer's input, (n, c, h, w), clamped to its range."""
        return x.clamp(self.low, self.p)

    def image(self, x: Tensor) -> Tensor:
        """The picture as it is."""
        return x

    def weight(self, w: Tensor, *, out_dim: int) -> Tensor:
        """q_w of the layer's weight, float32."""
        return self.levels


class ExportGrid(nn.Module):
    """What rounds an output (`nn.integer_layers.OutputGrid`), as QuantizeLinear and
    DequantizeLinear: the byte's own ends are those of the grid."""

    step: Tensor
    zero: Tensor

    def __init__(self, quantiser: FakeQuantiser) -> None:
        super().__init__()
        self.low, self.high, step = quantiser.output_bounds
        self.register_buffer("step", torch.tensor(step))
        self.register_buffer("zero", torch.zeros((), dtype=torch.int8))

    def output(self, x: Tensor) -> Tensor:
        """(n, c, h, w) on the grid."""
        levels = _node("QuantizeLinear", (x, self.step, self.zero), {}, torch.int8, x)
        return _node("DequantizeLinear", (levels, self.step, self.zero), {}, torch.float32, x)


class TorchGrid(ExportGrid):
    """`ExportGrid` in torch's operators."""

    def output(self, x: Tensor) -> Tensor:
        """(n, c, h, w) on the grid."""
        return x.clamp(self.low, self.high).div(self.step).round().mul(self.step)


class FloatGrid(ExportGrid):
    """An output of a network in float: clamped to its range, not rounded."""

    def output(self, x: Tensor) -> Tensor:
        """(n, c, h, w), clamped."""
        return x.clamp(self.low, self.high)


GRIDS: dict[type[ExportQuantiser], type[ExportGrid]] = {
    ExportQuantiser: ExportGrid,
    TorchQuantiser: TorchGrid,
    FloatForm: FloatGrid,
}
"""The form of outputs' grids that belongs to a form of layers."""


def _node(
    op: str, inputs: tuple[Tensor, ...], attributes: dict[str, Any], kind: torch.dtype, like: Tensor
) -> Tensor:
    """One ONNX node whose output has the shape of ``like``; it is only for exporting."""
    return torch.onnx.ops.symbolic(op, inputs, attributes, dtype=kind, shape=tuple(like.shape))


@torch.no_grad()
def use_export_quantisers(
    net: nn.Module, form: type[ExportQuantiser] = ExportQuantiser
) -> nn.Module:
    """Replace each fake quantiser by an exportable form, in place; gates must be folded."""
    for layer in quantisable(net).values():
        if isinstance(layer.quantiser, FakeQuantiser):
            exportable: Any = form(layer, layer.quantiser)
            bias = layer.added_bias(layer.bias)
            if bias is not None:
                layer.bias = nn.Parameter(bias)
            del layer.quantiser  # a plain attribute would hide the submodule
            layer.quantiser, layer.range = exportable, None
    for grid in output_grids(net).values():
        if isinstance(grid.quantiser, FakeQuantiser):
            rounding: Any = GRIDS[form](grid.quantiser)
            del grid.quantiser
            grid.quantiser = rounding
    return net
