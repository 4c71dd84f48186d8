"""README.md: its code runs, its tables are those of the result files, its verbs exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
VERBS = sorted(set(re.findall(r"^ganpress ([a-z]+)", README, re.MULTILINE)))


@pytest.mark.parametrize("code", PYTHON)
def test_python_in_the_readme_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_in_the_readme_exist(verb: str) -> None:
    from typer.main import get_command

    from ganpress.cli.app import app

    assert verb in get_command(app).commands  # type: ignore[attr-defined]


def test_tables_in_the_readme_are_those_of_the_result_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("benchmarks.readme", None)
    from benchmarks.readme import with_tables

    assert with_tables(README) == README


def test_links_in_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
