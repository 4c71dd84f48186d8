"""The prepared GPU command in its tiny form, and what becomes of a piece that goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.gpu import command
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.command import Budget, Device, Output, Piece, run_pieces
from benchmarks.gpu.content_aware import CASES, config_of, score_case
from benchmarks.gpu.made import COUNT, pictures
from benchmarks.gpu.steps import recipe_case
from PIL import Image

from ganpress.methods import METHODS
from ganpress.run.recipes import recipes
from ganpress.training.train import TRAINERS
from ganpress.types.sizes import Size

ROOT = Path(__file__).parents[1]
CPU = Device("cpu", tiny=True)
Run = Callable[[Output, Device, Budget], Mapping[str, Any]]


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


# --- the tiny form -----------------------------------------------------------------------------


def options(out: Path) -> list[str]:
    """What the command is given."""
    work = out.with_name("work")
    given = ["--device", "cpu", "--tiny", "--minutes", "20", "--out", out, "--work", work]
    return [str(part) for part in given]


def start(out: Path) -> subprocess.Popen[str]:
    """The command as it is given, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.gpu", *options(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def measured(out: Path) -> dict[str, Any]:
    """The cases that are written down so far."""
    path = out / "steps.json"
    return dict(read(path).get("cases", {})) if path.exists() else {}


@pytest.mark.slow
def test_the_tiny_form_is_interrupted_goes_on_and_then_has_nothing_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    running = start(out)
    while running.poll() is None and len(measured(out)) < 2:
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate(timeout=300)
    assert running.returncode == 130, said
    before = measured(out)
    assert len(before) < 2 * (len(METHODS) + len(TRAINERS))
    assert read(out / "tests.json")["status"] == "done"
    assert read(out / "steps.json")["status"] == "cut short"
    assert "## steps: cut short" in (out / "summary.md").read_text()

    running = start(out)
    said, _ = running.communicate(timeout=900)
    assert running.returncode == 0, said
    assert "tests: is done" in said
    after = measured(out)
    assert {name: after[name] for name in before} == before
    assert {name.rsplit(" ", 1)[0] for name in after} == {
        *(f"method {name}" for name in METHODS),
        *(f"recipe {name}" for name in TRAINERS),
    }
    check_files(out)

    kept = {path.name: path.read_bytes() for path in out.glob("*.json")}
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *options(out)])
    assert main() == 0
    assert capsys.readouterr().out.count("is done") == 5
    assert {path.name: path.read_bytes() for path in out.glob("*.json")} == kept


def check_files(out: Path) -> None:
    """The files of a whole run: few, small, and with all that a reader has to know."""
    files = {path.name: path for path in out.iterdir()}
    compressed = ("hayao", "once-for-all", "content-aware")
    assert files.keys() == {
        *(f"{name}.json" for name in ("tests", "steps", *compressed)),
        *(f"{name}.jpg" for name in compressed),
        "summary.md",
    }
    for name in compressed:
        assert files[f"{name}.jpg"].read_bytes()[:2] == b"\xff\xd8"
        assert files[f"{name}.jpg"].stat().st_size < 1 << 20
    for name in ("tests", "steps", *compressed):
        found = read(files[f"{name}.json"])
        assert found["status"] == "done"
        assert found["seconds"] > 0
        facts = ("device", "driver", "torch", "git", "source", "command", "date")
        assert all(fact in found for fact in facts)
        assert found["command"].startswith("python -m benchmarks.gpu --device cpu --tiny")
        assert f"## {name}: done" in files["summary.md"].read_text()
    for name, share in zip(compressed, (0.4, 0.5, 0.5), strict=True):
        found = read(files[f"{name}.json"])
        assert found["model"]["student"]["macs"] <= share * found["model"]["teacher"]["macs"]
        assert found["evaluation"]["count"] == (200 if name == "content-aware" else 4)
        assert all(stage["ms_per_step"] > 0 for stage in found["stages"].values())
    searched = read(files["once-for-all.json"])["search"]
    assert searched["best"] in {row["name"] for row in searched["front"]}
    cases = [read(files[f"{name}.json"])["cases"] for name in ("steps", "content-aware")]
    assert {*cases[1]} == {" ".join(case) for case in CASES}
    for case in (case for of in cases for case in of.values()):
        assert all(stage["median_ms"] > 0 for stage in case["stages"].values())
        assert case["stages"]


# --- a piece that goes wrong ---------------------------------------------------------------------


def pieces(**runs: Run) -> list[Piece]:
    return [Piece(name, share=0.5, least_s=0, run=run) for name, run in runs.items()]


def go(tmp_path: Path, *wanted: Piece, minutes: float = 5.0) -> int:
    return run_pieces(wanted, CPU, tmp_path / "out", tmp_path / "work", minutes=minutes)


def fails(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
    output.save({"before": 7})
    raise ValueError("the third number was odd")


def works(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
    return {"tries": output.known.get("tries", 0) + 1, "table": [["a"], [0.123456]]}


def test_a_piece_that_raises_is_written_down_and_the_others_run(tmp_path: Path) -> None:
    assert go(tmp_path, *pieces(bad=fails, good=works)) == 1
    bad, good = (read(tmp_path / "out" / f"{name}.json") for name in ("bad", "good"))
    assert (bad["status"], good["status"]) == ("failed", "done")
    assert bad["error"] == "ValueError: the third number was odd"
    assert bad["before"] == 7
    assert any("fails" in line for line in bad["traceback"])
    said = (tmp_path / "out" / "summary.md").read_text()
    assert "## bad: failed" in said
    assert "the third number was odd" in said
    assert "| 0.1235 |" in said


def test_a_piece_that_failed_is_tried_anew_and_one_that_is_done_is_not(tmp_path: Path) -> None:
    go(tmp_path, *pieces(one=fails, two=works))
    assert go(tmp_path, *pieces(one=works, two=fails)) == 0
    one = read(tmp_path / "out" / "one.json")
    assert one["status"] == "done"
    assert "error" not in one
    assert "traceback" not in one


def test_a_piece_goes_on_from_what_it_had_saved(tmp_path: Path) -> None:
    def half(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
        return {"tries": 5, "unfinished": True}

    go(tmp_path, *pieces(one=half))
    assert read(tmp_path / "out" / "one.json")["status"] == "cut short"
    go(tmp_path, *pieces(one=works))
    assert read(tmp_path / "out" / "one.json")["tries"] == 6


@pytest.mark.parametrize("changed", ["source", "device"])
def test_results_of_another_source_or_device_are_not_gone_on_from(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(tmp_path, *pieces(one=works))
    facts = command.facts_of
    monkeypatch.setattr(command, "facts_of", lambda of: {**facts(of), changed: "another"})
    go(tmp_path, *pieces(one=works))
    found = read(tmp_path / "out" / "one.json")
    assert found["tries"] == 1
    assert found[changed] == "another"


def test_a_new_folder_of_results_gets_what_the_work_folder_has(tmp_path: Path) -> None:
    def drawn(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
        return {"picture": output.picture(b"jpeg")}

    go(tmp_path, *pieces(one=drawn))
    (tmp_path / "out").rename(tmp_path / "taken home")
    go(tmp_path, *pieces(one=fails))
    assert read(tmp_path / "out" / "one.json")["status"] == "done"
    assert (tmp_path / "out" / "one.jpg").read_bytes() == b"jpeg"


def test_a_piece_that_takes_too_long_is_cut_short_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
        output.save({"half": 1})
        time.sleep(30)
        return {"whole": 2}

    monkeypatch.setattr(command, "GRACE_S", 0.0)
    began = time.monotonic()
    assert go(tmp_path, *pieces(one=slow, two=works), minutes=2 / 60) == 0
    assert time.monotonic() - began < 15
    one = read(tmp_path / "out" / "one.json")
    assert (one["status"], one["half"]) == ("cut short", 1)
    assert "whole" not in one
    assert read(tmp_path / "out" / "two.json")["status"] == "done"


def test_sigterm_ends_the_whole_command_and_leaves_whole_files(tmp_path: Path) -> None:
    def killed(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
        output.save({"half": 1})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        return {}

    handler = signal.getsignal(signal.SIGTERM)
    assert go(tmp_path, *pieces(one=killed, two=works)) == 130
    assert signal.getsignal(signal.SIGTERM) == handler
    assert read(tmp_path / "out" / "one.json")["half"] == 1
    assert read(tmp_path / "out" / "one.json")["status"] == "cut short"
    assert not (tmp_path / "out" / "two.json").exists()
    assert "## one: cut short" in (tmp_path / "out" / "summary.md").read_text()


def test_a_piece_for_which_no_time_is_left_is_listed(tmp_path: Path) -> None:
    piece = Piece("long", share=1.0, least_s=6000, run=works)
    assert go(tmp_path, piece, minutes=1.0) == 0
    assert "- long: not run: 60 s were left, 6000 are needed" in (
        (tmp_path / "out" / "summary.md").read_text()
    )
    assert not (tmp_path / "out" / "long.json").exists()


def test_every_recipe_has_settings_for_a_gpu_and_for_the_tiny_form(tmp_path: Path) -> None:
    """A family that joins is measured as it is; what it lacks is told here, not on the GPU."""
    for name in TRAINERS:
        assert any(r.startswith(f"{name}-") and "gpu" in r for r in recipes(["train"])), name
    found = recipe_case("sngan", "float32", CPU, tmp_path / "work", tmp_path / "run")
    assert found["batch"] == 2
    assert found["stages"]["train"]["steps"] == 2
    assert found["stages"]["train"]["syncs"] is None
    assert not [*(tmp_path / "run").rglob("state.pt")]


def sides_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.height, picture.width


@pytest.mark.parametrize(("size", "sides"), [(24, (24, 24)), ((24, 48), (24, 48))])
@pytest.mark.parametrize("needs", ["other", "pairs", "labels"])
def test_drawn_pictures_have_the_recipes_size(
    needs: str, size: Size, sides: tuple[int, int], tmp_path: Path
) -> None:
    images, other = pictures(tmp_path, needs, size=size, edges=True)
    assert len(images) == COUNT and (other is None) == (needs != "other")
    files = [*tmp_path.rglob("*.png")]
    assert len(files) == 4 * COUNT  # two kinds of pictures, label maps and instance maps
    assert {sides_of(file) for file in files} == {sides}


def test_a_score_is_timed_beside_a_forward_and_a_backward_pass_of_the_same_batch(
    tmp_path: Path,
) -> None:
    found = score_case("256", "float32", CPU, tmp_path / "work", tmp_path / "run")
    score, plain = (found["stages"][name] for name in ("score", "forward+backward"))
    assert min(score["median_ms"], plain["median_ms"]) > 0
    assert found["ratio"] == pytest.approx(score["median_ms"] / plain["median_ms"], abs=1e-3)
    assert found["size"] == 32


@pytest.mark.parametrize("size", ["256", "1024"])
def test_the_papers_sizes_have_the_papers_batch_and_ratio(size: str, tmp_path: Path) -> None:
    c = config_of(tmp_path, Device("cpu"), [], size)
    assert (c.data.size, c.data.batch, c.cut.ratio) == (int(size), 16, 0.7)
    assert c.mask.source == str(tmp_path / "box.toml")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_command_says_how_it_is_tried(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 2
    assert "no CUDA device: --device cpu --tiny" in said.stderr
    assert not (tmp_path / "out").exists()
