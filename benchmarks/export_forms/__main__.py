"""Which form of an operation a runtime is fast at: norms, padding, transposed convolutions, 8 bits.

Command:  .venv/bin/python -m benchmarks.export_forms [--threads 1] [--passes 9] [--only norm]
Time:     about 5 minutes on 1 core.
Needs:    ganpress[onnx,openvino].
Result:   benchmarks/results/export-forms.json and .md.

Each case is a graph of a few nodes with random weights, written in several forms that compute the
same. All forms of a case, in both runtimes, take turns within one loop, so that other work on the
machine hits all of them; reported is the median over passes of the CPU time relative to the first
form, which is what torch's exporter writes. Milliseconds are only an indication. What is clearly
faster became a pass in `ganpress.formats.exporters.graph`; ADR 32 says which, and why not the
others.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.export_forms.drawing import Forms
from benchmarks.export_forms.floats import normed_transposed, norms, pads, transposed
from benchmarks.export_forms.integers import int8_biased, int8_normed, int8_transposed, to_picture
from benchmarks.export_forms.styles import doubled, modulated, modulated_up
from benchmarks.export_forms.timing import RUNTIMES, measured, versions
from ganpress.measures.timing.device import processor

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument("--only", default="", help="cases whose name contains this; others stay")
    parser.add_argument("--out", type=Path, default=RESULTS)
    a = parser.parse_args()
    alike = {
        "device": processor(), "threads": a.threads, "passes": a.passes, "versions": versions(),
    }  # fmt: skip
    file, names = a.out / "export-forms.json", dict(cases())
    kept = kept_cases(file, alike) if a.only else {}
    found = {
        name: measured(forms, a.threads, a.passes)
        for name, forms in names.items()
        if a.only in name
    }
    every = kept | found
    ordered = {name: every[name] for name in names if name in every}
    facts = {**alike, "load": os.getloadavg()[0], "cases": ordered}
    a.out.mkdir(exist_ok=True)
    file.write_text(json.dumps(facts, indent=1) + "\n")
    (a.out / "export-forms.md").write_text(table(facts))
    print(table(facts))


def kept_cases(file: Path, alike: Mapping[str, Any]) -> dict[str, Any]:
    """The cases of a file that was measured alike: those that `--only` leaves stay."""
    before = json.loads(file.read_text()) if file.exists() else {}
    same = all(before.get(name) == value for name, value in alike.items())
    return dict(before["cases"]) if before and same else {}


def cases() -> Iterator[tuple[str, Forms]]:
    """Name -> the forms of a case; the first is what torch's exporter writes."""
    for c, side in ((64, 256), (256, 64)):
        yield f"norm, {c} channels, {side} px", norms(c, side)
    for c, side, k in ((3, 256, 7), (64, 256, 7), (256, 64, 3)):
        yield f"reflect {k // 2} + {k}x{k}, {c} channels, {side} px", pads(c, side, k)
    for i, o, side, k in ((256, 128, 64, 3), (128, 64, 128, 3), (64, 32, 128, 3), (24, 12, 128, 3)):
        yield f"transposed {k}x{k}, {i} to {o}, {side} px", transposed(i, o, side, k)
    for i, o, side in ((1024, 256, 16), (256, 64, 64), (128, 3, 128), (32, 8, 64)):
        yield f"transposed 4x4, {i} to {o}, {side} px", transposed(i, o, side, 4)
    for c, side in ((64, 128), (24, 128), (16, 256)):
        yield f"7x7 to a picture, {c} channels, {side} px", to_picture(c, side, 7, int8=False)
    yield "3x3 to a picture, 32 channels, 128 px", to_picture(32, 128, 3, int8=False)
    for c, side in ((24, 128), (8, 256)):
        yield f"int8 7x7 to a picture, {c} channels, {side} px", to_picture(c, side, 7, int8=True)
    for i, o, side in ((256, 128, 32), (64, 32, 128)):
        yield (
            f"transposed 4x4 + batch norm + relu, {i} to {o}, {side} px",
            normed_transposed(i, o, side),
        )
    for i, o, side in ((256, 256, 32), (64, 32, 128)):
        yield f"modulated up, {i} to {o}, {side} px", modulated_up(i, o, side)
    for c, side in ((256, 32), (64, 128)):
        yield f"modulated 3x3, {c} channels, {side} px", modulated(c, side)
    yield "picture doubled by [1, 3, 3, 1], 128 px", doubled(3, 128)
    for c, side in ((64, 64), (128, 64), (24, 128)):
        yield f"int8 3x3 + norm, {c} channels, {side} px", int8_normed(c, side)
    for c, side in ((64, 64), (24, 128)):
        yield f"int8 3x3 + bias + relu, {c} channels, {side} px", int8_biased(c, side)
    for i, o, side in ((128, 64, 64), (64, 32, 128)):
        yield (
            f"int8 transposed 4x4 + bias + relu, {i} to {o}, {side} px",
            int8_transposed(i, o, side),
        )


def table(facts: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Forms of an operation, timed",
        "",
        f"{facts['device']}, {facts['threads']} thread(s), {facts['passes']} interleaved passes, "
        + ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
        + ". Times relative to the first form of each case, which is what torch's exporter writes; "
        "below 1 is faster. Milliseconds in brackets are only an indication.",
        "",
        "| case | form | onnxruntime | OpenVINO |",
        "|---|---|---:|---:|",
    ]
    for case, found in facts["cases"].items():
        names = list(dict.fromkeys([*found["onnxruntime"], *found["openvino"]]))
        for name in names:
            cells = []
            for runtime in RUNTIMES:
                f = found[runtime].get(name)
                cells.append(f"{f['ratio']:.2f} ({f['ms']:.1f})" if f else "refused")
            lines.append(f"| {case if name == names[0] else ''} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
