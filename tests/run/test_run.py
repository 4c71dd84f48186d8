"""A run folder: resumed loops equal uninterrupted ones, and no file is ever half a file."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from forked import CONTEXT
from patience import PATIENCE_S
from PIL import Image
from torch import nn

from ganpress.errors import (
    CheckpointError,
    ConfigError,
    DiskFull,
    Diverged,
    GanpressError,
    Interrupted,
)
from ganpress.run import progress
from ganpress.run.files import replace_file, write_json
from ganpress.run.logs import read_log
from ganpress.run.run import Run

STEPS = 60


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Count:
    """A small class of one's own with a state."""

    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total = state["total"]


class Noise(torch.utils.data.Dataset[torch.Tensor]):
    """Made up in a data worker, slowly enough for a signal to meet it there."""

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.01)
        return torch.randn(4, generator=torch.Generator().manual_seed(index))


def train(root: Path, *, sleep_s: float = 0.0, total: int = STEPS, hold: int = -1) -> dict:
    """A toy loop with everything that has a state; returns the final one.

    Step number `hold` lasts until `go` is called: on a busy machine a signal may be late.
    """
    run = Run(root, seed=3, config={"lr": 0.1}, quiet=True, log_every=1, save_every_s=1000)
    stage = run.stage("toy")
    run.seed_all("toy: init")
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    adam = torch.optim.Adam(net.parameters(), lr=0.1)
    rate = torch.optim.lr_scheduler.MultiStepLR(adam, milestones=[5, 20])
    own, count = torch.Generator().manual_seed(1), Count()
    things = {"net": net, "adam": adam, "rate": rate, "own": own, "count": count}
    for step in stage.steps(total, save_every=3, **things):
        x = torch.randn(6, 4) + torch.randn(6, 4, generator=own) + np.random.randn()
        loss = (net(x) - random.random()).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        rate.step()
        count.total += loss.item()
        stage.log(step, loss=loss, rate=rate.get_last_lr()[0])
        (root / "at").write_text(str(step))
        time.sleep(sleep_s)
        if step == hold:
            wait_to_go(root)
    stage.finish(loss=count.total)
    after = torch.randn(3).tolist(), float(np.random.randn()), random.random()
    return {
        "net": {name: tensor.clone() for name, tensor in net.state_dict().items()},
        "moments": [t.clone() for s in adam.state.values() for t in s.values()],
        "own": own.get_state(),
        "rest": [count.total, rate.get_last_lr(), *after],
    }


def saved(root: Path) -> dict:
    return torch.load(root / "toy" / "state.pt", weights_only=True)


def flat(value: object) -> list[object]:
    """Nested dicts and lists as one list, tensors as their bytes: equal means bit-equal."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), tuple(value.shape), value.numpy().tobytes()]
    if isinstance(value, dict):
        return [x for key, inner in value.items() for x in (key, *flat(inner))]
    if isinstance(value, list | tuple):
        return [x for inner in value for x in flat(inner)]
    return [value]


def losses(root: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in read_log(root / "toy" / "log.jsonl")]


def in_process(target: object, *args: object) -> multiprocessing.process.BaseProcess:
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    return process


def wait_for_step(root: Path, step: int, process: multiprocessing.process.BaseProcess) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        at = (root / "at").read_text() if (root / "at").exists() else ""
        if (at and int(at) >= step) or not process.is_alive():
            return
        time.sleep(0.002)
    raise TimeoutError(f"step {step} was never reached")


def command(root: Path, sleep_s: float, hold: int = -1) -> None:
    """What the command line does with the errors, in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    try:
        train(root, sleep_s=sleep_s, hold=hold)
    except GanpressError as error:
        print(error, file=sys.stderr)
        os._exit(error.exit_code)


def go(root: Path) -> None:
    (root / "go").touch()


def wait_to_go(root: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (root / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def command_with_workers(root: Path) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stage = Run(root, quiet=True, log_every=1).stage("toy")
    loader = torch.utils.data.DataLoader(
        Noise(), batch_size=1, num_workers=1, multiprocessing_context="fork"
    )
    lazily = (batch for _ in range(1) for batch in loader)  # as a stream does: workers start late
    try:
        for step, batch in zip(stage.steps(STEPS), lazily, strict=False):
            stage.log(step, loss=batch.mean())
            (root / "at").write_text(str(step))
            if step == STEPS - 3:
                wait_to_go(root)
    except Interrupted as error:
        os._exit(error.exit_code)


# --- resume ---------------------------------------------------------------------------------------


def test_a_run_killed_five_times_ends_bit_equal_to_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    killed, draw, at = tmp_path / "killed", random.Random(), 0
    for _ in range(5):
        at += draw.randint(2, 10)
        process = in_process(command, killed, 0.003, STEPS - 3)
        wait_for_step(killed, at, process)
        time.sleep(draw.random() * 0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert not (killed / "toy" / "done.json").exists()
    assert flat(train(killed)) == flat(whole)
    assert flat(saved(killed)["of"]) == flat(saved(tmp_path / "whole")["of"])
    assert losses(killed) == losses(tmp_path / "whole")
    assert len(losses(killed)) == STEPS
    assert not list(killed.rglob("*.tmp"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_loop_cleanly_and_the_run_can_be_resumed(
    tmp_path: Path, number: int, code: int
) -> None:
    whole = train(tmp_path / "whole")
    process = in_process(command, tmp_path / "stopped", 0.02, STEPS - 3)
    wait_for_step(tmp_path / "stopped", 10, process)
    os.kill(process.pid, number)
    go(tmp_path / "stopped")
    process.join()
    assert process.exitcode == code
    last = int((tmp_path / "stopped" / "at").read_text())
    assert 10 <= last <= STEPS - 3  # the step that the signal met
    assert saved(tmp_path / "stopped")["step"] == last + 1  # not one step is lost
    assert flat(train(tmp_path / "stopped")) == flat(whole)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_ctrl_c_reaches_the_data_workers_too_and_still_stops_cleanly(tmp_path: Path) -> None:
    process = in_process(command_with_workers, tmp_path)
    wait_for_step(tmp_path, 5, process)
    os.killpg(process.pid, signal.SIGINT)
    go(tmp_path)
    process.join()
    assert process.exitcode == 130
    last = int((tmp_path / "at").read_text())
    assert 5 <= last <= STEPS - 3
    assert saved(tmp_path)["step"] == last + 1


def test_a_signal_in_a_step_lets_the_step_end_and_gives_the_handlers_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stage, count, ended = Run(tmp_path, quiet=True).stage("a"), Count(), []
    with pytest.raises(Interrupted, match=r"SIGTERM after 3 of 9 steps of stage 'a'") as stopped:
        for step in stage.steps(9, count=count):
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            count.total += 1
            ended.append(step)
    assert stopped.value.exit_code == 143
    assert ended == [0, 1, 2]
    assert torch.load(stage.root / "state.pt", weights_only=True)["of"]["count"]["total"] == 3.0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_sigint_stops_at_once_and_keeps_the_last_saved_state(tmp_path: Path) -> None:
    stage, count = Run(tmp_path, quiet=True).stage("a"), Count()
    with pytest.raises(Interrupted, match="second SIGINT") as stopped:
        for step in stage.steps(9, save_every=1, count=count):
            count.total += 0.5
            if step == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            count.total += 0.5
    assert stopped.value.exit_code == 130
    assert torch.load(stage.root / "state.pt", weights_only=True)["of"]["count"]["total"] == 2.0


def test_a_loop_left_in_the_middle_of_a_step_saves_nothing_of_that_step(tmp_path: Path) -> None:
    stage, count = Run(tmp_path, quiet=True).stage("a"), Count()
    with pytest.raises(ZeroDivisionError):
        for step in stage.steps(9, save_every=2, count=count):
            count.total += 1
            if step == 5:
                raise ZeroDivisionError
    again = Count()
    Run(tmp_path, quiet=True).stage("a").steps(9, count=again)
    assert again.total == 4


def test_a_finished_stage_runs_no_step_again_but_gets_its_state_back(tmp_path: Path) -> None:
    first = train(tmp_path)
    stat = (tmp_path / "toy" / "state.pt").stat()
    assert Run(tmp_path, seed=3, quiet=True).done("toy")
    second = train(tmp_path)
    assert flat(second) == flat(first)
    assert (tmp_path / "toy" / "state.pt").stat().st_mtime_ns == stat.st_mtime_ns
    assert len(losses(tmp_path)) == STEPS


def test_the_first_step_is_known_before_the_loop_so_that_data_can_start_there(
    tmp_path: Path,
) -> None:
    train(tmp_path, total=7)
    stage, kept = Run(tmp_path, seed=3, quiet=True).stage("other"), Count()
    assert list(stage.steps(4, kept=kept)) == [0, 1, 2, 3]
    again = Run(tmp_path, seed=3, quiet=True).stage("other")
    steps = again.steps(6, kept=kept)
    assert again.first == 4
    assert list(zip(steps, range(again.first, 6), strict=True)) == [(4, 4), (5, 5)]


def test_the_seed_of_a_step_depends_on_the_run_the_stage_and_the_step(tmp_path: Path) -> None:
    def drawn(folder: str, seed: int, name: str) -> list[float]:
        stage = Run(tmp_path / folder, seed=seed, quiet=True).stage(name)
        return [torch.rand(1).item() + np.random.rand() + random.random() for _ in stage.steps(2)]

    same, runs = drawn("a", 1, "x"), [drawn("b", 1, "x"), drawn("c", 2, "x"), drawn("d", 1, "y")]
    assert runs[0] == same
    assert len({value for values in runs for value in values}) == 6


# --- refusals -------------------------------------------------------------------------------------


def test_a_run_with_other_settings_is_refused_with_their_names(tmp_path: Path) -> None:
    config = {"lr": 0.1, "widths": (4, 8), "distil": {"weight": 1.0, "taps": ["a"]}, "old": 1}
    Run(tmp_path, config=config)
    Run(tmp_path, config=config)  # a tuple is a list in the file, and is no difference
    Run(tmp_path)
    other = {"lr": 0.1, "widths": (4, 8), "distil": {"weight": 2.0, "taps": ["a"]}, "new": None}
    with pytest.raises(ConfigError) as refused:
        Run(tmp_path, config=other)
    text = str(refused.value)
    assert "distil.weight: 1.0 in the run, 2.0 now" in text
    assert "old: 1 in the run, not set now" in text
    assert "new: not set in the run, null now" in text
    assert "taps" not in text and "lr" not in text
    assert json.loads((tmp_path / "config.json").read_text())["old"] == 1


def test_a_run_with_another_seed_or_other_data_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, seed=1, card={"data_hash": "aa", "device": "cpu"})
    Run(tmp_path, seed=1)
    with pytest.raises(ConfigError, match="seed: 1 in the run, 2 now"):
        Run(tmp_path, seed=2)
    with pytest.raises(ConfigError, match='data_hash: "aa" in the run, "bb" now'):
        Run(tmp_path, seed=1, card={"data_hash": "bb"})


def test_the_card_says_where_the_run_was_started_and_resumed(tmp_path: Path) -> None:
    for total in (2, 4):
        stage = Run(tmp_path, seed=5, card={"device": "cpu", "data_hash": "aa"}).stage("a")
        assert len(list(stage.steps(total))) == 2
    card = json.loads((tmp_path / "card.json").read_text())
    assert {"ganpress", "torch", "python", "command", "started", "threads"} < set(card)
    assert (card["seed"], card["device"], card["data_hash"]) == (5, "cpu", "aa")
    assert [(row["stage"], row["step"]) for row in card["resumed"]] == [("a", 2)]


def test_a_state_of_another_loop_or_network_is_refused(tmp_path: Path) -> None:
    list(Run(tmp_path).stage("a").steps(2, net=nn.Linear(2, 2)))
    with pytest.raises(CheckpointError, match="holds the state of net, but the loop keeps ema"):
        Run(tmp_path).stage("a").steps(2, ema=nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="does not fit 'net'"):
        Run(tmp_path).stage("a").steps(2, net=nn.Linear(3, 2))
    with pytest.raises(ConfigError, match="has done 2 steps, more than the 1 asked for"):
        Run(tmp_path).stage("a").steps(1, net=nn.Linear(2, 2))
    path = tmp_path / "a" / "state.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"cut short .*Delete it to start this stage"):
        Run(tmp_path).stage("a").steps(2, net=nn.Linear(2, 2))


def test_a_state_that_could_not_be_read_back_is_refused_before_the_first_step(
    tmp_path: Path,
) -> None:
    count = Count()
    count.total = np.float64(1.0)  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"'count.total' is a float64"):
        Run(tmp_path).stage("a").steps(2, count=count)


def test_bad_names_and_numbers_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for name in ("", "../x", "a/b", ".hidden"):
        with pytest.raises(ConfigError, match="file name"):
            run.stage(name)
    for kw in ({"total": -1}, {"total": 1, "save_every": 0}, {"total": 1, "minutes": 0.0}):
        with pytest.raises(ConfigError, match="at least"):
            run.stage("a").steps(**kw)
    with pytest.raises(ConfigError, match="log_every"):
        Run(tmp_path, log_every=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Choose another folder"):
        Run(tmp_path / "file")
    with pytest.raises(TypeError, match=r"'x' has shape \(2,\)"):
        run.stage("a").log(0, x=torch.zeros(2))


# --- divergence -----------------------------------------------------------------------------------


def test_a_nan_loss_names_the_term_and_the_step_and_keeps_the_last_good_state(
    tmp_path: Path,
) -> None:
    stage, net = Run(tmp_path, quiet=True, log_every=10).stage("tune"), nn.Linear(1, 1)
    message = r"'gan' is nan at step 7 of stage 'tune'.*after 6 steps, is kept"
    with pytest.raises(Diverged, match=message):
        for step in stage.steps(20, save_every=3, net=net):  # 7 is no multiple of log_every
            stage.log(step, l1=1.0, gan=torch.tensor(float("nan") if step == 7 else 1.0))
    assert torch.load(stage.root / "state.pt", weights_only=True)["step"] == 6
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert list(stage.steps(8, net=net)) == [6, 7]  # a new loop starts from the good state


def test_weights_gone_bad_are_never_saved_even_before_a_loss_tells(tmp_path: Path) -> None:
    stage, net = Run(tmp_path, quiet=True).stage("tune"), nn.Linear(1, 1)
    with pytest.raises(Diverged, match=r"the state 'net.bias' is not finite at step 4"):
        for step in stage.steps(20, save_every=1, net=net):
            if step == 4:
                nn.init.constant_(net.bias, float("nan"))  # the save comes before the next log
    kept = torch.load(stage.root / "state.pt", weights_only=True)
    assert kept["step"] == 4
    assert torch.isfinite(kept["of"]["net"]["bias"]).all()


def test_a_loop_that_ignores_the_divergence_is_still_stopped_unsaved(tmp_path: Path) -> None:
    stage, steps = Run(tmp_path, quiet=True).stage("tune"), []
    with pytest.raises(Diverged, match="at step 2"):
        for step in stage.steps(20, save_every=1, net=nn.Linear(1, 1)):
            steps.append(step)
            try:
                stage.log(step, loss=float("inf") if step == 2 else 0.0)
            except Diverged:
                continue
    assert steps == [0, 1, 2]
    assert torch.load(stage.root / "state.pt", weights_only=True)["step"] == 2


def test_an_infinity_that_was_there_from_the_start_is_no_divergence(tmp_path: Path) -> None:
    mask = nn.Module()
    mask.register_buffer("mask", torch.full((2,), -torch.inf))
    for total in (2, 4):
        assert len(list(Run(tmp_path, quiet=True).stage("a").steps(total, mask=mask))) == 2


# --- log, images, progress ------------------------------------------------------------------------


def test_the_log_has_one_line_every_few_steps_and_one_for_the_last(tmp_path: Path) -> None:
    run = Run(tmp_path, quiet=True, log_every=4)
    stage = run.stage("a")
    for step in stage.steps(11):
        stage.log(step, g=torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True))
        stage.log(step, d=step)
    rows = read_log(stage.root / "log.jsonl")
    assert [row["step"] for row in rows] == [0, 4, 8, 10]
    assert [(row["g"], row["d"]) for row in rows] == [(0.5, s) for s in (0.0, 4.0, 8.0, 10.0)]
    assert all(row["elapsed_s"] >= 0 for row in rows)
    stage.log(12, after=1.0)  # outside the loop it is on the disk at once
    assert read_log(stage.root / "log.jsonl")[-1]["after"] == 1.0


def test_a_torn_log_line_and_lines_after_the_saved_step_are_dropped_on_resume(
    tmp_path: Path,
) -> None:
    train(tmp_path, total=5)
    log = tmp_path / "toy" / "log.jsonl"
    with log.open("ab") as file:
        file.write(b'{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
    assert [row["step"] for row in read_log(log)] == [0, 1, 2, 3, 4, 5]
    train(tmp_path, total=8)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(8))
    assert read_log(tmp_path / "none.jsonl") == []


def test_an_image_grid_has_the_colours_of_the_images(tmp_path: Path) -> None:
    stage = Run(tmp_path, quiet=True).stage("a")
    x = torch.stack([torch.full((3, 4, 5), v) for v in (-1.0, 0.0, 9.0)])
    x[1, 0] = 1.0
    stage.images(7, "fake", x, columns=2)
    pixels = np.asarray(Image.open(tmp_path / "a" / "images" / "fake-0000007.png"))
    assert pixels.shape == (2 * 4 + 2, 2 * 5 + 2, 3)
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[0, 7].tolist() == [255, 128, 128]
    assert pixels[6, 0].tolist() == pixels[0, 5].tolist() == [255, 255, 255]
    with pytest.raises(TypeError, match="n, 1 to 4, h, w"):
        stage.images(7, "fake", x[0])


def test_a_budget_of_minutes_ends_the_loop_and_is_kept_over_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_s, now_s = 1 / 64, [0.0]  # a clock that only the steps move, in exact floats
    monkeypatch.setattr("ganpress.run.stage.time", SimpleNamespace(monotonic=lambda: now_s[0]))

    def steps(minutes: float, most: int | None = None) -> tuple[int, float]:
        stage, done, shares = Run(tmp_path, quiet=True).stage("a"), 0, [0.0]
        for _ in stage.steps(1000, save_every=1, minutes=minutes, net=nn.Linear(1, 1)):
            assert shares[-1] <= stage.progress < 1.0
            shares.append(stage.progress)
            if done == most:
                break
            now_s[0] += step_s
            done += 1
        return done, stage.elapsed_s

    budget = 15.5 * step_s / 60
    assert steps(budget, most=5) == (5, 5 * step_s)
    assert steps(budget) == (11, 16 * step_s)  # 16 in all, not 16 each
    assert steps(budget) == (0, 16 * step_s)
    stage = Run(tmp_path, quiet=True).stage("a")
    assert list(stage.steps(1000, minutes=budget / 2, net=nn.Linear(1, 1))) == []
    assert stage.progress == 1.0


def test_progress_off_a_terminal_is_a_plain_line_with_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    for quiet in (True, False):
        stage = Run(tmp_path / str(quiet), quiet=quiet).stage("tune")
        for step in stage.steps(3):
            stage.log(step, loss=0.25)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"tune: {n}/3, 0:00:00 gone, 0:00:00 left, loss 0.25" for n in (1, 2, 3)]


def test_progress_on_a_terminal_is_a_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(progress, "_REFRESH_EVERY_S", 0.0)
    stage = Run(tmp_path).stage("tune")
    for step in stage.steps(3):
        stage.log(step, loss=0.25)
    shown = capsys.readouterr().err
    assert "tune" in shown and "2/3" in shown and "loss 0.25" in shown


# --- a full disk ----------------------------------------------------------------------------------


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_state_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    stage, net = Run(tmp_path, quiet=True).stage("a"), nn.Linear(2, 2)
    with pytest.raises(DiskFull, match=r"No space left while writing .*Free some space"):
        for step in stage.steps(4, save_every=2, net=net):
            if step == 2:
                monkeypatch.setattr(os, call, no_space)
    with pytest.raises(DiskFull):
        Run(tmp_path, quiet=True).write_json("card.json", {"new": 1})
    monkeypatch.undo()
    assert torch.load(stage.root / "state.pt", weights_only=True)["step"] == 2
    assert "new" not in json.loads((tmp_path / "card.json").read_text())
    assert not list(tmp_path.rglob("*.tmp"))
    again = Run(tmp_path, quiet=True).stage("a")
    assert list(again.steps(4, net=net)) == [2, 3]


def fill_the_disk(root: Path) -> None:
    """A run whose files may grow no more from step 10 on, by the system's own limit."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    stage = Run(root, quiet=True, log_every=1).stage("toy")
    message = ""
    try:
        for step in stage.steps(30, save_every=5, count=Count(), own=torch.Generator()):
            stage.log(step, loss=1.0)
            if step == 10:
                room = (stage.root / "log.jsonl").stat().st_size + 60  # for a line and a half
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    except DiskFull as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (root / "message").write_text(message)


def save_on_a_full_disk(root: Path) -> None:
    """torch.save of 4 MB where only 100 kB fit."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = root / "state.pt"
    replace_file(path, lambda file: torch.save({"small": torch.zeros(3)}, file))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        replace_file(path, lambda file: torch.save({"big": torch.zeros(1_000_000)}, file))
    except DiskFull as error:
        (root / "message").write_text(str(error))


def test_a_disk_that_fills_up_in_a_write_stops_the_run_with_whole_files(tmp_path: Path) -> None:
    process = in_process(fill_the_disk, tmp_path)
    process.join()
    assert process.exitcode == 0
    assert "log.jsonl" in (tmp_path / "message").read_text()
    rows = (tmp_path / "toy" / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == list(range(10))
    assert saved(tmp_path)["step"] == 10
    process = in_process(save_on_a_full_disk, tmp_path)
    process.join()
    assert process.exitcode == 0
    assert "state.pt" in (tmp_path / "message").read_text()
    assert list(torch.load(tmp_path / "state.pt", weights_only=True)) == ["small"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_writers_of_one_file_leave_a_whole_file(tmp_path: Path) -> None:
    path, met = tmp_path / "a.bin", threading.Barrier(2)

    def write(data: bytes) -> None:
        def halves(file: Any) -> None:
            file.write(data[:1000])
            file.flush()
            met.wait(PATIENCE_S)
            file.write(data[1000:])

        replace_file(path, halves)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, (bytes(2000), b"1" * 3000)))
    assert path.read_bytes() in (bytes(2000), b"1" * 3000)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_what_a_killed_process_had_begun_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "toy" / "images").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "toy"):
        (folder / ".123-456.tmp").write_text("half")
        (folder / "mine.tmp").write_text("mine")
    Run(tmp_path, quiet=True)
    assert sorted(p.name for p in tmp_path.rglob("*.tmp")) == ["mine.tmp", "mine.tmp"]


def test_an_error_that_is_no_full_disk_stays_itself_and_leaves_no_temporary_file(
    tmp_path: Path,
) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        Run(tmp_path).write_json("a.json", {"a": object()})
    with pytest.raises(ZeroDivisionError):
        replace_file(tmp_path / "a.json", lambda file: 1 / 0)
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert not list(tmp_path.glob("*.tmp"))


def test_a_setting_that_a_run_does_not_know_yet_had_its_default_there(tmp_path: Path) -> None:
    Run(tmp_path, config={"lr": 1.0}, quiet=True)
    usual = {"lr": 9.0, "mask": {"source": None}}
    now = {"lr": 1.0, "mask": {"source": None}}
    Run(tmp_path, config=now, usual=usual, quiet=True)
    for wrong in ({"lr": 9.0, **{"mask": usual["mask"]}}, {"lr": 1.0, "mask": {"source": "x"}}):
        with pytest.raises(ConfigError, match="other settings"):
            Run(tmp_path, config=wrong, usual=usual, quiet=True)
    with pytest.raises(ConfigError, match="mask: not set in the run"):
        Run(tmp_path, config=now, quiet=True)
