"""The page of `benchmarks.headline`: from what was measured to Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

TEACHER = "teacher"
PUBLISHED = "GAN Compression"


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Everything as Markdown."""
    return "\n".join(line for name, case in found.items() for line in section(name, case))


def section(name: str, case: Mapping[str, Any]) -> list[str]:
    """One family: what it was measured on, its headline, its table, where the time goes."""
    device = case["device"]
    rows = case["rows"]
    lines = [
        f"## {name}, {case['size']} pixels" + (" (tiny networks: no result)" * case["quick"]),
        "",
        f"{device['processor']} ({', '.join(device['instructions'])}), {case['threads']} "
        f"thread(s), load {device['load']} at the start; "
        + ", ".join(f"{k} {v}" for k, v in case["versions"].items())
        + ". Untrained networks of the widths given: time does not depend on weights.",
        "",
        *headlines(rows),
        "",
        "| network | G MACs | runtime | precision | median ms | 95th pct | peak MB | file MB "
        f"| x {reference(rows)} | x teacher alike | of the MAC ratio |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *[table_row(row, case["macs"]) for row in rows],
        "",
        *[f"Not timed: {e['model']}, {e['runtime']} {e['precision']}: {e['reason']}"
          for e in case["left"]],
        "",
        *where(rows),
        "",
    ]  # fmt: skip
    return lines


def reference(rows: list[dict[str, Any]]) -> str:
    """The first row, which ratios are to."""
    first = rows[0]
    return f"{first['model']}, {first['runtime']} {first['precision']}"


def table_row(row: Mapping[str, Any], macs: Mapping[str, Mapping[str, int]]) -> str:
    """One row of the table."""
    ratio = row["ratio"]
    spread = f" ({ratio['low']:.1f}–{ratio['high']:.1f})" if ratio and ratio["low"] else ""
    share = f"{100 * row['share']:.0f} %" if row["share"] else ""
    alike = f"{row['ratio_alike']:.1f}" if row["ratio_alike"] else ""
    cells = [
        row["model"], f"{macs[row['model']]['macs'] / 1e9:.2f}", row["runtime"], row["precision"],
        f"{row['median_ms']:.2f}", f"{row['p95_ms']:.2f}", f"{row['peak_bytes'] / 1e6:.0f}",
        f"{row['file_bytes'] / 1e6:.2f}", f"{ratio['value']:.1f}{spread}" if ratio else "",
        alike, share,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def best(
    rows: list[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    """The fastest of these rows."""
    return min((r for r in rows if wanted(r)), key=lambda r: r["median_ms"], default=None)


def headlines(rows: list[dict[str, Any]]) -> list[str]:
    """Each student in 8 bits against the teacher in torch eager float32, against what a user would
    pick instead, and against GAN Compression's own student; the fastest first."""
    lines = []
    for ours in students_in_8_bits(rows):
        label = f"{ours['runtime']} {ours['precision']}: {ours['median_ms']:.2f} ms"
        lines += ["", f"**{ours['model']}, {label}**", ""] + [
            f"- {other['median_ms'] / ours['median_ms']:.1f} times as fast as {what} "
            f"({other['runtime']} {other['precision']}, {other['median_ms']:.2f} ms)"
            for what, other in others(rows).items()
            if other is not None
        ]
    return lines[1:] or ["No student in 8 bits was timed."]


def students_in_8_bits(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Our students, each in its fastest row of 8 bits, the fastest student first."""
    names = {r["model"] for r in rows if not r["model"].startswith((TEACHER, PUBLISHED))}
    found = [
        best(rows, lambda r, name=name: r["model"] == name and "int8" in r["precision"])  # type: ignore[misc]
        for name in names
    ]
    return sorted((row for row in found if row is not None), key=lambda r: r["median_ms"])


def others(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """What a student is compared with, in words: the row, None where it was not timed."""
    eager = best(rows, lambda r: (r["model"], r["runtime"], r["precision"]) ==
                 (TEACHER, "torch", "fp32"))  # fmt: skip
    return {
        "the teacher in torch eager float32": eager,
        "the teacher's fastest row": best(rows, lambda r: r["model"].startswith(TEACHER)),
        "the teacher in 8 bits after training": best(
            rows, lambda r: r["model"].startswith(TEACHER) and "int8" in r["precision"]
        ),
        "the teacher by torch.compile": best(
            rows, lambda r: r["model"] == TEACHER and r["runtime"] == "compile"
        ),
        "GAN Compression's published student in 8 bits": best(
            rows, lambda r: r["model"].startswith(PUBLISHED) and "int8" in r["precision"]
        ),
    }


def summary(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a student in 8 bits: how many times as fast it is as what else there is."""
    columns = list(others([]))
    lines = [
        f"| teacher | student in 8 bits | ms | as fast as {' | '.join(columns)} |",
        f"|---|---|---:|{'---:|' * len(columns)}",
    ]
    for name, case in found.items():
        for ours in students_in_8_bits(case["rows"]):
            ratios = [
                f"{other['median_ms'] / ours['median_ms']:.1f} x" if other else "–"
                for other in others(case["rows"]).values()
            ]
            what = f"{ours['model']} ({ours['runtime']} {ours['precision']})"
            cells = [f"{name}, {case['size']} px", what, f"{ours['median_ms']:.2f}", *ratios]
            lines.append(f"| {' | '.join(cells)} |")
    device = next(iter(found.values()))["device"]
    threads = " or ".join(sorted({str(case["threads"]) for case in found.values()}))
    lines += [
        "",
        f"{device['processor']} ({', '.join(device['instructions'])}), {threads} threads, batch 1, "
        "one measurement for each teacher; networks of these widths with random weights. Written "
        "by `python -m benchmarks.headline`.",
    ]
    return "\n".join([*lines, ""])


def where(rows: list[dict[str, Any]]) -> list[str]:
    """Where the time goes in the fastest row of each network that has a profile."""
    lines = []
    for name in dict.fromkeys(row["model"] for row in rows):
        fastest = best(rows, lambda r, name=name: r["model"] == name and bool(r["kinds"]))  # type: ignore[misc]
        if fastest is not None:
            kinds = ", ".join(f"{k['name']} {100 * k['share']:.0f} %" for k in fastest["kinds"][:6])
            lines.append(f"- {name}, {fastest['runtime']} {fastest['precision']}: {kinds}")
    return ["Where the time goes, by the runtime's own profile:", "", *lines] if lines else []
