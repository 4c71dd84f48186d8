"""Check a quantised export layer by layer: every layer of the file reads what torch's layer reads.

A fake-quantised network amplifies roundings: a sum in another order, 1e-7 off, flips single
activations by a step, and each flip flips more behind it. Two correct programs differ in the end by
as much as the network differs from itself under a nudge, which can be grey levels, and a small
error of the export hides in that. So each convolution of a copy of the file is cut off from what
the file computed before it, and reads torch's own input (already on the grid) through its own
QuantizeLinear; what the file computed for that place becomes an output. Then nothing can pile up:
from torch's activations to the next quantiser is one convolution, its norm and its activation, and
the two programs agree to single roundings, one step off where a value lay on an edge. A wrong
scale, range, weight, bias or order of channels shows where it is, whatever the network's noise.
Integer kernels are in force, since quantisers, convolutions and rounding stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import ExportError
from ganpress.nn.integer_layers import output_grids
from ganpress.nn.layers import convolutions, read_inputs
from ganpress.quantisation.quantise import FakeQuantiser, input_step
from ganpress.types import Inputs

Session = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""A file as a function: inputs by name -> outputs by name."""

LEVELS = ".quantiser.levels"  # the end of an integer weight's name (`quantiser.ExportQuantiser`)
FEED, READ = "/fed", "/read"
OFF = 0.01  # of a step; a value further from torch's counts as off
MOST_STEPS = 1.01  # a rounding on the edge goes the other way: one step, never two
MOST_OFF = 0.01  # share of a layer's inputs that may be off
FEW = 2  # values that may be off where that is more than the share


def cut(data: bytes, on_grid: Mapping[str, Tensor]) -> tuple[bytes, dict[str, str]]:
    """The ONNX file in which each layer reads an input of the graph.

    Args: on_grid: the quantised input of each such layer, by name.
    Returns: the file; its inputs are the old ones and ``<layer>/fed``, (n, c, h, w) float32; and
        for each of these layers the output that holds what the file would have read. A layer whose
        weight another layer has too (all zeros, say) is ambiguous, and not cut.
    """
    import onnx

    file = onnx.load_from_string(data)
    graph = file.graph
    makers = {name: node for node in graph.node for name in node.output}
    found: dict[str, list[Any]] = {}
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and node.input[1] in makers:
            weight = makers[node.input[1]].input[0]
            found.setdefault(weight.removesuffix(LEVELS), []).append(node)
    made = {}
    for layer, readers in found.items():
        if layer in on_grid and len(readers) == 1:
            made[layer] = readers[0].input[0]
            dims = [None, on_grid[layer].shape[1], None, None]
            kind = onnx.TensorProto.FLOAT
            graph.input.append(onnx.helper.make_tensor_value_info(layer + FEED, kind, dims))
            readers[0].input[0] = _own_quantiser(graph, makers, made[layer], layer)
    for name in dict.fromkeys(made.values()):  # once each: two layers can read the same
        dims = [None] * 4
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims))
    return file.SerializeToString(), made


def _own_quantiser(graph: Any, makers: Mapping[str, Any], made: str, layer: str) -> str:
    """Give a layer a copy of the quantiser that made its input; the name of what that makes.

    A grid in float arithmetic (gs2020) has none: the layer reads what it is fed.
    """
    dequantise = makers[made]
    quantise = makers.get(dequantise.input[0])
    if dequantise.op_type != "DequantizeLinear" or quantise is None:
        return layer + FEED
    for node, reads, makes in (
        (dequantise, layer + "/levels", layer + READ),
        (quantise, layer + FEED, layer + "/levels"),
    ):
        own = type(node)()
        own.CopyFrom(node)
        own.name, own.input[0], own.output[0] = makes, reads, makes
        graph.node.insert(0, own)
    return layer + READ


@torch.no_grad()
def layer_inputs(net: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """The quantised input of each layer that quantises it: (n, c, h, w) by layer name."""
    layers = _reading(net)
    on_grid: dict[str, Tensor] = {}
    for name, x in read_inputs(net, layers, inputs, lambda x: x).items():
        layer = layers[name]
        on_grid[name] = layer.quantiser.input(x, signed=layer.signed, learned=layer.range)
    return on_grid


def _reading(net: nn.Module) -> dict[str, Any]:
    """The layers that quantise their input."""
    return {
        name: layer
        for name, layer in convolutions(net).items()
        if isinstance(layer.quantiser, FakeQuantiser) and layer.quantises_input
    }


def check_layers(
    net: nn.Module, data: bytes, open_: Callable[[bytes], Session], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Compare what each layer reads in torch and in the file, every layer fed torch's values.

    Args:
        net: on the CPU.
        open_: loads a file in the program it is for.
        inputs: of the network, by name.

    Returns: the outputs of the file, by name: the picture is made of torch's last activations.
    Raises: ExportError where a layer reads other values than in torch.
    """
    on_grid = layer_inputs(net, tuple(inputs.values()))
    changed, made = cut(data, on_grid)
    if not made:
        raise ExportError("The exported network has no quantised layer. Nothing was written.")
    outputs = open_(changed)({**inputs, **{n + FEED: on_grid[n] for n in made}})
    layers, coarsest = convolutions(net), _coarsest(net)
    for name, output in made.items():
        step = input_step(layers[name])
        assert step is not None  # it lies on a grid
        _check(name, outputs[output], on_grid[name], step, 1 + coarsest / step)
    return outputs


def _coarsest(net: nn.Module) -> float:
    """The largest step of an output's grid, a rounding to which can stand before a layer's; 0 where
    there is none."""
    grids = (grid.quantiser for grid in output_grids(net).values())
    return max((q.output_bounds[2] for q in grids if isinstance(q, FakeQuantiser)), default=0.0)


def _check(layer: str, got: Tensor, want: Tensor, step: float, allowed: float) -> None:
    """Args: allowed: how far one rounding can move a value, in steps."""
    if got.shape != want.shape:
        raise ExportError(
            f"Layer '{layer}' of the exported network reads {tuple(got.shape)}, in torch "
            f"{tuple(want.shape)}. Nothing was written; please report this."
        )
    gap = (got - want).abs() / step
    off, most = int((~(gap <= OFF)).sum()), float(gap.max())  # also NaN
    if not most <= MOST_STEPS * allowed or off > max(FEW, MOST_OFF * gap.numel()):
        raise ExportError(
            f"The exported network differs from torch in what layer '{layer}' reads: {off} of "
            f"{gap.numel()} values, by up to {most:.2f} steps of the grid; allowed is one step, "
            f"at {MOST_OFF:.0%} of them. Nothing was written; please report this with the model."
        )
