"""Back to the code bases that the papers' users have: a .pth in the layout of their own classes.

A compressed model drops into the user's code: the tensors have the names, shapes and order of axes
that the upstream class gives them, so its strict `load_state_dict` takes them. Which class that is,
and with which call, is looked up before anything is written (`models.upstream`): a student whose
widths no class can have is refused with what differs, or padded with zero channels up to the next
widths of the code base's own class (``pad``), which changes no picture. Beside each file lies the
student as a plain torch module at its own widths (`plain`).

One thing junyanz's ResNet and U-Net classes and GAN Compression's ResNet ones may lack: they make
InstanceNorm2d with affine=False, and slimming gives it scales and shifts. Those that change nothing
are left out; others cannot be folded into a neighbour (a ReLU or a residual sum stands behind
them), so they are written, with a warning about what to change upstream.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganpress.channels.widen import normalised_together, widen
from ganpress.errors import ExportError
from ganpress.formats.exporters.plain import write_beside
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
from ganpress.models.layouts import Fit, UpstreamClass, fit
from ganpress.models.upstream import classes_of
from ganpress.models.upstream.resnet import AFFINE
from ganpress.nn.layers import fold_gates
from ganpress.nn.norms import Shift
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.files import make_folder, write_file
from ganpress.types import State
from ganpress.types.sizes import Size

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

SAME = 1e-4  # largest difference of the picture after reading the file's tensors back
PADDED = 1e-5  # and after padding, both computed in double


def export_pth(
    target: str, model: Model, path: Path, size: Size, *, pad: bool = False
) -> ExportFacts:
    """Write the generator's tensors under another code base's names; checked by reading them back.

    A StyleGAN2 file is rosinality's dictionary {g, g_ema}, with d where the discriminator is known,
    so that its scripts can train on; the others are plain state dicts. With
    NAME.pth come NAME_net.py and NAME_net.pth, the student as a plain torch module.
    Warns where upstream's class has to be given InstanceNorms with scales to load the file.

    Args: pad: add zero channels up to the next widths that the code base's own class can have.
    Raises: ConfigError for a family or option that the code base does not have; ExportError for a
        quantised network (the code bases know no integers), one of widths that no class can have,
        or one that reads back as another picture.
    """
    plain = copy.copy(model)
    plain.net = fold_gates(copy.deepcopy(model.net).cpu().eval())
    chosen = find_fit(target, plain, pad=pad)
    kind, state_of = LAYOUTS[target][model.family.name]
    padded = _padded(plain, chosen, size)
    state = _with_statistics(_resolve_scales(padded, target, chosen.of, state_of(padded)), chosen)
    top, mean, shape = _compare(padded, kind, state, size)
    data = io.BytesIO()
    torch.save(_as_filed(target, padded, state), data)
    make_folder(path.parent)
    beside = write_beside(plain, path, size)
    write_file(path, data.getvalue())
    if chosen.of.norms == "scaled":
        warnings.warn(f"{path}: {_advice(target)}", stacklevel=3)
    return ExportFacts(
        path, data.getbuffer().nbytes, top, mean, (shape,), None,
        upstream=f"{chosen.call} of {chosen.of.of}",
        widths=None if chosen.is_exact else chosen.widths,
        beside=beside,
    )  # fmt: skip


def _as_filed(target: str, model: Model, state: State) -> dict[str, Any]:
    """What the file holds: the tensors, or rosinality's dictionary of networks."""
    if target != "pth-rosinality":
        return dict(state)
    networks: dict[str, Any] = {"g": state, "g_ema": state}
    known = model.discriminator
    if known is not None and known.kind == "stylegan2":
        networks["d"] = stylegan2.discriminator_state_of(known.net)
    return networks


def find_fit(target: str, model: Model, *, pad: bool = False) -> Fit:
    """The class of a layout that takes a float network, gates folded, and its numbers.

    Raises: ConfigError, ExportError as of `export_pth`, with what to do instead.
    """
    if quantiser_of(model.net) is not None and model.family.name in LAYOUTS[target]:
        raise ExportError(
            f"This network is quantised, and the code base behind '{target}' knows no integers. "
            "Export it to onnx or to 'pth-plain', which keep its integers, or export the float "
            "student from before quantisation."
        )
    on_trunk, elsewhere = _scaled_norms(model.net)
    scaled = model.options.get("norm") == "instance" and (on_trunk or elsewhere)
    classes = classes_of(target, model.family.name, model.options, scaled=scaled)
    have = {group: max(1, width) for group, width in model.widths.items()}
    own = [fit(of, have) for of in classes if of.of == classes[0].of]
    if pad:
        return _padded_fit(model, target, own, have)
    for found in (fit(of, have) for of in classes if of.norms != "off trunk" or not on_trunk):
        if found.is_exact:
            return found
    raise ExportError(_refusal(model, target, own, have))


def _padded_fit(model: Model, target: str, own: list[Fit], have: dict[str, int]) -> Fit:
    """The smallest network of the code base's own classes that holds the student."""
    together = normalised_together(model.net)
    able = [f for f in own if not f.short and not together & set(f.wider)]
    if not able:
        raise ExportError(_refusal(model, target, own, have))
    return min(able, key=lambda found: _parameters(model, found.widths))


def _refusal(model: Model, target: str, own: list[Fit], have: dict[str, int]) -> str:
    """Why no class takes the student, per group, and what to do."""
    nearest = min(own, key=lambda f: (len(f.short), len(f.wider)))
    name, of = nearest.of.name, nearest.of.of
    text = (
        f"{name} of {of} cannot have this student's widths. The nearest, {nearest.call}, differs "
        f"in: {nearest.explain(have)}. "
    )
    advice = "or export to 'pth-plain', a plain torch module of just these widths, or to onnx."
    together = sorted(normalised_together(model.net) & set(nearest.wider))
    if nearest.short:
        return f"{text}Zero channels cannot help, since the class is narrower: {advice[3:]}"
    varies = {number for number, _ in nearest.of.widths.values()} - set(nearest.of.fixed)
    bound = f"compress with target.layout={target}, which binds the widths, " if varies else ""
    if together:
        return (
            f"{text}Zero channels would change the picture: the LayerNorms behind "
            f"{', '.join(together)} take their statistics over all channels. Instead, "
            f"{bound}{advice if bound else advice[3:]}"
        )
    ratio = _parameters(model, nearest.widths) / _parameters(model, {})
    return (
        f"{text}Add zero channels up to that (--pad: the same pictures, {ratio:.2f} times the "
        f"parameters), {bound}{advice}"
    )


def _parameters(model: Model, widths: dict[str, int]) -> int:
    with torch.device("meta"):
        net = model.build({**model.widths, **widths})
    return sum(p.numel() for p in net.parameters())


def _padded(model: Model, chosen: Fit, size: Size) -> Model:
    """The student at the widths of the class, checked in double to be the same function."""
    if chosen.widths == model.widths:
        return model
    padded = copy.copy(model)
    padded.net = widen(model.build, model.net, chosen.widths)
    inputs = draw_inputs(model.net, 1, size, torch.Generator().manual_seed(0))
    exact = [t.double() for t in inputs]
    with torch.no_grad():
        want, got = (copy.deepcopy(m.net).double().eval()(*exact) for m in (model, padded))
    difference = float((want - got).abs().max())
    if not difference <= PADDED:
        raise ExportError(
            f"With zero channels the picture changes by {difference:.2e} (allowed {PADDED:.0e}). "
            "Nothing was written; please report this."
        )
    return padded


def _scaled_norms(net: nn.Module) -> tuple[bool, bool]:
    """Whether InstanceNorms have scales or shifts that change something: of those that write the
    residual trunk, and of the others."""
    found = [False, False]
    for name, layer in net.named_modules():
        if isinstance(layer, nn.InstanceNorm2d) and layer.affine:
            changes = bool((layer.weight != 1).any() or (layer.bias != 0).any())
        else:
            changes = isinstance(layer, Shift) and bool(layer.bias.any())
        found[not _on_trunk(name)] |= changes
    return found[0], found[1]


def _on_trunk(name: str) -> bool:
    return name.startswith("down2.") or name.endswith(".norm2")


def _resolve_scales(model: Model, target: str, of: UpstreamClass, state: State) -> State:
    """The state with scales and shifts in just the InstanceNorms in which the class has them."""
    layers = _normed_layers(model, target)
    out = dict(state)
    for ours, theirs in layers.items():
        if ".norm" not in ours:
            continue
        if of.norms == "plain" or (of.norms == "off trunk" and _on_trunk(ours)):
            for tensor in cyclegan.PARAMETERS:
                out.pop(f"{theirs}.{tensor}", None)
        elif f"{theirs}.weight" not in out:
            conv = ours.replace("norm", "conv")
            bias = state[f"{layers.get(conv) or layers[conv + '.pointwise']}.bias"]
            out[f"{theirs}.weight"], out[f"{theirs}.bias"] = (
                torch.ones_like(bias),
                torch.zeros_like(bias),
            )
    return out


def _normed_layers(model: Model, target: str) -> dict[str, str]:
    """Our layers -> upstream's, of networks whose InstanceNorms may have scales; else empty."""
    options = model.options
    if options.get("norm") != "instance":
        return {}
    if model.family.name == "pix2pix":
        if target == "pth-pytorch-gan":
            return pytorch_gan.layer_names(options["downs"])
        return pix2pix.layer_names(options["downs"])
    if model.family.name == "cyclegan":
        return layout_for(options, dropout=target == "pth-gan-compression").layers()
    return {}


def _with_statistics(state: State, chosen: Fit) -> State:
    """The state with running statistics as wide as the class makes them, where that is wider than
    what they normalise: it reads the first ones."""
    if not chosen.of.statistics_of_largest:
        return state
    out, most = dict(state), max(chosen.numbers.values())
    for name, tensor in state.items():
        if name.endswith((".running_mean", ".running_var")):
            full = chosen.of.widths[spade.normed_group(name)][1] * most
            out[name] = torch.full((full,), float(name.endswith("var")))
            out[name][: len(tensor)] = tensor
    return out


def _advice(target: str) -> str:
    """What a user has to change in the code base before it loads scales of InstanceNorms."""
    how = f"made with norm_layer={AFFINE}"
    if target == "pth-pytorch-gan":
        how = "given affine=True, each nn.InstanceNorm2d(...) of models.py"
    return (
        f"the InstanceNorms have scales and shifts, which those of the class behind '{target}' "
        f"lack by default: its strict load_state_dict refuses this file until they are {how}. An "
        "export to onnx needs no such change."
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
