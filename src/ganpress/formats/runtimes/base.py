"""What an opened file is: its ports, a function that runs it, and its times by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from ganpress.errors import CheckpointError
from ganpress.sniff import misplaced

Hint = Literal["f32", "bf16", "f16"]
"""What float arithmetic is done in; integer layers stay integer under each."""
Arrays = Mapping[str, Any]
"""numpy arrays by the name of an input or an output."""


@dataclass(frozen=True)
class Port:
    """An input or an output of a file.

    Attributes:
        dims: None where they are free.
        dtype: numpy's name of it ("float32", "uint8"), or "bfloat16".
        names: what the file calls each dim, "" where it has no name; as many as ``dims``.
    """

    dims: tuple[int | None, ...]
    dtype: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeTime:
    """Time of one node of the graph that the runtime made of the file.

    Attributes:
        kind: operator, in the runtime's words; for OpenVINO with the kernel it chose.
        ms: median over the runs.
    """

    name: str
    kind: str
    ms: float


@dataclass(frozen=True)
class Opened:
    """A file that is ready to run on the CPU. Leave it by `close`, or use it in a ``with``.

    Attributes:
        runtime: a key of `RUNTIMES`. version: of its package.
        threads: that it computes with.
        precision: what its float arithmetic is done in.
        inputs, outputs: by name, in the file's order.
        described: the file's metadata, text by key; empty where it has none.
        run: arrays by input name -> arrays by output name, in the file's order.
        profile: times of the nodes, over the runs so far less the first, in order of execution;
            empty unless the file was opened with ``profile=True``. Ends the measurement.
        close: gives back what the runtime holds.
    """

    runtime: str
    version: str
    threads: int
    precision: Hint
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    described: Mapping[str, str]
    run: Callable[[Arrays], dict[str, Any]]
    profile: Callable[[], tuple[NodeTime, ...]] = field(default=lambda: ())
    close: Callable[[], None] = field(default=lambda: None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Source:
    """A file, or the bytes of one, as a runtime is given it.

    Attributes:
        weights: of an OpenVINO network given as bytes: its .bin.
    """

    file: Path | bytes
    weights: bytes | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.file) if isinstance(self.file, Path) else "the exported network"


def unreadable(source: Source, program: str, error: Exception) -> CheckpointError:
    """The error for a file that the runtime cannot load; its own error becomes the cause."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    other = misplaced(source.file, "network")
    why = f"{program} cannot load {source.name} ({line})."
    if other:
        return CheckpointError(f"{why} It {other}.")
    return CheckpointError(f"{why} Export it again with the program that wrote it.")
