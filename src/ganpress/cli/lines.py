"""What the commands print: whole lines, in which a name is never taken for markup."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

console = Console()


def say(line: str, *, title: str = "", style: str = "") -> None:
    """Print one line as it is, however long, on standard output.

    Args:
        title: stands before it, in bold on a terminal.
        style: of the line, such as "dim".
    """
    text = Text.assemble((title, "bold"), (line, style))
    console.print(text, soft_wrap=True, highlight=False)
