"""What a process that times a candidate is told, and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """A candidate as the process is told of it.

    Attributes:
        runtime: "onnxruntime" or "openvino", which run ``path``, an exported file; or "torch" or
            "compile", which run the ganpress model there.
        precision: see `candidates.Candidate`.
        feeds: an .npz of the inputs, in the order of ``names``.
    """

    runtime: str
    path: str
    precision: str
    threads: int
    feeds: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """A candidate in memory: how to run it once, and what it is."""

    run: Callable[[], Any]
    version: str
    precision: str
