"""What `ganpress export` says of a file in another code base's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from ganpress.formats.exporters import ExportFacts
    from ganpress.models.checkpoint import Model

console = Console()


def print_upstream(student: Model, facts: ExportFacts, size: int | None, *, pad: bool) -> None:
    """The class that takes the file, what padding costs, and what lies beside the file."""
    from ganpress.measures.cost import CostTable

    lines = [f"taken by {facts.upstream}"] if facts.upstream else []
    if facts.widths:
        table = CostTable(student.net, size or student.size)
        own, wide = table(), table(facts.widths)
        lines.append(
            f"padded with zero channels: {own.macs / 1e9:.3f} G MACs -> {wide.macs / 1e9:.3f} G "
            f"({wide.macs / own.macs:.2f} times), {own.bytes:,} bytes -> {wide.bytes:,} "
            f"({wide.bytes / own.bytes:.2f} times)"
        )
    elif pad:
        lines.append("--pad: nothing to pad, the widths are the class's own")
    if facts.beside:
        beside = " with ".join(str(path) for path in facts.beside)
        lines.append(f"beside it, in plain torch at the student's own widths: {beside}")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
