"""The numbers of a run as tiles and tables: teacher against student, widths, metrics, exports."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ganpress.report.amounts import marked, milliseconds, number, si, significant, size_bytes, times
from ganpress.report.reading import section

_WHERE = "results.json"
_DISTANCES = ("distance", "fid", "kid")
_CONDITIONS = ("device", "threads", "batch", "size")


@dataclass(frozen=True)
class Quantity:
    """One number that teacher and student share: where it is, and the words for it."""

    key: str
    label: str
    show: Callable[[float], str]
    less: str
    more: str
    nested: str | None = None

    def of(self, net: Mapping[str, Any]) -> float | None:
        """The number of one network, None when it was not measured."""
        if self.nested is None:
            return number(net.get(self.key))
        return number(section(net, self.key, _WHERE).get(self.nested))


QUANTITIES = (
    Quantity("macs", "MACs", si, "fewer MACs", "more MACs"),
    Quantity("macs_outres", "MACs, output-resolution convention", si, "fewer", "more"),
    Quantity("params", "Parameters", si, "fewer parameters", "more parameters"),
    Quantity("bytes", "Weights, as stored", size_bytes, "smaller weights", "larger weights"),
    Quantity("file_bytes", "Model file", size_bytes, "smaller file", "larger file"),
    Quantity("latency_ms", "Latency, median", milliseconds, "faster", "slower", "median"),
    Quantity("latency_ms", "Latency, 95th percentile", milliseconds, "faster", "slower", "p95"),
)
_HEADLINES = (QUANTITIES[0], QUANTITIES[2], QUANTITIES[3], QUANTITIES[5])


def ratio(model: Mapping[str, Any], quantity: Quantity) -> float | None:
    """Teacher over student; None without both, or when their latencies are not comparable."""
    teacher, student = _pair(model)
    before, after = quantity.of(teacher), quantity.of(student)
    if quantity.key == "latency_ms" and _conditions(teacher) != _conditions(student):
        return None
    if before and after:
        return before / after
    if before is None or after is None:
        given = number(section(model, "ratios", _WHERE).get(quantity.key))
        return given if given and quantity.nested != "p95" else None
    return None


def tiles(results: Mapping[str, Any]) -> str:
    """HTML of the headline numbers, with a line naming those that were not measured."""
    model = section(results, "model", _WHERE)
    teacher, student = _pair(model)
    made, absent = [], []
    for quantity in _HEADLINES:
        value = ratio(model, quantity)
        if value is None:
            absent.append(quantity.label.split(",")[0].lower().replace("macs", "MACs"))
            continue
        before, after = quantity.of(teacher), quantity.of(student)
        shown = value if value >= 1 else 1 / value
        words = quantity.less if value >= 1 else quantity.more
        detail = ""
        if before is not None and after is not None:
            detail = f"{quantity.show(before)} → {quantity.show(after)}"
        if quantity.key == "latency_ms":
            detail += f" ({_described(student)})" if _described(student) else ""
        file = number(student.get("file_bytes")) if quantity.key == "bytes" else None
        detail += f"; the student's file: {size_bytes(file)}" if file and detail else ""
        made.append(tile(marked(shown, times(shown)), words, detail))
    metric = headline_metric(results)
    if metric is None:
        absent.append("distance")
    else:
        count = number(section(results, "evaluation", _WHERE).get("count"))
        known = ["smaller is better"] if smaller_is_better(metric[0]) else []
        over = [f"over {int(count):,} pictures"] if count else []
        detail = "; ".join(over + known)
        made.append(tile(marked(metric[1], significant(metric[1], 4)), metric[0], detail))
    note = f'<p class="missing">Not measured: {escape(", ".join(absent))}.</p>' if absent else ""
    return (f'<ul class="tiles">{"".join(made)}</ul>' if made else "") + note


def smaller_is_better(metric: str) -> bool:
    """Whether a metric is known to be a distance, not a score."""
    return any(word in metric.lower() for word in (*_DISTANCES, "frechet", "kernel", "l1"))


def headline_metric(results: Mapping[str, Any]) -> tuple[str, float] | None:
    """The metric for the top of the page: a distance to the teacher if there is one, else FID..."""
    found = _metrics(section(results, "evaluation", _WHERE))
    values = {name: value for name, value in found.items() if number(value) is not None}
    for wanted in (*_DISTANCES, ""):
        for name, value in values.items():
            if wanted in name.lower():
                return name, float(value)
    return None


def comparison(model: Mapping[str, Any]) -> str:
    """HTML table of teacher against student; '' when neither has a number."""
    teacher, student = _pair(model)
    rows = []
    for quantity in QUANTITIES:
        before, after, times_ = quantity.of(teacher), quantity.of(student), ratio(model, quantity)
        if before is None and after is None:
            continue
        cells = [_amount(v, quantity.show) for v in (before, after)]
        cells.append(_amount(times_, times))
        rows.append([escape(quantity.label), *cells])
    if not rows:
        return ""
    html = grid(("", "Teacher", "Student", "Teacher / student"), rows, numeric=True)
    before_, after_ = _described(teacher), _described(student)
    if before_ == after_ and after_:
        return html + f'<p class="note">Latency: {escape(after_)}. 1 G = 10⁹, 1 MB = 10⁶ bytes.</p>'
    if before_ or after_:
        return html + (
            f'<p class="note">Latency of the teacher: {escape(before_ or "not said")}; of the '
            f"student: {escape(after_ or 'not said')}. Measured differently, so no ratio.</p>"
        )
    return html


def widths(model: Mapping[str, Any]) -> str:
    """HTML table of channels per group, teacher to student, with bars; '' without both."""
    teacher, student = (section(net, "widths", _WHERE) for net in _pair(model))
    pairs = {g: (number(teacher.get(g)), number(student.get(g))) for g in teacher}
    full = {g: (t, s) for g, (t, s) in pairs.items() if t is not None and s is not None}
    if not full:
        return ""
    largest = max(max(pair) for pair in full.values()) or 1.0
    rows = []
    for group, (before, after) in full.items():
        bar = (
            f'<span class="bar"><i style="width:{100 * before / largest:.2f}%"></i>'
            f'<b style="width:{100 * after / largest:.2f}%"></b></span>'
        )
        share = f"{100 * after / before:.0f} %" if before else ""
        rows.append([escape(group), f"{before:,.0f}", f"{after:,.0f}", share, bar])
    heads = ("Group", "Teacher", "Student", "Kept", "Channels")
    note = '<p class="note">Pale: channels of the teacher; solid: what the student keeps.</p>'
    return grid(heads, rows, numeric=True, kind="widths") + note


def evaluation(results: Mapping[str, Any]) -> str:
    """HTML of the metrics and of the protocol behind them; '' when there is none."""
    found = section(results, "evaluation", _WHERE)
    metrics = _metrics(found)
    rows = [[escape(name), _cell(value)] for name, value in metrics.items()]
    html = grid(("Metric", "Value"), rows, numeric=True) if rows else ""
    protocol = dict(section(found, "protocol", _WHERE))
    if found.get("count") is not None:
        protocol["pictures"] = found["count"]
    return html + facts(protocol, "How it was measured")


def exports(results: Mapping[str, Any]) -> str:
    """HTML table of exported files; '' when there is none."""
    found = section(results, "export", _WHERE)
    rows = []
    for name in found:
        entry = section(found, name, f"{_WHERE}, 'export'")
        stored = number(entry.get("bytes"))
        apart = number(entry.get("max_abs_diff"))
        known = ("file", "bytes", "max_abs_diff")
        more = "; ".join(f"{k}: {_text(v)}" for k, v in entry.items() if k not in known)
        rows.append(
            [
                escape(name),
                f"<code>{escape(str(entry.get('file', '–')))}</code>",
                _amount(stored, size_bytes),
                _amount(apart, significant),
                escape(more),
            ]
        )
    heads = ["Format", "File", "Size", "Largest difference to torch", "Also"]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return grid(heads, rows, numeric=False) if rows else ""


def facts(values: Mapping[str, Any], caption: str) -> str:
    """HTML table of names and values; '' when empty."""
    if not values:
        return ""
    rows = [[escape(str(name).replace("_", " ")), _cell(value)] for name, value in values.items()]
    return grid(("Name", "Value"), rows, numeric=False, caption=caption)


def grid(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: bool,
    kind: str = "",
    caption: str = "",
) -> str:
    """HTML table; `heads` are text, cells are HTML, the first cell of a row is its heading."""
    top = "".join(f'<th scope="col">{escape(h)}</th>' if h else "<td></td>" for h in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{c}</td>" for c in row[1:])}</tr>'
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    classes = " ".join(filter(None, ("numeric" if numeric else "", kind)))
    return (
        f'<div class="scroll"><table class="{classes}">{title}'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _pair(model: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return section(model, "teacher", _WHERE), section(model, "student", _WHERE)


def _conditions(net: Mapping[str, Any]) -> tuple[Any, ...]:
    latency = section(net, "latency_ms", _WHERE)
    return tuple(latency.get(key) for key in _CONDITIONS)


def _described(net: Mapping[str, Any]) -> str:
    """What a latency was measured on, in words: 'cpu, 2 threads, batch 1, size 256'."""
    device, threads, batch, size = _conditions(net)
    shape = "x".join(map(str, size)) if isinstance(size, list) else size
    parts = [
        str(device) if device is not None else "",
        f"{threads} thread{'s' if threads != 1 else ''}" if threads is not None else "",
        f"batch {batch}" if batch is not None else "",
        f"size {shape}" if size is not None else "",
    ]
    return ", ".join(filter(None, parts))


def _metrics(found: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics by name; a metric that holds several numbers is spread over several names."""
    flat: dict[str, Any] = {}
    for name, value in section(found, "metrics", _WHERE).items():
        if isinstance(value, Mapping):
            flat |= {f"{name}, {key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def tile(value: str, label: str, detail: str = "") -> str:
    """HTML of one headline number; `value` is HTML."""
    small = f"<small>{escape(detail)}</small>" if detail else ""
    return f"<li><strong>{value}</strong><span>{escape(label)}</span>{small}</li>"


def _amount(value: float | None, show: Callable[[float], str]) -> str:
    return "–" if value is None else marked(value, show(value))


def _cell(value: Any) -> str:
    found = number(value)
    if found is not None:
        shown = f"{value:,}" if isinstance(value, int) else significant(found, 4)
        return marked(found, shown)
    return escape(_text(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
