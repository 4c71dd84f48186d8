"""Tables of models on the terminal, in which no name and no number is ever cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ganpress.cli import lines


def columns(*heads: str, texts: tuple[str, ...] = ()) -> Table:
    """A table of models. Args: heads: of numbers. texts: of words, which stand before them."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True, overflow="fold")
    for head in texts:
        table.add_column(head, no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Print a table, its cells wrapped where the terminal is narrower."""
    lines.console.print(table)


def print_numbered(found: Mapping[str, Any], table: Callable[[Mapping[str, Any]], Table]) -> None:
    """Print a table of these names, numbered under a list of them where they are too long for it.
    One that is wider than the terminal all the same is printed at its own width."""
    made, console = table(found), lines.console
    wide = console.options.update(width=10_000)
    if console.measure(made, options=wide).maximum > console.width:
        for number, name in enumerate(found, 1):
            lines.say(f"{number}: {name}")
        made = table({f"{i}": rows for i, rows in enumerate(found.values(), 1)})
    needed = console.measure(made, options=wide).maximum
    if needed > console.width:
        Console(width=needed, file=console.file).print(made)
    else:
        console.print(made)
