"""The numbers of a run as tiles and tables: teacher against student, widths, metrics, exports."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ganpress.report.amounts import (
    Amount,
    larger_is_better,
    marked,
    milliseconds,
    number,
    optional,
    plus_minus,
    si,
    significant,
    size_bytes,
    times,
)
from ganpress.report.reading import section
from ganpress.report.yardsticks import explained, flat, sorted_by_metric, standard_errors

_WHERE = "results.json"
_DISTANCES = ("distance", "fid", "kid")
_CONDITIONS = ("device", "threads", "batch", "size", "runtime")


class Tile(NamedTuple):
    """One headline number."""

    value: Amount
    label: str
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a page; the first cell of a row is its heading."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str | Amount]]
    numeric: bool = False
    caption: str = ""
    under: Collection[int] = ()
    """Places of the rows that belong to a row above them."""
    note: str = ""


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
    Quantity("latency_torch_ms", "Latency in torch", milliseconds, "faster", "slower", "median"),
)
_HEADLINES = (QUANTITIES[0], QUANTITIES[2], QUANTITIES[3], QUANTITIES[5])


def ratio(model: Mapping[str, Any], quantity: Quantity) -> float | None:
    """Teacher over student; None without both, or when their latencies are not comparable."""
    teacher, student = _pair(model)
    before, after = quantity.of(teacher), quantity.of(student)
    of_latency = quantity.key.startswith("latency")
    if of_latency and _conditions(teacher, quantity.key) != _conditions(student, quantity.key):
        return None
    if before and after:
        return before / after
    if before is None or after is None:
        given = number(section(model, "ratios", _WHERE).get(quantity.key))
        return given if given and quantity.nested != "p95" else None
    return None


def tiles(results: Mapping[str, Any]) -> tuple[list[Tile], list[str]]:
    """The headline numbers, and the names of those that were not measured."""
    model = section(results, "model", _WHERE)
    made, absent = [], []
    for quantity in _HEADLINES:
        value = ratio(model, quantity)
        if value is None:
            absent.append(quantity.label.split(",")[0].lower().replace("macs", "MACs"))
            continue
        shown = value if value >= 1 else 1 / value
        words = quantity.less if value >= 1 else quantity.more
        made.append(Tile(marked(shown, times(shown)), words, _detail(model, quantity)))
    metric = headline_metric(results)
    if metric is None:
        return made, [*absent, "distance"]
    found = section(results, "evaluation", _WHERE)
    count, error = number(found.get("count")), standard_errors(found).get(metric[0])
    over = [f"over {int(count):,} pictures"] if count else []
    if error is not None and count and not larger_is_better(metric[0]):
        over = [f"± {significant(error, 2)}, standard error {over[0]}"]
    known = ["smaller is better"] if smaller_is_better(metric[0]) else []
    best = marked(metric[1], significant(metric[1], 4))
    return [*made, Tile(best, metric[0], "; ".join(over + known))], absent


def _detail(model: Mapping[str, Any], quantity: Quantity) -> str:
    """'605 ms → 57.6 ms (cpu, 2 threads)'; '' where the ratio alone is known."""
    teacher, student = _pair(model)
    before, after = quantity.of(teacher), quantity.of(student)
    detail = ""
    if before is not None and after is not None:
        detail = f"{quantity.show(before)} → {quantity.show(after)}"
    if quantity.key == "latency_ms" and described(student):
        numbers = dict.fromkeys(filter(None, (_precision(teacher), _precision(student))))
        detail += f" ({', '.join([described(student), ' → '.join(numbers)]).strip(', ')})"
    file = number(student.get("file_bytes")) if quantity.key == "bytes" else None
    return detail + (f"; the student's file: {size_bytes(file)}" if file and detail else "")


def smaller_is_better(metric: str) -> bool:
    """Whether a metric is known to be a distance, not a score."""
    if larger_is_better(metric):
        return False
    return any(word in metric.lower() for word in (*_DISTANCES, "frechet", "kernel", "l1"))


def headline_metric(results: Mapping[str, Any]) -> tuple[str, float] | None:
    """The metric for the top of the page: a distance to the teacher if there is one, else FID..."""
    found = flat(section(results, "evaluation", _WHERE), "metrics")
    values = {name: value for name, value in found.items() if number(value) is not None}
    for wanted in (*_DISTANCES, ""):
        for name, value in values.items():
            if wanted in name.lower():
                return name, float(value)
    return None


def comparison(model: Mapping[str, Any]) -> tuple[Table | None, str, str]:
    """Teacher against student, None when neither has a number; what each latency was measured on.

    Both in words; '' where it is not known.
    """
    teacher, student = _pair(model)
    rows = [
        [q.label, optional(before, q.show), optional(after, q.show), optional(gain, times)]
        for q in QUANTITIES
        for before, after, gain in [(q.of(teacher), q.of(student), ratio(model, q))]
        if before is not None or after is not None
    ]
    heads = ("", "Teacher", "Student", "Teacher / student")
    table = Table(heads, rows, numeric=True) if rows else None
    return table, described(teacher), described(student)


def widths(model: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Group -> channels of teacher and of student, and the largest of all; {} without both."""
    teacher, student = (section(net, "widths", _WHERE) for net in _pair(model))
    pairs = {g: (number(teacher.get(g)), number(student.get(g))) for g in teacher}
    full = {g: (t, s) for g, (t, s) in pairs.items() if t is not None and s is not None}
    largest = max((max(pair) for pair in full.values()), default=0.0) or 1.0
    return {group: (*pair, largest) for group, pair in full.items()}


def evaluation(results: Mapping[str, Any]) -> list[Table]:
    """Of `results.json`: the metrics with what they are read beside, and their protocol."""
    return measured(section(results, "evaluation", _WHERE), _WHERE)


def measured(found: Mapping[str, Any], where: str) -> list[Table]:
    """An evaluation from the file ``where``: its metrics, and the protocol behind them."""
    protocol = dict(section(found, "protocol", where))
    if found.get("count") is not None:
        protocol["pictures"] = found["count"]
    return _metric_table(found, where) + facts(protocol, "How it was measured")


def _metric_table(found: Mapping[str, Any], where: str) -> list[Table]:
    """Each metric with its standard error, and under it its yardsticks; nothing when there are
    none."""
    metrics, errors = flat(found, "metrics", where), standard_errors(found, where)
    beside, alone = sorted_by_metric(metrics, flat(found, "yardsticks", where))
    rows: list[list[str | Amount]] = []
    under: list[int] = []
    shown: list[str] = []
    for name, value in metrics.items():
        rows.append([name, _cell(value)])
        exact, error = number(value), errors.get(name)
        if exact is not None and error is not None:
            rows[-1][1] = marked(exact, plus_minus(exact, error))
            shown.append(name)
        yardsticks = beside.get(name, {})
        under += range(len(rows), len(rows) + len(yardsticks))
        rows += [[words, _cell(each)] for words, each in yardsticks.items()]
    rows += [[name, _cell(value)] for name, value in alone.items()]
    note = explained(shown, yardsticks=bool(under))
    heads = ("Metric", "Value")
    return [Table(heads, rows, numeric=True, under=under, note=note)] if rows else []


def exports(results: Mapping[str, Any]) -> list[Table]:
    """The table of exported files; nothing when there is none."""
    found = section(results, "export", _WHERE)
    rows: list[list[str | Amount]] = []
    for name in found:
        entry = section(found, name, f"{_WHERE}, 'export'")
        known = ("file", "bytes", "max_abs_diff")
        size, difference = (number(entry.get(key)) for key in known[1:])
        rows.append([name, str(entry.get("file", "–")), optional(size, size_bytes)])
        rows[-1].append(optional(difference, significant))
        rows[-1].append("; ".join(f"{k}: {_text(v)}" for k, v in entry.items() if k not in known))
    heads = ["Format", "File", "Size", "Largest difference to torch", "Also"]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return ([Table(heads, rows)] if rows else []) + latency_target(results)


def latency_target(results: Mapping[str, Any]) -> list[Table]:
    """What was asked for in milliseconds, predicted and measured; nothing where nobody asked."""
    found = section(results, "latency_target", _WHERE)
    return facts(found, "Latency that was asked for")


def facts(values: Mapping[str, Any], caption: str) -> list[Table]:
    """A table of names and values; nothing when there is none."""
    rows = [[str(name).replace("_", " "), _cell(value)] for name, value in values.items()]
    return [Table(("Name", "Value"), rows, caption=caption)] if rows else []


def _pair(model: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return section(model, "teacher", _WHERE), section(model, "student", _WHERE)


def _conditions(net: Mapping[str, Any], of: str = "latency_ms") -> tuple[Any, ...]:
    latency = section(net, of, _WHERE)
    return tuple(latency.get(key) for key in _CONDITIONS)


def described(net: Mapping[str, Any]) -> str:
    """What a latency was measured on, in words: 'cpu, 2 threads, batch 1, size 256'."""
    device, threads, batch, size, runtime = _conditions(net)
    shape = "x".join(map(str, size)) if isinstance(size, list) else size
    parts = [
        str(device) if device is not None else "",
        f"{threads} thread{'s' if threads != 1 else ''}" if threads is not None else "",
        f"batch {batch}" if batch is not None else "",
        f"size {shape}" if size is not None else "",
        str(runtime) if runtime is not None else "",
    ]
    return ", ".join(filter(None, parts))


def _precision(net: Mapping[str, Any]) -> str:
    return str(section(net, "latency_ms", _WHERE).get("precision") or "")


def _cell(value: Any) -> str | Amount:
    found = number(value)
    if found is None:
        return _text(value)
    return marked(found, f"{value:,}" if isinstance(value, int) else significant(found, 4))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
