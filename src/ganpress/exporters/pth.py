"""Back to the code bases that the papers' users have: a .pth in the layout of their own classes.

A compressed model drops into the user's code: the tensors have the names, shapes and order of axes
that the upstream class gives them, so its strict `load_state_dict` takes them (built at the
student's widths).
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ganpress.checkpoint import Model
from ganpress.errors import ConfigError, ExportError
from ganpress.exporters.verify import ExportFacts
from ganpress.families.base import draw_inputs
from ganpress.files import make_folder, replace_file
from ganpress.importers import (
    cartoongan,
    cyclegan,
    from_state,
    gan_compression,
    munit,
    pix2pix,
    sngan,
    spade,
    stylegan2,
)
from ganpress.importers.kinds import READERS
from ganpress.nn.layers import fold_gates
from ganpress.quantise import quantiser_of
from ganpress.types import State

Layout = Callable[[Model], State]
LAYOUTS: dict[str, dict[str, tuple[str, Layout]]] = {
    "pth-junyanz": {
        "cyclegan": ("cyclegan", cyclegan.state_of),
        "pix2pix": ("pix2pix", pix2pix.state_of),
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


def export_pth(target: str, model: Model, path: Path, size: int) -> ExportFacts:
    """Write the generator's tensors under another code base's names; checked by reading them back.

    A StyleGAN2 file is rosinality's dictionary {g, g_ema}; the others are plain state dicts.
    Raises: ConfigError for a family that the code base does not have; ExportError for a quantised
        network (the code bases know no integers), or one that reads back as another picture.
    """
    layouts = LAYOUTS[target]
    family = model.family.name
    if family not in layouts:
        able = [name for name, held in LAYOUTS.items() if family in held]
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
    state = state_of(plain)
    top, mean, shape = _compare(plain, kind, state, size)
    data = io.BytesIO()
    torch.save({"g": state, "g_ema": state} if target == "pth-rosinality" else state, data)
    make_folder(path.parent)
    replace_file(path, lambda file: file.write(data.getvalue()))
    return ExportFacts(path, data.getbuffer().nbytes, top, mean, (shape,), None)


def _compare(
    model: Model, kind: str, state: State, size: int
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
