"""NVlabs' StyleGAN2 pickles: the same pictures as their formulas, and nothing in a file is run."""

from __future__ import annotations

import math
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nvlabs_nets import nvlabs_generator
from torch import Tensor, nn

from ganpress.errors import CheckpointError, UnsafePickle
from ganpress.formats.importers import import_model, nvlabs
from ganpress.formats.importers.fitting import assemble, assemble_discriminator
from ganpress.formats.importers.foreign import read_foreign
from ganpress.types import State


def largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


class Persistent:
    """Pickles as `torch_utils.persistence` does: a function to call, with source and fields."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": "X"}
        rebuild = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        return rebuild, (sys.modules["dnnlib.util"].EasyDict(meta | {"state": self.state}),), None


@pytest.fixture
def their_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVlabs' modules, as far as their pickles name them; gone once a file is written."""

    def rebuild(meta: Any) -> None:
        raise AssertionError("this is what must never be called")

    rebuild.__module__, rebuild.__qualname__ = "torch_utils.persistence", "x"
    rebuild.__name__ = rebuild.__qualname__ = "_reconstruct_persistent_obj"
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    for name, held in {
        "torch_utils": {},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": rebuild},
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": easy},
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update(held)
        monkeypatch.setitem(sys.modules, name, module)


def as_objects(state: State) -> Persistent:
    """A state dict as nested objects, with the numpy numbers and sets that real ones carry."""
    inner: dict[str, State] = {}
    own = OrderedDict[str, Tensor]()
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = tensor
        else:
            own[name] = tensor
    buffers = ("resample_filter", "noise_const", "w_avg")
    return Persistent(
        {
            "_parameters": OrderedDict(
                (n, nn.Parameter(t)) for n, t in own.items() if n not in buffers
            ),
            "_buffers": OrderedDict((n, t) for n, t in own.items() if n in buffers),
            "_modules": OrderedDict((n, as_objects(s)) for n, s in inner.items()),
            "_non_persistent_buffers_set": set(),
            "act_gain": np.sqrt(2),
            "training": False,
        }
    )


def nvlabs_picture(s: State, z: Tensor, sides: list[int], n_mlp: int) -> Tensor:
    """What NVlabs' synthesis does, written out: weights of each sample, zeros put in, filters."""
    dim = z.shape[1]
    w = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in range(n_mlp):
        weight = s[f"mapping.fc{i}.weight"] * (0.01 / math.sqrt(dim))
        w = F.leaky_relu(w @ weight.T + s[f"mapping.fc{i}.bias"] * 0.01, 0.2) * math.sqrt(2)

    def style(name: str) -> Tensor:
        return w @ s[f"{name}.affine.weight"].T / math.sqrt(dim) + s[f"{name}.affine.bias"]

    def filtered(x: Tensor, pad: tuple[int, int, int, int]) -> Tensor:
        kernel = 4 * s["synthesis.b4.resample_filter"].expand(x.shape[1], 1, 4, 4)
        return F.conv2d(F.pad(x, pad), kernel, groups=x.shape[1])

    def layer(x: Tensor, name: str, up: bool) -> Tensor:
        out = []
        for k, scales in enumerate(style(name)):
            weight = s[f"{name}.weight"] * scales[None, :, None, None]
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            one = x[k : k + 1]
            if up:
                one = filtered(F.conv_transpose2d(one, weight.transpose(0, 1), stride=2), (1,) * 4)
            else:
                one = F.conv2d(one, weight, padding=1)
            out.append(one)
        noise = s[f"{name}.noise_const"] * s[f"{name}.noise_strength"]
        y = torch.cat(out) + noise + s[f"{name}.bias"][:, None, None]
        return F.leaky_relu(y, 0.2) * math.sqrt(2)

    x = s["synthesis.b4.const"].expand(len(z), -1, -1, -1)
    image = torch.zeros(())
    for side in sides:
        block = f"synthesis.b{side}"
        x = layer(x, f"{block}.conv0", True) if side > 4 else x
        x = layer(x, f"{block}.conv1", False)
        rgb = style(f"{block}.torgb") / math.sqrt(x.shape[1])
        y = torch.einsum("oi,ni,nihw->nohw", s[f"{block}.torgb.weight"][:, :, 0, 0], rgb, x)
        if side > 4:
            spread = torch.zeros(len(z), 3, side, side)
            spread[:, :, ::2, ::2] = image
            image = filtered(spread, (2, 1, 2, 1))
        image = image + y + s[f"{block}.torgb.bias"][:, None, None]
    return image


def nvlabs_discriminator(channels: dict[int, int]) -> State:
    """A random discriminator under NVlabs' names; widths from the finest size to 4."""
    filters, sides = torch.ones(4, 4) / 16, list(channels)
    first = f"b{sides[0]}.fromrgb"
    state = {f"{first}.weight": torch.randn(channels[sides[0]], 3, 1, 1)}
    state |= {f"{first}.bias": torch.randn(channels[sides[0]]), f"{first}.resample_filter": filters}
    for side, finer in zip(sides[1:], sides, strict=False):
        i, o, block = channels[finer], channels[side], f"b{finer}"
        for name, shape in {
            "conv0": (i, i, 3, 3),
            "conv1": (o, i, 3, 3),
            "skip": (o, i, 1, 1),
        }.items():
            state |= {f"{block}.{name}.weight": torch.randn(shape)}
            state |= {f"{block}.{name}.resample_filter": filters}
            state |= {} if name == "skip" else {f"{block}.{name}.bias": torch.randn(shape[0])}
        state[f"{block}.resample_filter"] = filters
    c = channels[4]
    for name, shape in {"conv": (c, c + 1, 3, 3), "fc": (c, 16 * c), "out": (1, c)}.items():
        state |= {f"b4.{name}.weight": torch.randn(shape), f"b4.{name}.bias": torch.randn(shape[0])}
    return state | {"b4.conv.resample_filter": filters}


def test_an_nvlabs_pickle_is_read_without_its_code(
    tmp_path: Path, their_modules: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    state = nvlabs_generator({4: 7, 8: 5, 16: 3}, 6, 2)
    discriminator = nvlabs_discriminator({16: 3, 8: 5, 4: 7})
    held = {"G": as_objects(state), "D": as_objects(discriminator), "G_ema": as_objects(state)}
    path = tmp_path / "network-snapshot.pkl"
    path.write_bytes(pickle.dumps({**held, "training_set_kwargs": None}))
    for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
        monkeypatch.delitem(sys.modules, name)
    found = nvlabs.read_pickle(path)
    assert read_foreign(path).keys() == state.keys()
    (tmp_path / "renamed.pth").write_bytes(path.read_bytes())
    assert read_foreign(tmp_path / "renamed.pth").keys() == state.keys()
    assert found.keys() == {"g", "d", "g_ema"}
    assert found["g_ema"].keys() == state.keys()
    model = assemble(nvlabs.plan(found["g_ema"], source="x"), found["g_ema"], source="x")
    z = torch.randn(2, 6)
    want = nvlabs_picture(state, z, [4, 8, 16], 2)
    assert largest(model(z), want) < 1e-5 * float(want.abs().max())
    left = found["d"]
    judge = assemble_discriminator(nvlabs.discriminator_plan(left, source="x"), left, source="x")
    assert judge.options == {"size": 16, "channels": [7, 5, 3], "inputs": 3}
    assert judge.net(torch.randn(4, 3, 16, 16)).shape == (4, 1)
    whole = import_model("auto", path)
    assert largest(whole(z), model(z)) == 0
    assert whole.discriminator is not None and whole.discriminator.kind == "stylegan2"


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("echo hacked > hacked",)


def test_a_pickle_that_names_a_forbidden_callable_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"G_ema": Evil()}))
    for read in (nvlabs.read_pickle, read_foreign):
        with pytest.raises(UnsafePickle, match=r"posix\.system"):
            read(path)
    assert not (tmp_path / "hacked").exists()


def test_pickles_that_hold_no_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="none of NVlabs' networks"):
        nvlabs.read_pickle(path)
    path.write_bytes(pickle.dumps({"G": list(range(1000))})[:-20])
    with pytest.raises(CheckpointError, match="cut short"):
        nvlabs.read_pickle(path)
    state = nvlabs_generator({4: 3, 8: 3}, 4, 1)
    with pytest.raises(CheckpointError, match="class-conditional"):
        nvlabs.plan(state | {"mapping.embed.weight": torch.zeros(1)}, source="x")
    with pytest.raises(CheckpointError, match="ToRGB layers at"):
        nvlabs.plan({n: t for n, t in state.items() if "torgb" not in n}, source="x")
