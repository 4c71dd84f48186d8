"""U-Net generators of junyanz's pix2pix (unet_128, unet_256).

Each block keeps the next inside it: `model.model.1` is the second block, `model.model.1.model.3`
the third, and so on; the bottleneck's keys are one shorter, since no norm follows its convolution.
Dropout moves no key and cannot be seen in a file.
"""

from __future__ import annotations

from typing import Any

from ganpress.errors import ConfigError
from ganpress.formats.importers.cyclegan import fold_into_means
from ganpress.formats.importers.fitting import STATISTICS, Plan, fill_together
from ganpress.formats.importers.unsaid import (
    assume_instance,
    assume_statistics,
    norm_of,
    statistics_alone,
)
from ganpress.models.checkpoint import Model
from ganpress.models.upstream import check_options
from ganpress.types import State


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a UnetGenerator's checkpoint becomes a `pix2pix` generator; widths from the shapes.

    Args: options: `norm`, as the family's ("instance" for a file with BatchNorm: the statistics of
        each picture); `dropout`, whether it had dropout in training, which changes no picture;
        `colours`, "bgr" of a network that reads and writes these.
    Raises: ConfigError for another option; CheckpointError for one that reads no picture.
    """
    known = {"dropout", "norm", "colours"}
    unknown = [*(["config"] if config is not None else []), *(options.keys() - known)]
    if unknown:
        raise ConfigError(f"Kind 'pix2pix' takes no '{unknown[0]}': all is read off {source}.")
    downs = _count(state)
    names = tensor_names(downs)
    layers = layer_names(downs)
    norms = [n for n in layers if n.endswith(".norm")]
    bare = [n for n in layers if n.endswith(".conv") and n != "out.conv"]
    kind = norm_of(
        state,
        norms=[layers[n] for n in norms],
        convolutions=[layers[n] for n in bare],
        given=options.get("norm"),
        source=source,
    )
    affine = kind == "instance" and any(names[f"{n}.weight"] in state for n in norms)
    bgr = options.pop("colours", "rgb") == "bgr"
    found = {"downs": downs, "affine": affine, **options, "norm": kind}
    made = Plan("pix2pix", found, names=names)
    assume_statistics(made, options, dropout=True)
    assume_instance(made, state, options, [layers[n] for n in norms])
    for i in range(downs):
        made.width(state, f"enc{i}", names[f"downs.{i}.conv.weight"], 0)
    for i in range(downs - 1):  # transposed convolutions are (in, out, h, w)
        made.width(state, f"dec{downs - 2 - i}", names[f"ups.{i}.conv.weight"], 1)
    if kind == "batch":
        fill_together(made, state, _normed_biases(downs), 0)
        fill_together(made, state, [f"{n}.num_batches_tracked" for n in norms], 0)
        if statistics_alone(state, [layers[n] for n in norms]):
            made.without_scales(norms)
    else:
        fill_together(made, state, [f"{n}.bias" for n in bare], 0)  # made with BatchNorm
        made.ignored = [n for n in state if n.endswith(STATISTICS)]
    if bgr:
        made.turn_colours("downs.0.conv", "out.conv", 1)
    made.channels(state, "in_channels", names["downs.0.conv.weight"], 1, source)
    made.channels(state, "out_channels", names["out.conv.weight"], 1, source)
    return made


def _count(state: State) -> int:
    """How often the network halves: once in each block, and blocks lie inside one another."""
    at, count = "model.model.1.model.3", 2
    while any(name.startswith(f"{at}.model.") for name in state):
        at, count = f"{at}.model.3", count + 1
    return count


def layer_names(downs: int) -> dict[str, str]:
    """Our layers -> the file's, convolutions and norms alike."""
    names, at = {"downs.0.conv": "model.model.0", "out.conv": "model.model.3"}, "model.model.1"
    for i in range(1, downs - 1):
        up = downs - 1 - i
        names |= {f"downs.{i}.conv": f"{at}.model.1", f"downs.{i}.norm": f"{at}.model.2"}
        names |= {f"ups.{up}.conv": f"{at}.model.5", f"ups.{up}.norm": f"{at}.model.6"}
        at += ".model.3"
    names[f"downs.{downs - 1}.conv"] = f"{at}.model.1"
    return names | {"ups.0.conv": f"{at}.model.3", "ups.0.norm": f"{at}.model.4"}


def tensor_names(downs: int) -> dict[str, str]:
    """Our tensors -> the file's; more than any one network has."""
    return {
        f"{ours}.{tensor}": f"{theirs}.{tensor}"
        for ours, theirs in layer_names(downs).items()
        for tensor in ("weight", "bias", *STATISTICS)
    }


def _normed_biases(downs: int) -> list[str]:
    """Biases of convolutions that a norm follows."""
    layers = layer_names(downs)
    return [f"{n.removesuffix('.norm')}.conv.bias" for n in layers if n.endswith(".norm")]


def state_of(model: Model) -> State:
    """The generator's tensors under junyanz's names, for a UnetGenerator of the same norm.

    Under BatchNorm biases are folded into the means. With option ``affine`` the InstanceNorms'
    scales are there, which upstream's class takes if its norm layer is given affine=True.

    Raises: ConfigError for a wiring that the class does not have.
    """
    check_options("pth-junyanz", "pix2pix", model.options)
    state, downs = dict(model.net.state_dict()), model.options["downs"]
    if model.options["norm"] == "batch":
        state = fold_into_means(state, _normed_biases(downs))
    names = tensor_names(downs)
    return {names[ours]: tensor for ours, tensor in state.items()}
