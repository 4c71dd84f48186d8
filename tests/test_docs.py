"""README.md and docs/: code runs, tables are those of the result files, verbs and links exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TEXT = "\n".join(page.read_text() for page in PAGES)
VERBS = sorted(set(re.findall(r"^ganpress ([a-z]+)", TEXT, re.MULTILINE)))


@pytest.mark.parametrize("code", PYTHON)
def test_python_in_the_readme_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_in_the_docs_exist(verb: str) -> None:
    from typer.main import get_command

    from ganpress.cli.app import app

    assert verb in get_command(app).commands  # type: ignore[attr-defined]


def test_tables_in_the_docs_are_those_of_the_result_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("benchmarks.readme", None)
    from benchmarks import readme

    for page in readme.PAGES:
        assert readme.with_tables(page.read_text()) == page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_shows_pictures_first_and_one_short_table() -> None:
    assert README.index("![") < README.index("make demo") < README.index("## ")
    rows = [line for line in README.splitlines() if line.startswith("|")]
    assert 3 <= len(rows) <= 12  # a head, its rule, at most ten rows
