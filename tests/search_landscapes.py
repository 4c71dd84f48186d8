"""Landscapes whose optimum is known, and searches of them, in this process and in others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ganpress.methods.once_for_all.search.found import Found
from ganpress.methods.once_for_all.search.settings import SearchSettings
from ganpress.methods.once_for_all.search.space import Slot, Space
from ganpress.methods.once_for_all.search.study import search

SMALL = Space(
    tuple(
        Slot(f"slot{i}", {f"group{i}": 2}, numbers)
        for i, numbers in enumerate([(32, 24, 16)] + [(32, 24, 16, 8)] * 4)
    )
)
"""768 width sets."""
OPTIMUM = (24, 32, 16, 24, 8)
BUDGET = {"macs": 112.0}
"""561 of them are within it."""


def cost(widths: Mapping[str, int]) -> dict[str, float]:
    """Half the channels in all, and their squares."""
    return {
        "macs": sum(widths.values()) / 2,
        "params": float(sum(w * w for w in widths.values())),
    }


def separable(widths: Mapping[str, int]) -> dict[str, float]:
    """1 at `OPTIMUM`, and a square of each slot's distance from it: smaller is better."""
    far = sum((w / 2 - best) ** 2 for w, best in zip(widths.values(), OPTIMUM, strict=True))
    return {"fid": 1 + far / 64}


def adversarial(widths: Mapping[str, int]) -> dict[str, float]:
    """As `separable`, but slots hang together: a wide slot is worth nothing beside a narrow one."""
    numbers = [w / 2 for w in widths.values()]
    jumps = sum(abs(a - b) for a, b in pairwise(numbers))
    return {"fid": 1 + separable(widths)["fid"] / 4 + jumps / 8 + 200 / sum(numbers)}


def name_of(widths: Mapping[str, int]) -> str:
    """The name of a width set of `SMALL`."""
    return "_".join(str(width // 2) for width in widths.values())


def small_search(folder: Path, evaluate: Callable[..., Mapping[str, float]], **more: Any) -> Found:
    """A search of `SMALL` in a folder; ``more`` are settings or arguments of `search`."""
    own = {k: more.pop(k) for k in tuple(more) if k in SearchSettings.model_fields}
    settings = SearchSettings(**{"population": 4, "evaluations": 10, **own})
    arguments = {
        "budget": BUDGET,
        "identity": {"model": "one"},
        "quality": "fid",
        "quiet": True,
        **more,
    }
    return search(SMALL, evaluate, cost, settings=settings, folder=folder, **arguments)


def main() -> None:
    """A worker of its own: folder, storage ("" for the folder's), evaluations, seconds that each
    takes, a file that gets a line for each, how many lines there are before it waits for ever."""
    folder, storage, evaluations, seconds, log, stop_after = sys.argv[1:]

    def evaluate(widths: Mapping[str, int]) -> dict[str, float]:
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {name_of(widths)}\n")
        if stop_after and len(Path(log).read_text().splitlines()) > int(stop_after):
            time.sleep(600)  # until it is killed
        time.sleep(float(seconds))
        return separable(widths)

    small_search(
        Path(folder), evaluate, evaluations=int(evaluations), storage=storage or None, quiet=False
    )


if __name__ == "__main__":
    main()
