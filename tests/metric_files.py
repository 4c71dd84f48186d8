"""Weight files of the shape of the networks that metrics are named by, with random numbers."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganpress.losses.feature_nets import NETS

State = dict[str, Tensor]


def random_file(name: str, path: Path) -> Path:
    """A weight file of the network's shape, in half precision; norms that are not the identity."""
    net = NETS[name]
    draw = torch.Generator().manual_seed(0)
    state: State = {}
    for own, tensor in net.layers().state_dict().items():
        if own.endswith("num_batches_tracked"):
            continue
        key, fan = net.key(own), max(1, tensor[0].numel() if tensor.ndim > 1 else 1)
        value = torch.randn(tensor.shape, generator=draw) * (2 / fan) ** 0.5
        if tensor.ndim == 1 and own.endswith(("weight", "running_var")):
            value = 0.5 + torch.rand(tensor.shape, generator=draw)
        elif tensor.ndim == 1:
            value = 0.1 * torch.randn(tensor.shape, generator=draw)
        state[key] = value.half()
    for key, shape in net.heads.items():
        state[key] = torch.rand(shape, generator=draw).half()
    torch.save(state, path)
    return path


def publish(patch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
    """Random files of these networks as the published ones, in the folder that GANPRESS_WEIGHTS
    names from now on; nothing else is found, in no package and no cache."""
    folder.mkdir(exist_ok=True)
    patch.setenv("GANPRESS_WEIGHTS", str(folder))
    patch.setenv("XDG_CACHE_HOME", str(folder / "no-cache"))
    patch.setattr("ganpress.losses.weights.find_spec", lambda _: None)
    for name in names:
        entry = NETS[name].file
        assert entry is not None
        path = folder / entry.file
        if not path.exists():
            random_file(name, path)
        known = replace(entry, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for same, net in NETS.items():
            if net.file is entry:
                patch.setitem(NETS, same, replace(net, file=known))
