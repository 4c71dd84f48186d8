"""Put the tables of benchmarks/results/ into README.md and docs/results.md, between their marks.

Command:  .venv/bin/python -m benchmarks.readme      (a test fails where one of them is behind)
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The text with each table as its result file has it."""
    return MARK.sub(lambda m: m[1] + (ROOT / m[2]).read_text() + m[3], text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
