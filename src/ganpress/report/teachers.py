"""The page of a training: its teachers' numbers, and grids of their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganpress.report.amounts import marked, optional
from ganpress.report.pictures import Picture, whole_picture
from ganpress.report.reading import RunFiles, section
from ganpress.report.table import QUANTITIES, Table, Tile, facts

_WHERE = "results.json"
_HEADLINES = QUANTITIES[:1] + QUANTITIES[2:4]


def tiles(results: Mapping[str, Any]) -> list[Tile]:
    """The headline numbers of each teacher."""
    nets = _nets(results)
    return [
        Tile(marked(value, q.show(value)), q.label if len(nets) == 1 else f"{q.label}, {name}")
        for name, net in nets.items()
        for q in _HEADLINES
        if (value := q.of(net)) is not None
    ]


def networks(results: Mapping[str, Any]) -> list[Table]:
    """The teachers' sizes and the first one's channels; nothing when there are no teachers."""
    nets = _nets(results)
    if not nets:
        return []
    rows = [
        [q.label, *(optional(q.of(net), q.show) for net in nets.values())]
        for q in QUANTITIES
        if any(q.of(net) is not None for net in nets.values())
    ]
    channels = section(next(iter(nets.values())), "widths", _WHERE)
    return [Table(("", *nets), rows, numeric=True), *facts(channels, "Channels of each group")]


def last(results: Mapping[str, Any]) -> list[Table]:
    """The last logged numbers; nothing when there are none."""
    return facts(section(results, "last", _WHERE), "Last logged step")


def pictures(run: RunFiles) -> list[Picture]:
    """The final sample grids. Raises ImagesError."""
    listed = run.results.get("samples")
    entries = [e for e in listed if isinstance(e, Mapping)] if isinstance(listed, list) else []
    found = [(run.root / "samples" / str(e.get("file")), e.get("caption", "")) for e in entries]
    return [
        whole_picture(path, f"Samples of {path.stem}", f"{path.stem}: {caption}")
        for path, caption in found
        if path.is_file()
    ]


def _nets(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    teachers = section(results, "teachers", _WHERE)
    return {name or "teacher": section(teachers, name, _WHERE) for name in teachers}
