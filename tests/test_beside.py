"""Parts of a benchmark beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.beside import run_beside

MODULE = """
import sys, time
from pathlib import Path
runs, part = Path(sys.argv[sys.argv.index("--runs") + 1]), sys.argv[sys.argv.index("--only") + 1]
(runs / f"{part}.here").touch()
end = time.monotonic() + 30
while "--together" in sys.argv and len(list(runs.glob("*.here"))) < 2 and time.monotonic() < end:
    time.sleep(0.01)
print("found", len(list(runs.glob("*.here"))), *sys.argv[5:])
sys.exit(3 if part == "bad" else 0)
"""


@pytest.fixture()
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_parts.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "some_parts"


def test_two_parts_run_at_the_same_time_and_write_a_log_each(module: str, tmp_path: Path) -> None:
    run_beside(module, tmp_path, ["one", "two"], 2, ["--together"])
    for part in ("one", "two"):
        assert (tmp_path / f"{part}.log").read_text() == "found 2 --together\n"


def test_one_job_runs_one_part_after_the_other(module: str, tmp_path: Path) -> None:
    run_beside(module, tmp_path, ["one", "two"], 1)
    found = [(tmp_path / f"{part}.log").read_text() for part in ("one", "two")]
    assert found == ["found 1\n", "found 2\n"]


def test_a_part_that_fails_stops_no_other_and_is_named_at_the_end(
    module: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=r"bad failed: .*bad\.log says why"):
        run_beside(module, tmp_path, ["bad", "good"], 1)
    assert (tmp_path / "good.log").exists()
