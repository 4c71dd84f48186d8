"""What an exported file costs: its parameters, MACs and bytes, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ganpress.formats.runtimes import Port, open_file
from ganpress.measures.files import onnx_graph, openvino_graph
from ganpress.measures.files.feeds import (
    Dims,
    assumed,
    batch_of,
    check_made,
    dims_of,
    draw_feeds,
)
from ganpress.measures.files.operations import FileCost, summed
from ganpress.run.hub.fetch import local_file
from ganpress.types.sizes import Size


@dataclass(frozen=True)
class Read:
    """An exported file as it is measured: its inputs' dims, and what they are of.

    Attributes:
        inputs: as the file says them. dims: of each, every one a number.
        described: the file's metadata.
        batch: pictures at a time.
        assumed: what was taken for known (`feeds.assumed`).
    """

    path: Path
    inputs: Mapping[str, Port]
    dims: Mapping[str, Dims]
    described: Mapping[str, str]
    batch: int
    assumed: str = ""


def read_file(
    path: Path | str,
    *,
    size: Size | None = None,
    batch: int | None = None,
    given: Mapping[str, Dims] | None = None,
) -> Read:
    """Open an exported file for a moment: what it reads, its free dims filled in (`dims_of`).

    Raises: ConfigError, CheckpointError, MissingExtra.
    """
    path = local_file(path)
    with open_file(path, threads=1) as opened:
        inputs, outputs, described = opened.inputs, opened.outputs, opened.described
    check_made(size, inputs, outputs, described, str(path))
    dims = dims_of(
        inputs, size=size, batch=batch, given=given, where=str(path), described=described
    )
    said = assumed(inputs, described, size=size, given=given)
    return Read(path, inputs, dims, described, batch_of(inputs, dims, described), said)


def measure_file(
    path: Path | str,
    *,
    size: Size | None = None,
    given: Mapping[str, Dims] | None = None,
) -> FileCost:
    """Parameters, MACs in both conventions, and bytes of an ONNX file or an OpenVINO network.

    Args: size: of a picture, pixels; None: what the file fixes, or 256. given: dims by input name.
    Raises: ConfigError, CheckpointError, MissingExtra.
    """
    return cost_of(read_file(path, size=size, given=given))


def cost_of(read: Read) -> FileCost:
    """The cost of a file that has been read."""
    if read.path.suffix.lower() == ".xml":
        graph = openvino_graph.read_graph(read.path, read.dims)
        return summed(
            openvino_graph.operations(graph),
            params=openvino_graph.params(graph),
            size=file_bytes(read.path),
            batch=read.batch,
            precision=openvino_graph.precision(graph),
        )
    file = onnx_graph.read_graph(read.path)
    feeds = draw_feeds(read.inputs, read.dims, 0, where=str(read.path))
    return summed(
        onnx_graph.operations(file, read.dims, feeds),
        params=onnx_graph.params(file),
        size=file_bytes(read.path),
        batch=read.batch,
        precision=onnx_graph.precision(file),
    )


def file_bytes(path: Path) -> int:
    """Bytes on disk of a file, with the weights that an OpenVINO network or an ONNX file keeps
    beside it."""
    beside = [path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else []
    if path.suffix.lower() == ".onnx":
        beside = [path.parent / name for name in _external(path)]
    return sum(file.stat().st_size for file in (path, *beside) if file.is_file())


def _external(path: Path) -> set[str]:
    """Names of the files of weights that an ONNX file refers to."""
    try:
        import onnx
    except ImportError:
        return set()
    file = onnx.load(path, load_external_data=False)
    kept = [t for t in file.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    return {e.value for tensor in kept for e in tensor.external_data if e.key == "location"}


def precision_of(path: Path) -> str:
    """What an exported file computes in: fp32, fp16, bf16 or int8. Raises: CheckpointError."""
    if path.suffix.lower() == ".xml":
        return openvino_graph.precision(openvino_graph.read_graph(path, {}))
    return onnx_graph.precision(onnx_graph.read_graph(path))
