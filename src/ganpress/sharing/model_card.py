"""A model's card: README.md with a head that the hub reads. Every number comes from a file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ganpress.formats.importers.assumed import summary
from ganpress.measures.cost import measure
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise, reads
from ganpress.quantisation.quantise import quantiser_of
from ganpress.report import table, teachers
from ganpress.report.amounts import Amount, times
from ganpress.report.latencies import latency_table
from ganpress.report.page import fill, write_page
from ganpress.report.reading import section
from ganpress.report.table import Table
from ganpress.sharing.source import Source, open_source
from ganpress.sharing.terms import UNKNOWN, Given, Terms, terms_of

TASKS = {True: "unconditional-image-generation", False: "image-to-image"}
"""What the hub calls it, by whether the generator reads noise alone."""


@dataclass(frozen=True)
class Card:
    """A card as text, and the terms that it states."""

    text: str
    terms: Terms


def write_card(
    source: Path | str,
    out: Path | str,
    *,
    repo: str | None = None,
    licence: str | None = None,
    terms: str | None = None,
    datasets: Sequence[str] = (),
) -> Terms:
    """Write the card of a model's file or of a finished run's folder; gives the terms it states.

    Args:
        repo: "owner/name" where the model is, or will be, on the hub.
        licence: an identifier of the hub's list, such as "cc-by-4.0"; None: what the files say.
        terms: a sentence on the data's terms; None: what the files say. datasets: their names.
    Raises: ConfigError, CheckpointError; DiskFull.
    """
    made = model_card(open_source(source), repo=repo, given=Given(licence, terms, tuple(datasets)))
    write_page(Path(out), made.text)
    return made.terms


def model_card(
    source: Source,
    *,
    repo: str | None = None,
    given: Given | None = None,
    files: Mapping[str, int] | None = None,
    picture: str | None = None,
) -> Card:
    """The card of what is shared.

    Args:
        files: name -> bytes of the files that lie beside the card; None: those of the source.
        picture: the name of the sample picture beside the card, if there is one.
    """
    model, run = source.first, source.run
    known = files or {f"{name}.safetensors": p.stat().st_size for name, p in source.files.items()}
    stated = terms_of(
        model.provenance, beside=source.beside, run_card=run.card if run else None, given=given
    )
    own = source.path.resolve()
    timed, timed_on, advice = latency_table(run.results if run else {})
    text = fill(
        "model-card.md.j2",
        head=_head(model, stated, known),
        title=repo.split("/")[-1] if repo else own.name if run else own.stem,
        lead=_lead(source),
        address=f"hub:{repo}{source.inside}" if repo else f"{next(iter(source.files))}.safetensors",
        picture=picture,
        reads=", ".join(reads(model)),
        noise=from_noise(model),
        files=[_row(name, size) for name, size in known.items()],
        onnx=[name for name in known if name.endswith(".onnx")],
        costs=[_cells(t) for t in _costs(source)],
        conditions=_conditions(source),
        latencies=[_cells(timed)] if timed else [],
        timed_on=timed_on,
        advice=advice,
        evaluation=[_cells(t) for t in table.evaluation(_evaluated(source))],
        exports=[_cells(t) for t in table.exports(run.results if run else {})],
        origin=_origin(source),
        terms=stated,
        unknown=UNKNOWN,
    )
    return Card(re.sub(r"\n{3,}", "\n\n", text), stated)


def _head(model: Model, terms: Terms, files: Mapping[str, int]) -> list[str]:
    """The YAML head, line for line; each value is JSON, which YAML reads."""
    tags = ["ganpress", "gan", model.family.name]
    tags += [str(model.provenance["method"])] if "method" in model.provenance else []
    tags += ["onnx"] * any(name.endswith(".onnx") for name in files)
    tags += ["int8"] * (quantiser_of(model.net) is not None)
    head: dict[str, Any] = {
        "library_name": "ganpress",
        "pipeline_tag": TASKS[from_noise(model)],
        "tags": tags,
    }
    if terms.licence != UNKNOWN:
        head["license"] = terms.licence
    head |= {"datasets": list(terms.datasets)} if terms.datasets else {}
    return [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items()]


def _lead(source: Source) -> str:
    """'A cyclegan generator, compressed with slim: 14.9× fewer MACs than its teacher.'"""
    model = source.first
    lead = f"A {model.family.name} generator"
    bits = quantiser_of(model.net)
    lead += f" of {bits.bits} bits" if bits is not None else ""
    if source.is_compressed and source.run is not None:
        lead += f", compressed with {model.provenance.get('method', 'ganpress')}"
        found = section(source.run.results, "model", "results.json")
        gain = table.ratio(found, table.QUANTITIES[0])
        lead += f": {times(gain)} fewer MACs than its teacher" if gain and gain > 1 else ""
    return f"{lead}."


def _costs(source: Source) -> list[Table]:
    """Student beside teacher as results.json has them, or the cost of the file alone."""
    results = source.run.results if source.run else {}
    if source.is_compressed:
        compared = table.comparison(section(results, "model", "results.json"))[0]
        return [compared] if compared else []
    if results:
        return teachers.networks(results)[:1]
    net = {**asdict(measure(source.first.net, source.first.size)), "size": source.first.size}
    net["file_bytes"] = source.path.stat().st_size
    return teachers.networks({"teachers": {"model": net}})[:1]


def _conditions(source: Source) -> str:
    """At what size the costs are counted, and on what each latency was measured."""
    size: object = source.first.size
    line = ""
    if source.is_compressed and source.run is not None:
        model = section(source.run.results, "model", "results.json")
        nets = {who: section(model, who, "results.json") for who in ("teacher", "student")}
        size = nets["student"].get("size", size)
        timed = [f"{who}: {_timed_on(net)}" for who, net in nets.items() if "latency_ms" in net]
        line = f" Latency of the {'; of the '.join(timed)}." if timed else ""
    shape = " x ".join(map(str, size)) if isinstance(size, list) else f"{size} x {size}"
    return f"Of one picture of {shape} pixels.{line}"


def _timed_on(net: Mapping[str, Any]) -> str:
    """'cpu, 2 threads, batch 1, size 256, onnxruntime'; results of before name torch nowhere."""
    latency = section(net, "latency_ms", "results.json")
    return table.described(net) + ("" if latency.get("runtime") else ", in torch")


def _evaluated(source: Source) -> Mapping[str, Any]:
    """Where the metrics and their protocol are: results.json, or the card beside the file."""
    return source.run.results if source.run else source.beside


def _origin(source: Source) -> list[str]:
    """Where the weights come from, a line for each fact that the files have."""
    known = source.first.provenance
    lines = [
        f"{label}: {known[key]}"
        for key, label in (
            ("source", "Weights"),
            ("sha256", "SHA-256 of that file"),
            ("method", "Compressed with"),
            ("steps", "Steps of the teacher's training"),
            ("photos", "Pictures that the teacher was trained on"),
            ("data_hash", "Hash of those pictures"),
        )
        if known.get(key) is not None
    ]
    assumed = summary(known)
    lines += [f"Assumed at import, as the file does not say it: {assumed}"] if assumed else []
    if source.run:
        card = source.run.card
        lines += [f"Paper: {card['paper']}"] if card.get("paper") else []
        made = {key: card.get(key) for key in ("ganpress", "torch", "device", "threads", "seed")}
        said = ", ".join(f"{key} {value}" for key, value in made.items() if value is not None)
        lines += [f"Made by: {said}"] if said else []
    return lines


def _row(name: str, size: int) -> tuple[str, str]:
    return name, f"{size:,}"


def _cells(found: Table) -> Table:
    """A table whose cells are text that Markdown leaves whole."""
    rows = [[_text(cell) for cell in row] for row in found.rows]
    for place in found.under:
        rows[place][0] = f"*{rows[place][0]}*"
    return replace(found, rows=rows)


def _text(cell: str | Amount) -> str:
    shown = cell.shown if isinstance(cell, Amount) else cell
    return " ".join(shown.replace("|", "\\|").split())
