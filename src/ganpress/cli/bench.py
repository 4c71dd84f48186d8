"""`ganpress bench`: the time of models and exported files on this device, side by side."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ganpress.cli.lines import say
from ganpress.cli.options import listed, size_option
from ganpress.cli.tables import columns, print_numbered, print_table
from ganpress.types.sizes import Size

if TYPE_CHECKING:
    from ganpress.measures.timing.rows import Bench, Row
    from ganpress.measures.timing.statistics import Ratio

LINE_EVERY_S = 15.0
"""Seconds between two lines of progress where they do not go to a terminal."""
MOST_NODES = 12
STOPPED = 130


def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            help="models (.safetensors) and exported files (.onnx, .xml), the first "
            "the reference, as the teacher"
        ),
    ],
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime",
            help="of torch, compile (torch.compile), onnxruntime, "
            "openvino; default: those that are here, but for compile",
        ),
    ] = "",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="of fp32, fp16, bf16, int8, int8+bf16; default: "
            "fp32, a student's own 8 bits, bf16 in OpenVINO where it is fast",
        ),
    ] = "",
    threads: Annotated[
        int | None, typer.Option("--threads", help="to compute with; default: as torch")
    ] = None,
    size: Annotated[
        Any, size_option("height and width in pixels, as 256 or 256x512; default: its own")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="pictures at a time")] = None,
    dims: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=1x3x256x256, dims that an exported file does not say"),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="of each row of the table")] = 3.0,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="of the inputs, and of whose turn it is")
    ] = 0,
    layers: Annotated[
        bool, typer.Option("--layers", help="where the time goes, by operator and by node")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Latency, pictures per second, memory and file size, all in turn in one measurement."""
    from ganpress.measures.files.feeds import read_dims
    from ganpress.measures.timing.bench import bench as measure

    asked: Size | None = size
    found = measure(
        models,
        runtimes=listed(runtime) or None,
        precisions=listed(precision) or None,
        threads=threads,
        size=asked,
        batch=batch,
        dims=dict(read_dims(text) for text in dims or []),
        seconds=seconds,
        seed=seed,
        layers=layers,
        watch=Watcher(),
    )
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        print_bench(found)
    if found.interrupted:
        raise typer.Exit(STOPPED)
    if not found.rows:
        raise typer.Exit(2)


class Watcher:
    """Prints on stderr what is being timed and the time left: one line that changes on a terminal,
    else a line now and then."""

    def __init__(self) -> None:
        self.shown, self.is_terminal = 0.0, sys.stderr.isatty()

    def __call__(self, what: str, done: float, left_s: float | None) -> None:
        left = "" if left_s is None else f", {left_s:.0f} s left"
        line = f"{100 * done:.0f} %{left}: {what}"
        if self.is_terminal:
            print(f"\r\x1b[K{line if done < 1 else ''}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.shown > LINE_EVERY_S:
            self.shown = time.monotonic()
            print(line, file=sys.stderr, flush=True)


def print_bench(found: Bench) -> None:
    """The table, what it was measured on, what is not in it, and the layers."""
    from ganpress.measures.timing.device import words

    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    said = [
        words(found.device),
        f"threads: {found.threads}; seed: {found.seed}; {versions}",
        *dict.fromkeys(f"{row.model}: {_inputs(row)}" for row in found.rows),
    ]
    for line in said:
        say(line)
    if found.rows:
        names = dict.fromkeys(row.model for row in found.rows)
        by_model = {name: [row for row in found.rows if row.model == name] for name in names}
        print_numbered(by_model, _table)
    for line in remarks(found):
        say(line)
    for row in found.rows:
        if row.layers:
            _print_layers(row)


def _inputs(row: Row) -> str:
    from ganpress.measures.files.feeds import spelled_dims

    return ", ".join(f"{name} {spelled_dims(dims)}" for name, dims in row.dims.items())


def _table(by_model: Mapping[str, list[Row]]) -> Table:
    table = columns(
        *("median\nms", "95th pct\nms", "pictures\n/s", "peak\nMB", "file\nMB"),
        *("times as fast as\nthe first row", "the first model\nin this runtime"),
        texts=("runtime", "precision"),
    )
    for name, rows in by_model.items():
        for place, row in enumerate(rows):
            table.add_row(
                escape(name) if place == 0 else "",
                row.runtime,
                row.precision,
                f"{row.median_ms:.2f}",
                f"{row.p95_ms:.2f}",
                f"{row.images_per_s:.1f}",
                f"{row.peak_bytes / 1e6:.0f}" if row.peak_bytes else "–",
                f"{row.file_bytes / 1e6:.2f}",
                _spelled(row.ratio),
                _spelled(row.ratio_runtime),
            )
    return table


def _spelled(ratio: Ratio | None) -> str:
    if ratio is None:
        return "–"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def remarks(found: Bench) -> list[str]:
    """What has to be known beside the table: more threads than cores, 8 bits that are slower, what
    is not in it and why, where files were exported to."""
    from ganpress.report.latencies import advice

    out: list[str] = []
    cores = found.device["usable_cores"]
    if found.threads > cores:
        out.append(
            f"{found.threads} threads on {cores} usable core{'s' if cores != 1 else ''} wait for "
            f"one another: some passes take many times as long as others. Give --threads {cores}."
        )
    for name in dict.fromkeys(row.model for row in found.rows):
        rows = [
            {"model": "student", "runtime": r.runtime, "precision": r.precision,
             "median_ms": r.median_ms, "ratio": r.ratio and list(vars(r.ratio).values())}
            for r in found.rows
            if r.model == name
        ]  # fmt: skip
        out += [f"{name}: {line}" for line in advice(rows)]
    out += _notes(found.rows)
    out += [f"not timed: {e.model}, {e.runtime} {e.precision}: {e.reason}" for e in found.left]
    if found.interrupted:
        out.append("Stopped early: the numbers are of the passes so far.")
    if found.exports:
        out.append(f"exported files are kept in {found.exports}")
    return out


def _notes(rows: Sequence[Row]) -> list[str]:
    """The rows' notes; one that all of several rows of a model have is said once."""
    noted: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.note:
            noted.setdefault((row.model, row.note), []).append(row)
    out = []
    for (model, note), some in noted.items():
        if len(some) > 1 and len(some) == sum(row.model == model for row in rows):
            out.append(f"{model}: {note}.")
        else:
            out += [f"{model}, {row.runtime} {row.precision}: {note}." for row in some]
    return out


def _print_layers(row: Row) -> None:
    assert row.layers is not None
    for title, shares in (("operator", row.layers["kinds"]), ("node", row.layers["nodes"])):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        head = f"{row.model}, {row.runtime} {row.precision}: {title}"
        table.add_column(escape(head), overflow="fold")
        for head in ("nodes", "ms", "share"):
            table.add_column(head, justify="right", no_wrap=True)
        for share in shares[:MOST_NODES]:
            table.add_row(
                escape(share["name"]),
                str(share["count"]),
                f"{share['ms']:.3f}",
                f"{100 * share['share']:.1f} %",
            )
        print_table(table)
        if len(shares) > MOST_NODES:
            say(f"and {len(shares) - MOST_NODES} more (--json has all)", style="dim")
