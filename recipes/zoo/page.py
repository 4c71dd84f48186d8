"""zoo/README.md, from all cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganpress.run.files import write_file


def write_table(zoo: Path) -> Path:
    """zoo/README.md from the cards."""
    text = table({path.stem: json.loads(path.read_text()) for path in sorted(zoo.glob("*.json"))})
    path = zoo / "README.md"
    write_file(path, text.encode())
    return path


def table(cards: Mapping[str, Mapping[str, Any]]) -> str:
    """The zoo as a page: what each network is, what it measures, and on whose terms."""
    teachers = {name: card for name, card in cards.items() if "evaluation" in card}
    rest = [name for name in cards if name not in teachers]
    lines = [
        "# The zoo",
        "",
        "Small trained networks, in half precision, each with its card (`.json`) and a grid of "
        "samples. This page is written from the cards: `python -m recipes.zoo --table`.",
        "They show the line working; they are not the papers' models, and their data's terms hold.",
        "",
        "| network | family | trained on | parameters | MB | made by | steps | metrics | terms |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(name, card) for name, card in teachers.items()),
        "",
        *(f"- `{name}`: `{cards[name]['command']}`" for name in rest),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _row(name: str, card: Mapping[str, Any]) -> str:
    found = card["evaluation"]
    numbers = [f"{k} {v:.4g}" for k, v in found["metrics"].items()]
    beside = [f"{k}: {v:.4g}" for k, v in found["yardsticks"].items()]
    megabytes = sum(f["bytes"] for f in card["files"].values()) / 1e6
    trained = f"{card['made_by']}, {card['seconds'] / 60:.0f} min on {card['device']}"
    measured = "<br>".join([*numbers, *(f"*{line}*" for line in beside)])
    of = ""
    if student := card.get("student"):
        of = (f", student of {student['of']} by {student['method']}, "
              f"1/{1 / student['share_of_macs']:.1f} of its MACs")  # fmt: skip
        apart = student["evaluation"]["metrics"]
        measured += "".join(f"<br>{k} to its teacher {v:.4g}" for k, v in apart.items())
    cells = (
        f"[{name}]({card['grid']}){of}",
        f"{card['family']}, {card['size']} px",
        card["data"]["what"],
        f"{card['params']:,}",
        f"{megabytes:.2f}",
        trained,
        f"{card['steps']:,}",
        measured,
        card["data"]["terms"],
    )
    return f"| {' | '.join(cells)} |"
