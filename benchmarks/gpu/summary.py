"""summary.md: what a GPU run found, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FACTS = ("device", "driver", "torch", "cuda", "python", "git", "source", "command", "date")


def summary(
    facts: Mapping[str, Any], pieces: Sequence[Mapping[str, Any]], states: Mapping[str, str]
) -> str:
    """Markdown.

    Args:
        facts: of the last call. pieces: what their files hold. states: of pieces without a file
            that can be told, by name: why they were not run.
    """
    lines = ["# GPU run", ""]
    if facts.get("tiny"):
        lines += ["**Tiny sizes: the numbers mean nothing.**", ""]
    lines += table([["", ""], *([name, facts.get(name)] for name in FACTS)])
    for piece in pieces:
        lines += ["", f"## {piece['piece']}: {piece['status']}", ""]
        lines.append(f"{piece.get('seconds', 0)} s; {_when(piece, facts)}.")
        if "error" in piece:
            lines += ["", f"`{str(piece['error']).splitlines()[0][:300]}`"]
        if piece.get("table"):
            lines += ["", *table(piece["table"])]
        if piece.get("picture"):
            lines += ["", f"![{piece['piece']}]({piece['picture']})"]
    lines += ["", *(f"- {name}: {state}" for name, state in states.items())]
    return "\n".join(lines).rstrip() + "\n"


def _when(piece: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """When and of what source a piece's numbers are."""
    is_old = piece.get("source") != facts.get("source")
    return f"{piece.get('date')}, source {piece.get('source')}" + (
        " (not today's)" if is_old else ""
    )


def table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Markdown lines of a table whose first row are the heads."""
    head, *rest = [[_cell(value) for value in row] for row in rows]
    lines = [head, ["---"] * len(head), *rest]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
