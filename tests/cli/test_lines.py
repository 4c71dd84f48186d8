"""What the commands print is what they were given: no name is taken for markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import run_cli

from ganpress.cli import lines
from ganpress.cli.compression import print_run

NAMES = ["[/red]", "[bold]x", "runs [v1] :smile:"]


@pytest.mark.parametrize("name", NAMES)
def test_a_line_is_printed_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines.say(f" is {name}", title=name, style="dim")
    assert capsys.readouterr().out == f"{name} is {name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_run_may_have_any_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / name.replace("/", "\\")
    run.mkdir()
    (run / "config.json").write_text("{}")
    assert str(run / "report.html") in run_cli(capsys, "report", run).out
    net = {"latency_ms": {"median": 1.0}, "size": 8}
    model = {"ratios": {"macs": 2.0, "latency_ms": 1.0}, "student": net, "teacher": net}
    results = {"model": model, "evaluation": {"metrics": {name: 0.5}}}
    (run / "results.json").write_text(json.dumps(results))
    print_run(run)
    out = capsys.readouterr().out
    assert f"student: {run / 'student.safetensors'}" in out
    assert f"{name}: 0.5000" in out


def test_no_command_prints_past_the_one_function() -> None:
    """Whose lines are never markup; `tables` escapes its cells."""
    folder = Path(lines.__file__).parent
    using = {p.name for p in folder.glob("*.py") if "console.print(" in p.read_text()}
    assert using == {"lines.py", "tables.py"}
