"""Networks in the layout of NVlabs' pickles."""

from __future__ import annotations

import torch

from ganpress.types import State


def nvlabs_generator(channels: dict[int, int], dim: int, n_mlp: int) -> State:
    """A random generator under NVlabs' names."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    filters = torch.outer(row, row)
    state = {"mapping.w_avg": torch.randn(dim)}
    for i in range(n_mlp):
        state |= {f"mapping.fc{i}.weight": torch.randn(dim, dim) * 100}
        state |= {f"mapping.fc{i}.bias": torch.randn(dim)}
    before = channels[4]
    state["synthesis.b4.const"] = torch.randn(before, 4, 4)
    for side, c in channels.items():
        block = f"synthesis.b{side}"
        state[f"{block}.resample_filter"] = filters
        layers = ["conv1"] if side == 4 else ["conv0", "conv1"]
        for layer in layers:
            i = before if layer == "conv0" else c
            state |= {
                f"{block}.{layer}.weight": torch.randn(c, i, 3, 3),
                f"{block}.{layer}.bias": torch.randn(c),
                f"{block}.{layer}.affine.weight": torch.randn(i, dim),
                f"{block}.{layer}.affine.bias": torch.randn(i) + 1,
                f"{block}.{layer}.noise_strength": torch.randn(()),
                f"{block}.{layer}.noise_const": torch.randn(side, side),
                f"{block}.{layer}.resample_filter": filters,
            }
        state |= {
            f"{block}.torgb.weight": torch.randn(3, c, 1, 1),
            f"{block}.torgb.bias": torch.randn(3),
            f"{block}.torgb.affine.weight": torch.randn(c, dim),
            f"{block}.torgb.affine.bias": torch.randn(c) + 1,
        }
        before = c
    return state
