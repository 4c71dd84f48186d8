"""What a training puts on the page: its teachers' numbers, and grids of what they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from ganpress.report import table
from ganpress.report.amounts import marked
from ganpress.report.pictures import whole_picture
from ganpress.report.reading import RunFiles, section

_WHERE = "results.json"
_HEADLINES = table.QUANTITIES[:1] + table.QUANTITIES[2:4]


def is_training(run: RunFiles) -> bool:
    """Whether the run trained a teacher, and compressed none."""
    return "train" in run.config


def tiles(results: Mapping[str, Any]) -> str:
    """HTML of the headline numbers of each teacher."""
    made = []
    for name, net in _nets(results).items():
        for quantity in _HEADLINES:
            value = quantity.of(net)
            if value is not None:
                label = quantity.label if len(_nets(results)) == 1 else f"{quantity.label}, {name}"
                made.append(table.tile(marked(value, quantity.show(value)), label))
    return f'<ul class="tiles">{"".join(made)}</ul>' if made else ""


def networks(results: Mapping[str, Any]) -> str:
    """HTML table of the teachers' sizes and of their channels; '' when there are none."""
    nets = _nets(results)
    if not nets:
        return ""
    rows = [
        [escape(q.label), *(_amount(q.of(net), q.show) for net in nets.values())]
        for q in table.QUANTITIES
        if any(q.of(net) is not None for net in nets.values())
    ]
    first = next(iter(nets.values()))
    return table.grid(("", *nets), rows, numeric=True) + table.facts(
        section(first, "widths", _WHERE), "Channels of each group"
    )


def last(results: Mapping[str, Any]) -> str:
    """HTML table of the last logged numbers; '' when there are none."""
    return table.facts(section(results, "last", _WHERE), "Last logged step")


def pictures(run: RunFiles) -> str:
    """HTML of the final sample grids; '' when there are none. Raises ImagesError."""
    listed = run.results.get("samples")
    html = ""
    for entry in listed if isinstance(listed, list) else []:
        told = entry if isinstance(entry, Mapping) else {}
        path = run.root / "samples" / str(told.get("file"))
        if path.is_file():
            caption = f"{path.stem}: {told.get('caption', '')}"
            html += whole_picture(path, f"Samples of {path.stem}", caption)
    return f'<div class="strip">{html}</div>' if html else ""


def _nets(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    teachers = section(results, "teachers", _WHERE)
    return {name or "teacher": section(teachers, name, _WHERE) for name in teachers}


def _amount(value: float | None, show: Callable[[float], str]) -> str:
    return "–" if value is None else marked(value, show(value))
