"""Stopping a loop after a number of its steps, and comparing what two loops have saved."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from ganpress.run.stage import Stage


@contextmanager
def stopping_after(
    steps: int, monkeypatch: pytest.MonkeyPatch, stage: str | None = None
) -> Iterator[None]:
    """Within, a loop (of a stage of this name) gets SIGTERM in the last of so many steps."""
    with monkeypatch.context() as patch:
        log = Stage.log

        def stop(self: Stage, step: int, /, **values: float | Tensor) -> None:
            log(self, step, **values)
            if step + 1 == steps and stage in (None, self.name):
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(Stage, "log", stop)
        yield


def same_bits(a: object, b: object, at: str = "") -> list[str]:
    """Where two nests of tensors and plain values differ; [] where they are the same to the bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        equal = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        return [] if equal else [at]
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            return [f"{at}: {set(a) ^ set(b)}"]
        return [where for key in a for where in same_bits(a[key], b[key], f"{at}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [where for i, (x, y) in pairs for where in same_bits(x, y, f"{at}/{i}")]
    return [] if type(a) is type(b) and a == b else [f"{at}: {a!r}, {b!r}"]
