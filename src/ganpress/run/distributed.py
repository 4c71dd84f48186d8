"""Data parallel training under torchrun: one process per device, gradients averaged.

Every process builds the same networks from the same seed, takes its own rows of each global batch,
and averages its gradients with the others' after the backward pass (as NVIDIA's StyleGAN2 code
does: DistributedDataParallel cannot follow a backward pass through a gradient, which R1 and the
path length need). Without torchrun everything here is the identity.
"""

from __future__ import annotations

import atexit
import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganpress.errors import ConfigError, Elsewhere, GanpressError

N = TypeVar("N", int, float)
T = TypeVar("T")


def world() -> int:
    """How many processes train together; 1 without torchrun."""
    return dist.get_world_size() if _started() else 1


def launched() -> int:
    """How many processes torchrun started, whether they have met or not; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _started() else 0


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()


def start(device: str = "cpu") -> str:
    """Join the other processes if torchrun started this one; returns the device to use."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _started():
        # This module's functions have the group of the moment as a default argument. The first
        # optimiser imports it (through torch._dynamo): after the start, it would keep the group,
        # and so its threads, alive through `stop` and into the end of the interpreter.
        importlib.import_module("torch.distributed.nn.functional")
        backend = "nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend)
        if backend == "gloo":
            atexit.register(stop)
    if device.startswith("cuda") and _started():
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
        torch.cuda.set_device(device)
    return device


def stop() -> None:
    """Leave the group, and end its threads; a CPU's process that did not does so as it exits.

    A thread of gloo that still holds a tensor of Python's when the interpreter is taken down
    aborts the process ("terminate called without an active exception"), after all its work.
    """
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


def means(values: Sequence[float]) -> list[float]:
    """The mean of each number over the processes, in one transfer."""
    if world() == 1 or not values:
        return list(values)
    result: list[float] = mean(_numbers(values)).tolist()
    return result


def agree(value: N) -> N:
    """Process 0's value, on every process."""
    [agreed] = agree_all([value])
    return type(value)(agreed)


def agree_all(values: Sequence[float]) -> list[float]:
    """Process 0's values, on every process, in one transfer; exact up to 2^53."""
    if world() == 1:
        return list(values)
    numbers = _numbers(values)
    dist.broadcast(numbers, src=0)
    agreed: list[float] = numbers.tolist()
    return agreed


def _numbers(values: Sequence[float]) -> Tensor:
    on = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else None
    return torch.tensor(values, dtype=torch.float64, device=on)


def together(do: Callable[[], T]) -> T:
    """What ``do()`` gives on this process; where it fails on any process, all of them fail here.

    Raises: the process's own error; `Elsewhere` where only another one's failed.
    """
    if world() == 1:
        return do()
    result: T | None = None
    error: GanpressError | None = None
    try:
        result = do()
    except GanpressError as caught:
        error = caught
    codes = mean(_numbers([float(error is not None)]))
    if error is not None:
        raise error
    if float(codes) > 0:
        raise Elsewhere("Another process of this training failed, and says why.")
    return result  # type: ignore[return-value]


def first(do: Callable[[], T]) -> T | None:
    """What ``do()`` gives on process 0; the others wait for it, and get None."""
    return together(lambda: do() if rank() == 0 else None)


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
