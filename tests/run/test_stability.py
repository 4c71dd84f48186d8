"""A game that is lost goes back, more gently; the best weights are kept, not the last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from slim_runs import log_of, settings, slim, teacher_of
from thin import thinned
from torch import Tensor, nn

from ganpress.data import Images, evaluation, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, Diverged
from ganpress.losses.distance import Distance
from ganpress.methods import compress as compression
from ganpress.methods.compress import compress
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.source import Source
from ganpress.run.restarts import Best, Watch
from ganpress.run.run import Run, Stage
from ganpress.training.setup import distance_on


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("photos"), 12, seed=3, size=40))


def run_of(root: Path) -> Run:
    return Run(root, quiet=True, log_every=1, save_every_s=0.0)


def slimmed(config: SlimConfig, photos: Images, root: Path) -> dict[str, Tensor]:
    return slim(teacher_of("cartoongan"), photos, config, run_of(root)).net.state_dict()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def losing(monkeypatch: pytest.MonkeyPatch, where: str, times: int) -> list[float]:
    """Make the loss of a step ("stage/step") infinite so many times; the learning rates seen."""
    log, left, rates = Stage.log, [times], []

    def lose(self: Stage, step: int, /, **scalars: Any) -> None:
        if self.name == where.split("/")[0] and "lr" in scalars:
            rates.append(float(scalars["lr"]))
        if f"{self.name}/{step}" == where and left[0] > 0:
            left[0] -= 1
            scalars["loss/gan"] = float("inf")
        log(self, step, **scalars)

    monkeypatch.setattr(Stage, "log", lose)
    return rates


@pytest.mark.parametrize("where", thinned(["sparsify/3", "finetune/2"], 1))
def test_a_stage_that_diverges_goes_back_and_goes_on_more_gently(
    where: str, photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(target={"macs": 0.5}, sparsify={"schedule": "constant"})
    rates = losing(monkeypatch, where, 1)
    slimmed(config, photos, tmp_path)
    stage, step = where.split("/")
    told = json.loads((tmp_path / f"{stage}-restarts.json").read_text())
    assert len(told["why"]) == 1
    assert "'loss/gan' is inf" in told["why"][0]
    lines = log_of(tmp_path, stage)
    assert [line["step"] for line in lines] == list(range({"finetune": 3, "sparsify": 10}[stage]))
    if stage == "sparsify":
        lrs = [line["lr"] for line in lines]
        assert lrs[int(step)] == pytest.approx(lrs[int(step) - 1] / 2)
    else:
        assert rates[-1] == pytest.approx(rates[-2] / 2)


def test_a_run_that_diverges_again_and_again_stops_with_advice(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(monkeypatch, "finetune/2", 9)
    with pytest.raises(Diverged) as error:
        slimmed(settings(target={"macs": 0.5}), photos, tmp_path)
    for part in ("went back 2 time(s)", "lower the learning rate", "The last good state"):
        assert part in str(error.value)
    assert (tmp_path / "finetune" / "state.pt").exists()


def test_a_rho_under_which_all_collapses_stops_with_advice_and_a_good_state(
    photos: Images, tmp_path: Path
) -> None:
    config = settings(sparsify={"rho": 60.0, "steps": 10}, restarts=1, min_channels=2)
    told = r"shrunk to min_channels=2 \(lower sparsify\.rho\).*went back 1 time"
    with pytest.raises(Diverged, match=told):
        slimmed(config, photos, tmp_path)


def test_a_rho_that_is_too_large_is_lowered_until_it_is_not(photos: Images, tmp_path: Path) -> None:
    config = settings(sparsify={"rho": 60.0, "steps": 10}, restarts=4, min_channels=2)
    state = slimmed(config, photos, tmp_path)
    assert json.loads((tmp_path / "sparsify-restarts.json").read_text())["why"]
    assert state


def test_a_leap_of_the_loss_is_told_and_a_steady_one_is_not() -> None:
    watch = Watch()
    assert not any(watch(torch.tensor(1.0 + 0.1 * k)) for k in range(40))
    assert "more than 100 times its median" in str(watch(torch.tensor(400.0)))
    assert watch(torch.tensor(float("nan"))) is None
    again = Watch()
    again.load_state_dict(watch.state_dict())
    assert again(torch.tensor(500.0))


def test_the_best_weights_are_kept_and_survive_a_resume() -> None:
    net = nn.Linear(1, 1, bias=False)

    def state(value: float) -> dict[str, Tensor]:
        return {"weight": torch.full((1, 1), value)}

    best = Best(net, lambda shown: abs(float(shown.get_parameter("weight").detach()) - 2), 1)
    for step, value in enumerate((5.0, 2.5, 3.0)):
        best.look(step, state(value))
    other = Best(net, best.measure, 1)
    other.load_state_dict(best.state_dict())
    other.look(3, state(9.0), last=True)
    assert float(other.select(state(9.0))["weight"]) == 2.5
    assert other.facts() == {"kept_step": 1, "held_out": 0.5}
    assert Best(net, None, 1).select(state(9.0))["weight"] == 9.0


def test_the_student_with_the_best_held_out_distance_is_kept(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = {"select": "best", "validate_every": 2, "holdout_images": 3, "steps": 8, "lr": 5e-3}
    config = settings(target={"macs": 0.5}, procedure="gd", finetune=keep)
    whole = slimmed(config, photos, tmp_path / "whole")
    facts = json.loads((tmp_path / "whole" / "finetune" / "done.json").read_text())
    seen = {
        x["step"]: x["held-out"] for x in log_of(tmp_path / "whole", "finetune") if "held-out" in x
    }
    assert list(seen) == [1, 3, 5, 7]
    assert facts["held_out"] == min(seen.values())
    assert seen[facts["kept_step"]] == facts["held_out"]

    log = Stage.log

    def kill(self: Stage, step: int, /, **scalars: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt
        log(self, step, **scalars)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "log", kill)
        with pytest.raises(KeyboardInterrupt):
            slimmed(config, photos, tmp_path / "killed")
    assert equal(slimmed(config, photos, tmp_path / "killed"), whole)


def test_a_step_that_is_kept_though_no_look_was_due_is_the_last_one(
    photos: Images, tmp_path: Path
) -> None:
    keep = {"select": "best", "validate_every": 100, "holdout_images": 3, "steps": 5}
    slimmed(settings(target={"macs": 0.5}, procedure="gd", finetune=keep), photos, tmp_path)
    facts = json.loads((tmp_path / "finetune" / "done.json").read_text())
    assert facts["kept_step"] == 4


def test_a_procedure_without_distillation_is_not_chosen_by_the_teachers_pictures(
    photos: Images, tmp_path: Path
) -> None:
    keep = {"select": "best", "validate_every": 1, "holdout_images": 3, "steps": 4}
    slimmed(settings(target={"macs": 0.5}, procedure="cp", finetune=keep), photos, tmp_path)
    assert "kept_step" not in json.loads((tmp_path / "finetune" / "done.json").read_text())


def test_all_seeds_hold_out_the_same_images(photos: Images) -> None:
    source, kept = Source(teacher_of("cyclegan"), photos), []
    for seed in (0, 1):
        rest, _ = source.split(4, 32, seed)
        kept.append(rest.images.digest() if rest.images else None)
    assert None not in kept
    assert kept[0] == kept[1] != photos.digest()


def test_what_is_held_out_is_never_trained_on(photos: Images) -> None:
    teacher = teacher_of("cyclegan")
    rest, held = Source(teacher, photos).split(4, 32, seed=0)
    assert rest.images is not None
    assert len(rest.images) == len(photos) - 4
    assert rest.images.digest() != photos.digest()
    [held_out] = held.inputs
    everything, left = (
        torch.cat([batch.x for batch in evaluation(images, batch=1, size=32)])
        for images in (photos, rest.images)
    )
    apart = [(everything - picture).abs().amax((1, 2, 3)) for picture in held_out]
    assert len(held_out) == 4 and all(float(d.min()) == 0 for d in apart)
    assert not any(torch.equal(a, b) for a in held_out for b in left)
    measure = distance_on(held, teacher, Distance(settings().distance))
    assert measure(teacher_of("cyclegan").net) == 0
    assert measure(teacher_of("cyclegan", seed=1).net) > 0
    with pytest.raises(ConfigError, match="leave nothing of 12 images"):
        Source(teacher, photos).split(12, 32, seed=0)


def test_a_run_that_keeps_the_best_trains_on_what_is_left(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = {"select": "best", "validate_every": 2, "holdout_images": 3, "steps": 2}
    config, seen = settings(target={"macs": 0.5}, procedure="gd", finetune=keep), []
    batches = Source.batches

    def listen(self: Source, *given: Any) -> Any:
        seen.append(self.images)
        return batches(self, *given)

    monkeypatch.setattr(Source, "batches", listen)
    slimmed(config, photos, tmp_path)
    rest, _ = Source(teacher_of("cartoongan"), photos).split(3, 32, seed=0)
    assert rest.images is not None
    assert [images.digest() for images in seen if images] == [rest.images.digest()]


def test_going_back_is_told_in_a_line_with_the_reason_and_the_new_rates(
    photos: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = settings(procedure="gd", target={"macs": 0.5})
    for quiet in (False, True):
        losing(monkeypatch, "finetune/2", 2)
        run = Run(tmp_path / str(quiet), quiet=quiet, log_every=1, save_every_s=0.0)
        slim(teacher_of("cartoongan"), photos, config, run)
        lines = [line for line in capsys.readouterr().err.splitlines() if "diverged" in line]
        told = json.loads((run.root / "finetune-restarts.json").read_text())
        assert told["why"] == ["'loss/gan' is inf at step 2 of stage 'finetune'"] * 2
        assert all(at.startswith("20") for at in told["at"]) and len(told["at"]) == 2
        assert len(lines) == (0 if quiet else 2)
        for line, factor in zip(lines, ("1/2 (1 of", "1/4 (2 of"), strict=False):
            assert "finetune: diverged, 'loss/gan' is inf at step 2" in line
            assert f"rho and learning rates times {factor} at most 2)" in line


def test_a_run_that_gave_up_keeps_the_reason_in_folder_and_report_until_it_goes_on(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "finish", lambda *_, **__: None)

    def again(**other: Any) -> None:
        asked = settings(procedure="gd", target={"macs": 0.5}, **other)
        compress(teacher_of("cartoongan"), photos, run=tmp_path, config=asked, quiet=True)

    with monkeypatch.context() as patch:
        losing(patch, "finetune/2", 9)
        with pytest.raises(Diverged) as error:
            again()
    assert json.loads((tmp_path / "failed.json").read_text())["error"] == str(error.value)
    html = (tmp_path / "report.html").read_text()
    assert "This run gave up on 20" in html
    assert "lower the learning rate" in html and "went back 2 time(s)" in html
    assert html.count("It went back to its last saved state") == 2
    again(restarts=1)  # nothing was saved, so that other settings may try in the same folder
    assert not (tmp_path / "failed.json").exists()
    assert not (tmp_path / "finetune-restarts.json").exists()
    assert (tmp_path / "student.safetensors").exists()
