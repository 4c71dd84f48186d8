"""Data parallel training under torchrun: one process per device, gradients averaged.

Every process builds the same networks from the same seed, takes its own rows of each global batch,
and averages its gradients with the others' after the backward pass (as NVIDIA's StyleGAN2 code
does: DistributedDataParallel cannot follow a backward pass through a gradient, which R1 and the
path length need). Without torchrun everything here is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganpress.errors import ConfigError

N = TypeVar("N", int, float)


def world() -> int:
    """How many processes train together; 1 without torchrun."""
    return dist.get_world_size() if _started() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _started() else 0


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()


def start(device: str = "cpu") -> str:
    """Join the other processes if torchrun started this one; returns the device to use."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _started():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    if device.startswith("cuda") and _started():
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
        torch.cuda.set_device(device)
    return device


def stop() -> None:
    """Leave the group."""
    if _started():
        dist.destroy_process_group()


def share(rows: Tensor) -> Tensor:
    """This process's rows of a tensor that all processes hold alike (z drawn for the whole batch).

    Raises `ConfigError` where the rows cannot be split evenly.
    """
    if len(rows) % world():
        raise ConfigError(f"A batch of {len(rows)} cannot be split over {world()} processes.")
    each = len(rows) // world()
    return rows[rank() * each : (rank() + 1) * each]


def average_gradients(*networks: nn.Module) -> None:
    """Replace every gradient by its mean over the processes, in one transfer per network."""
    if world() == 1:
        return
    for network in networks:
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        if grads:
            _average(grads)


@torch.no_grad()
def _average(tensors: list[Tensor]) -> None:
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    flat /= world()
    for tensor, piece in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(piece.view_as(tensor))


def mean(value: Tensor) -> Tensor:
    """The mean of a number over the processes; without gradient."""
    value = value.detach().clone()
    if world() > 1:
        dist.all_reduce(value)
        value /= world()
    return value


def agree(value: N) -> N:
    """Process 0's value, on every process."""
    if world() == 1:
        return value
    said = [value]
    dist.broadcast_object_list(said, src=0)
    return said[0]


@torch.no_grad()
def make_equal(networks: Iterable[nn.Module]) -> None:
    """Give every process the parameters and buffers of process 0."""
    if world() == 1:
        return
    for network in networks:
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)


def wait() -> None:
    """Go on when every process is here."""
    if world() > 1:
        dist.barrier()
