"""A student as a torch module of its own: a .py that needs torch alone, and its state dict.

The file is made of the classes that the student uses, and of one function that builds it with its
widths written out (`plain_source`); names of tensors are the package's own. It is run and compared
with the network before it is written.

A quantised student's weights stay what they are: int8 levels in the state dict, and beside each
its step (``<layer>.step``: one number, or one for each output channel), by which they are
multiplied when the module runs. The grid of each layer's input is written into the source; biases
that are rounded are stored rounded.
"""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganpress.errors import ExportError
from ganpress.formats.exporters.plain_source import source_of
from ganpress.formats.exporters.verify import ExportFacts
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.nn.layers import fold_gates, quantisable
from ganpress.quantisation.quantise import FakeQuantiser
from ganpress.run.files import make_folder, replace_pair
from ganpress.types import State
from ganpress.types.sizes import Size

TARGET = "pth-plain"
SAME = 1e-5  # largest difference of the picture


def export_plain(model: Model, path: Path, size: Size) -> ExportFacts:
    """Write ``path``, a state dict, and NAME_net.py beside it; errors as of `student_files`."""
    source, data, top, mean, shape = student_files(model, path.name, size)
    module = module_path(path)
    make_folder(path.parent)
    replace_pair(module, source.encode(), path, data)
    return ExportFacts(path, len(data), top, mean, (shape,), None, beside=(module,))


def write_beside(model: Model, path: Path, size: Size) -> tuple[Path, Path]:
    """Write NAME_net.py and NAME_net.pth beside ``path``, NAME.pth; the two paths."""
    module = module_path(path)
    weights = module.with_suffix(".pth")
    source, data, *_ = student_files(model, weights.name, size)
    make_folder(path.parent)
    replace_pair(module, source.encode(), weights, data)
    return module, weights


def module_path(path: Path) -> Path:
    """The module beside a file of weights: a name that Python can import."""
    stem = re.sub(r"\W", "_", path.stem)
    return path.with_name(f"{'_' if stem[:1].isdigit() else ''}{stem}_net.py")


def student_files(
    model: Model, weights: str, size: Size
) -> tuple[str, bytes, float, float, tuple[int, ...]]:
    """The module's source, the state dict as torch writes it, and how far its picture is off.

    Args: weights: the name of the file of weights, for the module's docstring.
    Raises: ExportError where its picture differs by more than 1e-5.
    """
    plain = copy.copy(model)
    plain.net = fold_gates(copy.deepcopy(model.net).cpu().eval())
    source = source_of(plain, weights)
    made: dict[str, Any] = {"__name__": "student_net"}
    exec(compile(source, "student_net.py", "exec"), made)
    net = made["build"]()
    state = _state(plain.net, net.state_dict())
    net.load_state_dict(state, strict=True)
    inputs = draw_inputs(plain.net, 1, size, torch.Generator().manual_seed(0))
    with torch.no_grad():
        want, got = plain(*inputs), net.eval()(*inputs)
    difference = (got - want).abs()
    if not float(difference.max()) <= SAME:
        raise ExportError(
            f"The plain torch module makes another picture (up to {float(difference.max()):.2e} "
            f"apart; allowed {SAME:.0e}). Nothing was written; please report this."
        )
    data = io.BytesIO()
    torch.save(state, data)
    top, mean = float(difference.max()), float(difference.mean())
    return source, data.getvalue(), top, mean, tuple(want.shape)


def _state(net: nn.Module, wanted: Mapping[str, Tensor]) -> State:
    """The tensors under the module's names: int8 levels with their steps, biases as added."""
    own = {name: tensor.detach() for name, tensor in net.state_dict().items()}
    for name, layer in quantisable(net).items():
        if isinstance(layer.quantiser, FakeQuantiser):
            levels, step = layer.quantiser.weight_integers(layer.weight, out_dim=layer.out_dim)
            own |= {f"{name}.weight": levels, f"{name}.step": step}
            if (bias := layer.added_bias(layer.bias)) is not None:
                own[f"{name}.bias"] = bias.detach()
    return {name: own[name].contiguous().clone() for name in wanted}
