"""Back to the code bases that the papers' users have: a .pth in the layout of their own classes.

A compressed model drops into the user's code: the tensors have the names, shapes and order of axes
that the upstream class gives them, so its strict `load_state_dict` takes them (built at the
student's widths). One thing they may lack: junyanz's ResNet and U-Net classes and GAN Compression's
ResNet ones make InstanceNorm2d with affine=False, and slimming gives it scales and shifts. Those
that change nothing are left out; others cannot be folded into a neighbour (a ReLU or a residual sum
stands behind them), so they are written, with a warning about what to change upstream.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ganpress.errors import ConfigError, ExportError
from ganpress.formats.exporters.verify import ExportFacts
from ganpress.formats.importers import (
    cartoongan,
    cyclegan,
    from_state,
    gan_compression,
    munit,
    pix2pix,
    pytorch_gan,
    sngan,
    spade,
    stylegan2,
)
from ganpress.formats.importers.kinds import READERS
from ganpress.formats.importers.resnet_layout import layout_for
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.nn.layers import fold_gates
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.files import make_folder, replace_file
from ganpress.sizes import Size
from ganpress.types import State

Layout = Callable[[Model], State]
LAYOUTS: dict[str, dict[str, tuple[str, Layout]]] = {
    "pth-junyanz": {
        "cyclegan": ("cyclegan", cyclegan.state_of),
        "pix2pix": ("pix2pix", pix2pix.state_of),
    },
    **{
        f"pth-{kind}": {"cyclegan": (kind, partial(cyclegan.state_of, target=f"pth-{kind}"))}
        for kind in ("cut", "pix2pixhd")
    },
    "pth-pytorch-gan": {
        "cyclegan": ("pytorch-gan", partial(cyclegan.state_of, target="pth-pytorch-gan")),
        "pix2pix": ("pytorch-gan", pytorch_gan.unet_state_of),
    },
    "pth-gan-compression": {
        "cyclegan": ("gan-compression", gan_compression.state_of),
        "gaugan": ("spade", spade.state_of),
        "munit": ("munit", munit.bare_state_of),
    },
    "pth-nvlabs": {
        "gaugan": ("spade", spade.state_of),
        "munit": ("munit", munit.state_of),
    },
    "pth-cartoongan": {"cartoongan": ("cartoongan", cartoongan.state_of)},
    "pth-rosinality": {"stylegan2": ("stylegan2", stylegan2.state_of)},
    "pth-sngan": {"sngan": ("sngan", sngan.state_of)},
}
"""Target -> family -> the import kind that reads it back, and what writes it."""

AFFINE = "functools.partial(nn.InstanceNorm2d, affine=True, track_running_stats=False)"
SAME = 1e-4  # largest difference of the picture after reading the file's tensors back


def export_pth(target: str, model: Model, path: Path, size: Size) -> ExportFacts:
    """Write the generator's tensors under another code base's names; checked by reading them back.

    A StyleGAN2 file is rosinality's dictionary {g, g_ema}; the others are plain state dicts.
    Warns where upstream's class has to be given InstanceNorms with scales to load the file.
    Raises: ConfigError for a family that the code base does not have; ExportError for a quantised
        network (the code bases know no integers), or one that reads back as another picture.
    """
    layouts = LAYOUTS[target]
    family = model.family.name
    if family not in layouts:
        able = [name for name, families in LAYOUTS.items() if family in families]
        raise ConfigError(
            f"Target '{target}' is for {', '.join(layouts)}, not for a '{family}' generator. "
            f"For this one: {', '.join(able) or 'onnx'}."
        )
    if quantiser_of(model.net) is not None:
        raise ExportError(
            f"This network is quantised, and the code base behind '{target}' knows no integers. "
            "Export it to onnx, or export the float student from before quantisation."
        )
    kind, state_of = layouts[family]
    plain = copy.copy(model)
    plain.net = fold_gates(copy.deepcopy(model.net).cpu().eval())
    state, advice = _resolve_scales(plain, target, state_of(plain))
    top, mean, shape = _compare(plain, kind, state, size)
    data = io.BytesIO()
    torch.save({"g": state, "g_ema": state} if target == "pth-rosinality" else state, data)
    make_folder(path.parent)
    replace_file(path, lambda file: file.write(data.getvalue()))
    if advice:
        warnings.warn(f"{path}: {advice}", stacklevel=3)
    return ExportFacts(path, data.getbuffer().nbytes, top, mean, (shape,), None)


def _resolve_scales(model: Model, target: str, state: State) -> tuple[State, str]:
    """Decide which scales and shifts of InstanceNorms to write, where upstream's class has none.

    Those of no norm if all are the identity; else those of every norm, or of the norms that GAN
    Slimming's class has them in.

    Returns: the tensors, and the advice to the user ("" where upstream's class takes the file).
    """
    layers = _scaled_layers(model, target)
    norms = {ours: theirs for ours, theirs in layers.items() if ".norm" in ours}
    scaled = [n for n in norms.values() if f"{n}.weight" in state]
    if all(_is_identity(state, n) for n in scaled):
        dropped = {f"{n}.{tensor}" for n in scaled for tensor in cyclegan.PARAMETERS}
        return {name: t for name, t in state.items() if name not in dropped}, ""
    missing = {ours: theirs for ours, theirs in norms.items() if theirs not in scaled}
    if target == "pth-junyanz" and "down2.norm" in missing:  # else what is missing is off the trunk
        return state, _advice(target, "that are not on the residual trunk ") + (
            " GAN Slimming's Generator has these norms and takes the file as it is."
        )
    out = dict(state)
    for ours, theirs in missing.items():
        conv = ours.replace("norm", "conv")
        bias = state[f"{layers.get(conv) or layers[conv + '.pointwise']}.bias"]
        out |= {f"{theirs}.weight": torch.ones_like(bias), f"{theirs}.bias": torch.zeros_like(bias)}
    return out, _advice(target)


def _scaled_layers(model: Model, target: str) -> dict[str, str]:
    """Our layers -> upstream's, where ours has scales in its InstanceNorms and upstream's class
    none; else empty."""
    options = model.options
    if options.get("norm") != "instance" or not options.get("affine"):
        return {}
    if model.family.name == "pix2pix":
        if target == "pth-pytorch-gan":
            return pytorch_gan.layer_names(options["downs"])
        return pix2pix.layer_names(options["downs"])
    if model.family.name == "cyclegan":
        return layout_for(options, dropout=target == "pth-gan-compression").layers()
    return {}


def _is_identity(state: State, norm: str) -> bool:
    return bool((state[f"{norm}.weight"] == 1).all()) and not state[f"{norm}.bias"].any()


def _advice(target: str, which: str = "") -> str:
    """What a user has to change in the code base before it loads scales of InstanceNorms."""
    students = (
        " (SubMobileResnetGenerator must also give every norm the width of the convolution in "
        "front of it)"
    )
    how = f"made with norm_layer={AFFINE}"
    if target == "pth-pytorch-gan":
        how = "given affine=True, each nn.InstanceNorm2d(...) of models.py"
    return (
        f"the InstanceNorms {which}have scales and shifts, which those of the class behind "
        f"'{target}' lack: its strict load_state_dict refuses this file until they are {how}"
        f"{students if target == 'pth-gan-compression' else ''}. "
        "An export to onnx needs no such change."
    )


def _compare(
    model: Model, kind: str, state: State, size: Size
) -> tuple[float, float, tuple[int, ...]]:
    """Largest and mean difference between the model's picture and that of its exported tensors."""
    options = {o: model.options[o] for o in READERS[kind].options if o in model.options}
    back = from_state(kind, state, source="the exported file", **options)
    inputs = draw_inputs(model.net, 1, size, torch.Generator().manual_seed(0))
    want = model(*inputs)
    difference = (back(*inputs) - want).abs()
    if not float(difference.max()) <= SAME:
        raise ExportError(
            f"The exported tensors read back as another picture (up to "
            f"{float(difference.max()):.2e} apart; allowed {SAME:.0e}). Nothing was written; "
            "please report this."
        )
    return float(difference.max()), float(difference.mean()), tuple(want.shape)


TARGETS = {name: partial(export_pth, name) for name in LAYOUTS}
