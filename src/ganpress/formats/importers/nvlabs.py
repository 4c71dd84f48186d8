"""NVlabs' StyleGAN2 pickles (stylegan2-ada-pytorch), read without running anything in them.

Such a .pkl holds whole objects: each network brings the source of its own class, which NVlabs'
loader executes. Here an object becomes a `Record` of its fields, tensors are rebuilt by torch's
restricted reader, and every other callable is refused by name.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.errors import CheckpointError, UnsafePickle
from ganpress.formats.importers.fitting import DiscriminatorPlan, Plan
from ganpress.formats.importers.stylegan2 import R1, capacity, resolve_rate
from ganpress.models.families.stylegan2 import STYLEGAN2
from ganpress.types import State

NETWORKS = {"G": "g", "D": "d", "G_ema": "g_ema"}  # the file's names -> rosinality's
_FILTER = ".resample_filter"


class Record(dict[Any, Any]):
    """An object of the file: its fields, and nothing that can be called."""

    def __setstate__(self, state: object) -> None:
        """Keep the fields of a plain object."""
        self.update(state if isinstance(state, dict) else {"state": state})


def _inert(*args: object) -> Record:
    """Stands for a value that a network's tensors do not need (a numpy number or array)."""
    return Record(args=args)


def _object(meta: dict[str, Any]) -> Record:
    """A network or layer: its fields; the source code beside them is left alone."""
    state = meta.get("state")
    return Record(state if isinstance(state, dict) else {})


def _storage(data: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
    made: Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)
    return made.clone()


def _bytes(text: str, *_: object) -> bytes:
    """Bytes, as pickles of protocol 2 keep them."""
    return text.encode("latin-1")


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _object,
    ("dnnlib.util", "EasyDict"): Record,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("_codecs", "encode"): _bytes,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("numpy", "dtype"): _inert,
    ("numpy.core.multiarray", "scalar"): _inert,
    ("numpy._core.multiarray", "scalar"): _inert,
    ("numpy", "ndarray"): _inert,
    ("numpy.core.multiarray", "_reconstruct"): _inert,
    ("numpy._core.multiarray", "_reconstruct"): _inert,
}
"""What a file may ask for, and what it gets: stand-ins, and plain containers."""


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, source: str) -> None:
        super().__init__(io.BytesIO(data))
        self.source = source

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in of `ALLOWED`, or a refusal."""
        if (module, name) in ALLOWED:
            return partial(ALLOWED[module, name]) if name != "EasyDict" else Record
        raise UnsafePickle(
            f"{self.source} asks to call '{module}.{name}' when it is loaded. It was not run: a "
            "StyleGAN2 pickle of NVlabs' PyTorch code needs no such thing. Convert it in the code "
            "base it comes from (TensorFlow files: legacy.py) and import the result."
        )


def _holds_tensors(found: object) -> bool:
    if isinstance(found, dict):
        return any(map(_holds_tensors, found.values()))
    return isinstance(found, Tensor)


def read_pickle(path: Path) -> dict[str, State]:
    """The networks of an NVlabs .pkl, as {"g": ..., "d": ..., "g_ema": ...}: tensors by name; of
    another pickle, which holds dictionaries of tensors, these as they are.

    Raises:
        UnsafePickle: the file asks for anything but NVlabs' own containers and tensors.
        CheckpointError: it is damaged, or holds no such networks.
    """
    try:
        loaded = _Reader(path.read_bytes(), str(path)).load()
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged pickle can fail anywhere in its reader
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is cut short, damaged or no pickle of networks ({why}): copy or download it "
            "again."
        ) from error
    found = loaded if isinstance(loaded, dict) else {}
    networks = {
        ours: dict(_tensors(found[theirs]))
        for theirs, ours in NETWORKS.items()
        if isinstance(found.get(theirs), Record)
    }
    if not any(networks.values()) and _holds_tensors(found):
        return found  # a state dict, or several by name
    if not any(networks.values()):
        raise CheckpointError(
            f"{path} holds none of NVlabs' networks ({', '.join(NETWORKS)}): it is a "
            f"{type(loaded).__name__} of {', '.join(map(str, list(found)[:10])) or 'nothing'}."
        )
    return networks


def _tensors(module: Record, prefix: str = "") -> list[tuple[str, Tensor]]:
    """Parameters and buffers of a network's record, by their names in its state dict."""
    out: list[tuple[str, Tensor]] = []
    for kind in ("_parameters", "_buffers"):
        tensors = module.get(kind) or {}
        out += [(f"{prefix}{n}", t) for n, t in tensors.items() if isinstance(t, Tensor)]
    for name, inner in (module.get("_modules") or {}).items():
        if isinstance(inner, Record):
            out += _tensors(inner, f"{prefix}{name}.")
    return out


def plan(state: State, *, source: str, config: str | None = None, **options: Any) -> Plan:
    """The plan of a generator's state dict (G_ema); ``config`` is ignored.

    Args: options: ``lr_mlp``, as the family's.
    Its activation clamp (256, for half precision) is not carried over.
    Raises: CheckpointError for a class-conditional network and one without skips.
    """
    if any(n.startswith("mapping.embed.") for n in state):
        raise CheckpointError(f"{source} is class-conditional; ganpress's StyleGAN2 reads z alone.")
    sides = sorted(int(n[11:].split(".")[0]) for n in state if _is_output(n))
    if not sides or sides != [4 * 2**k for k in range(len(sides))] or len(sides) < 2:
        raise CheckpointError(
            f"{source} has ToRGB layers at {sides or 'no'} pixels; a StyleGAN2 with skips has one "
            "at each of 4, 8, ... up to its size."
        )
    n_mlp = sum(n.startswith("mapping.fc") and n.endswith(".weight") for n in state)
    first = state.get("mapping.fc0.weight")
    wide = first.shape[0] if first is not None and first.ndim == 2 else 512
    made = Plan("stylegan2", {"size": sides[-1], "n_mlp": n_mlp, "style_dim": wide})
    made.names = tensor_names(sides, n_mlp)
    groups = list(STYLEGAN2.full(STYLEGAN2.resolve(made.options)))
    layers = [n for n in made.names if n.startswith("layers.") and n.endswith(".conv.weight")]
    made.width(state, groups[0], made.names[layers[0]], 1)
    for group, layer in zip(groups[1:], layers, strict=True):
        made.width(state, group, made.names[layer], 0)
    made.channels(state, "out_channels", "synthesis.b4.torgb.weight", 0, source)
    made.options |= capacity(made.widths, sides[-1])
    mapping = [state[n] for k in range(n_mlp) if (n := f"mapping.fc{k}.weight") in state]
    resolve_rate(made, mapping, options.get("lr_mlp"))
    made.made = _worked_out(made.names)
    used = {*made.names.values()}
    made.ignored = ["mapping.w_avg", *(n for n in state if n.endswith(_FILTER) and n not in used)]
    return made


def _is_output(name: str) -> bool:
    return name.startswith("synthesis.b") and name.endswith(".torgb.weight")


def tensor_names(sides: list[int], n_mlp: int) -> dict[str, str]:
    """Our tensors -> NVlabs'; several of them are worked out of theirs."""
    names = {"const": "synthesis.b4.const"}
    for i in range(n_mlp):
        names |= {f"mlp.{i}.{t}": f"mapping.fc{i}.{t}" for t in ("weight", "bias")}
    places = ["b4.conv1", *(f"b{s}.conv{j}" for s in sides[1:] for j in (0, 1))]
    for k, place in enumerate(places):
        ours, theirs = f"layers.{k}", f"synthesis.{place}"
        names |= _modulated(f"{ours}.modulated", theirs) | {f"{ours}.bias": f"{theirs}.bias"}
        names |= {f"{ours}.strength": f"{theirs}.noise_strength"}
        names |= {f"noise_{k}": f"{theirs}.noise_const"}
        if k % 2:
            names[f"{ours}.modulated.blur.kernel"] = f"{theirs}{_FILTER}"
    for k, side in enumerate(sides):
        ours, theirs = f"to_rgb.{k}", f"synthesis.b{side}.torgb"
        names |= _modulated(f"{ours}.modulated", theirs) | {f"{ours}.bias": f"{theirs}.bias"}
        if k:
            names[f"{ours}.blur.kernel"] = f"synthesis.b{side}{_FILTER}"
    return names


def _modulated(ours: str, theirs: str) -> dict[str, str]:
    inner = {f"{ours}.affine.{t}": f"{theirs}.affine.{t}" for t in ("weight", "bias")}
    return {f"{ours}.conv.weight": f"{theirs}.weight", **inner}


def _worked_out(names: dict[str, str]) -> dict[str, Any]:
    """What differs in shape or scale: the constant, noise maps, filters, turned weights, gains."""
    made: dict[str, Any] = {"const": ((names["const"],), lambda t: t[None])}
    for ours, theirs in names.items():
        if ours.startswith("noise_"):
            made[ours] = ((theirs,), lambda t: t[None, None])
        elif ours.endswith("blur.kernel"):
            made[ours] = ((theirs,), lambda t: 4 * t)
        elif ours.endswith("modulated.conv.weight"):
            made[ours.replace("conv.weight", "gain")] = ((theirs,), _gain)
            if ours.startswith("layers.") and int(ours.split(".")[1]) % 2:
                made[ours] = ((theirs,), lambda t: t.transpose(0, 1))
    return made


def _gain(weight: Tensor) -> Tensor:
    """1 / sqrt(in k k) of (out, in, k, k)."""
    return weight.new_tensor(1 / sqrt(weight[0].numel()))


def _idle(name: str) -> bool:
    """Whether this is the filter of a layer that does not resample, or of no layer at all."""
    idle = tuple(f".{layer}{_FILTER}" for layer in ("fromrgb", "conv0", "conv"))
    return name.endswith(idle) or name.count(".") < 2


def discriminator_plan(state: State, *, source: str) -> DiscriminatorPlan:
    """The residual discriminator of the same file (`read_pickle`'s ``d``).

    Raises `CheckpointError` where the tensors that give its widths are missing.
    """
    sides = sorted(int(n[1:].split(".")[0]) for n in state if n.endswith(".skip.weight"))
    wanted = [f"b{s}.skip.weight" for s in sides]
    size = sides[-1] if sides else 0
    if sides != [8 * 2**k for k in range(len(sides))] or f"b{size}.fromrgb.weight" not in state:
        raise CheckpointError(f"{source} holds no whole residual StyleGAN2 discriminator.")
    channels = [*(state[n].shape[0] for n in wanted), state[f"b{size}.fromrgb.weight"].shape[0]]
    names = {f"stem.{t}": f"b{size}.fromrgb.{t}" for t in ("weight", "bias")}
    for k, side in enumerate(reversed(sides)):
        ours, theirs = f"blocks.{k}", f"b{side}"
        names |= {f"{ours}.conv1.{t}": f"{theirs}.conv0.{t}" for t in ("weight", "bias")}
        names |= {f"{ours}.conv2.{t}": f"{theirs}.conv1.{t}" for t in ("weight", "bias")}
        names |= {f"{ours}.skip.weight": f"{theirs}.skip.weight"}
        names |= {f"{ours}.blur.kernel": f"{theirs}.conv1{_FILTER}"}
        names |= {f"{ours}.skip_blur.kernel": f"{theirs}.skip{_FILTER}"}
    for ours, theirs in {"last": "conv", "hidden": "fc", "out": "out"}.items():
        names |= {f"{ours}.{t}": f"b4.{theirs}.{t}" for t in ("weight", "bias")}
    ignored = [n for n in state if _idle(n)]
    options = {"size": size, "channels": channels}
    options["inputs"] = state[f"b{size}.fromrgb.weight"].shape[1]
    return DiscriminatorPlan("stylegan2", options, names, ignored, r1=R1)
