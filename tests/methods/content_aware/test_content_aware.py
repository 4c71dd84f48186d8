"""Content-Aware GAN Compression from teacher to student: every family, stopped runs, what both
networks are shown."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cagc_runs import press, settings
from family_runs import write_domains
from mask_files import red_network
from nets import WIRINGS, Wiring, difference, every_quick_family
from ofa_runs import given_for, log_of
from PIL import Image
from safetensors.torch import load_file
from slim_setup import pictures_of
from thin import thinned
from torch import Tensor

from ganpress.channels.recalibrate import batch_norms
from ganpress.methods.base import Given
from ganpress.methods.content_aware import method
from ganpress.methods.content_aware.passes import Passes, Styled, relation_taps
from ganpress.methods.content_aware.requests import remarks, resolve
from ganpress.models.checkpoint import load, save
from ganpress.models.source import Source, blank
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.run import Stage
from ganpress.training.styles import random_inputs
from ganpress.training.teacher import CachedTeacher


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("content-aware"))


def done(run: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / stage / "done.json").read_text())
    return found


def wiring_name(wiring: Wiring) -> str:
    return next(n for n, w in WIRINGS.items() if w is wiring)


@pytest.mark.parametrize(
    ("name", "times"),
    [("cyclegan instance", 1), ("gaugan instance", 1), ("sngan", 2), ("munit", 2)],
)
def test_the_teacher_runs_once_a_step_where_both_passes_read_the_same(
    name: str, times: int
) -> None:
    net, teacher = WIRINGS[name].net(1), CachedTeacher(WIRINGS[name].net(0))
    passes, batches = Passes(net, 2), pictures_of(name.split()[0], 2)
    for number, batch in enumerate(batches, 1):
        first, second = (passes(batch, shifted=s).wanted(teacher).picture for s in (False, True))
        assert teacher.computed == number * times * len(batch.x)
        assert torch.equal(first, second) == (times == 1)
        alone = teacher.net(*passes(batch).inputs)
        assert torch.equal(first, alone) == (times == 1)  # of this batch, not of the last one


@every_quick_family
def test_every_family_is_scored_cut_and_retrained_to_a_plain_student(
    wiring: Wiring, home: Path, tmp_path: Path
) -> None:
    given = given_for(wiring_name(wiring), home)
    before = copy.deepcopy(given.teacher.net.state_dict())
    student = press(given, settings(data={"size": wiring.pixels}), tmp_path)
    scores = load_file(tmp_path / "score" / "scores.safetensors")
    assert {g: len(s) for g, s in scores.items()} == wiring.widths
    halves = {g: w - w // 2 for g, w in wiring.widths.items()}
    assert student.widths == halves == done(tmp_path, "cut")["widths"]
    [first, last] = log_of(tmp_path, "finetune")
    assert {"loss/gan", "loss/pixel", "loss/perceptual", "loss/d"} <= first.keys()
    assert ("loss/path" in first, "loss/path" in last) == (wiring.name == "stylegan2", False)
    again = load(save(student, tmp_path / "again.safetensors"))
    shown = wiring.inputs(3)
    assert torch.equal(again(*shown), student(*shown)) and not student.net.training
    untouched = given.teacher.net.state_dict()
    assert all(torch.equal(before[n], t) for n, t in untouched.items())


def test_the_students_channels_are_the_teachers_best_ones(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = given_for("stylegan2", home)
    monkeypatch.setattr(method, "train", lambda *_: None)
    student = press(given, settings(), tmp_path)
    scores = load_file(tmp_path / "score" / "scores.safetensors")
    kept = {g: s.topk(len(s) - len(s) // 2).indices.sort().values for g, s in scores.items()}
    state, whole = student.net.state_dict(), given.teacher.net.state_dict()
    assert torch.equal(state["const"], whole["const"][:, kept["const"]])
    assert torch.equal(state["layers.0.bias"], whole["layers.0.bias"][kept["conv4"]])


def test_batch_norms_statistics_are_read_anew_at_the_end(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = given_for("cyclegan batch", home)
    monkeypatch.setattr("ganpress.training.setup.CALIBRATED", 4)
    monkeypatch.setattr("ganpress.training.setup.CALIBRATED_AT_ONCE", 4)
    student = press(given, settings(), tmp_path)
    norm = batch_norms(student.net)[0]
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    student(*Source(given.teacher, given.images).sample(4, 32))
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


# --- what both networks are shown -----------------------------------------------------------------


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("mixing", [0.0, 1.0])
def test_equal_networks_make_equal_pictures_of_one_pass(mixing: float, shifted: bool) -> None:
    """Same z, same crossover, same noise at both: with other noise maps they would differ."""
    net = WIRINGS["stylegan2"].net()
    twin = CachedTeacher(copy.deepcopy(net))
    passes = Passes(net, 4, mixing, taps=("layers.3",), shift=5.0)
    torch.manual_seed(0)
    shown = passes(blank(4), shifted=shifted)
    assert isinstance(shown, Styled)
    made, wanted = shown.made(net), shown.wanted(twin)
    assert [len(p) for p in made.pictures] == [4, 4, 4]
    assert all(torch.equal(a, b) for a, b in zip(made.pictures, wanted.pictures, strict=True))
    assert made.picture.requires_grad and not wanted.picture.requires_grad
    assert list(made.maps) == (["layers.3"] if shifted else [])
    if shifted:
        assert torch.equal(made.maps["layers.3"], wanted.maps["layers.3"])
        plain, moved = made.maps["layers.3"].chunk(2)
        assert difference(plain, moved) > 0.01
        assert difference(made.picture, Passes(net, 4, mixing)(blank(4)).made(net).picture) > 0.01
    both = random_inputs(net, mixing, 4)
    assert (both.crossover < net.styles) == (mixing == 1.0)


def test_an_uncut_student_differs_from_its_teacher_by_nothing_in_the_first_step(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = given_for("stylegan2", home)
    monkeypatch.setattr(
        method,
        "cut_student",
        lambda *_: replace(given.teacher, net=copy.deepcopy(given.teacher.net).requires_grad_()),
    )
    press(given, settings(finetune={"lr": 0.01}, distil={"mode": "intermediate"}), tmp_path)
    first, last = log_of(tmp_path, "finetune")
    assert first["loss/pixel"] == 0 < last["loss/pixel"]


def test_principal_directions_are_the_teachers(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, minimised, train = given_for("stylegan2", home), [], method.train
    teacher: Any = given.teacher.net
    other = replace(given.teacher, net=WIRINGS["stylegan2"].net(1).requires_grad_())
    monkeypatch.setattr(method, "cut_student", lambda *_: other)
    monkeypatch.setattr(method, "train", lambda *a: [minimised.append(a[3]), train(*a)])
    press(given, settings(distil={"relation": 30.0, "masked": False}), tmp_path)
    w = teacher.mapping(torch.randn(100, 8, generator=torch.Generator().manual_seed(3)))
    wanted = torch.linalg.svd((w - w.mean(0)).detach()).Vh
    assert difference((minimised[0].directions.vectors @ wanted.T).abs(), torch.eye(8)) < 1e-3
    assert [line["loss/relation"] > 0 for line in log_of(tmp_path, "finetune")] == [True, True]


@pytest.mark.parametrize(("side", "taps"), [(4, (0,)), (8, (1, 2)), (16, (3, 4)), (32, (3, 4))])
def test_relations_are_of_both_layers_of_a_resolution(side: int, taps: tuple[int, ...]) -> None:
    net = WIRINGS["stylegan2"].net()  # of 16 pixels
    assert relation_taps(net, side) == tuple(f"layers.{k}" for k in taps)
    assert relation_taps(WIRINGS["sngan"].net(), side) == ()


# --- as the teacher was trained -------------------------------------------------------------------


def test_a_teacher_without_discriminator_gets_one_of_its_familys_kind(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = given_for("stylegan2", home)
    bare = Given(replace(given.teacher, discriminator=None), None)
    press(bare, settings(finetune={"steps": 1}), tmp_path, quiet=False)
    assert "has no discriminator: a fresh one (of the family's own kind)" in capsys.readouterr().err
    [line] = log_of(tmp_path, "finetune")
    assert line["loss/r1"] > 0  # StyleGAN2's, which a PatchGAN does not have


@pytest.mark.parametrize("name", ["sngan conditional", "cyclegan instance"])
def test_other_families_without_discriminator_go_on_too(
    name: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = given_for(name, home)
    bare = Given(replace(given.teacher, discriminator=None), given.images)
    press(bare, settings(finetune={"steps": 1}), tmp_path, quiet=False)
    kind = "of the family's own kind" if "sngan" in name else "PatchGAN"
    assert f"a fresh one ({kind})" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "changes", "wanted"),
    [
        ({"train": "stylegan2", "path": 3.0, "path_every": 8}, {}, (3.0, 8)),
        ({"train": "stylegan2", "path": 0.0, "path_every": 8}, {}, (0.0, 8)),
        ({"train": "stylegan2", "path": 3.0, "path_every": 8}, {"weight": 1.0}, (1.0, 8)),
        ("an old file", {}, (2.0, 4)),
        (None, {"every": 2}, (2.0, 2)),
    ],
)
def test_the_path_length_is_penalised_as_in_the_teachers_training(
    recipe: Any, changes: dict[str, Any], wanted: tuple[float, int]
) -> None:
    model = WIRINGS["stylegan2"].model()
    model.provenance = {"recipe": recipe} if recipe else {}
    path = resolve(Given(model, None), settings(path=changes)).path
    assert (path.weight, path.every) == wanted


@pytest.mark.parametrize(
    ("name", "batch", "lr"),
    [("stylegan2", 16, 2e-3), ("stylegan2", 4, 2e-4), ("sngan", 4, 2e-4), ("gaugan", 4, 1e-4)],
)
def test_rates_are_the_familys_and_a_tenth_of_stylegan2s_for_small_batches(
    name: str, batch: int, lr: float
) -> None:
    c = settings(data={"batch": batch}, finetune={"lr": None})
    used = resolve(Given(WIRINGS[name].model(), None), c)
    assert used.finetune.lr == pytest.approx(lr)


@pytest.mark.parametrize(
    ("batch", "said"),
    [(4, ""), (8, ""), (6, "over 3 (--set data.batch=8)"), (1, "over 1 (--set data.batch=4)")],
)
def test_a_batch_that_does_not_suit_the_minibatch_statistics_is_said(
    batch: int, said: str, home: Path
) -> None:
    given = given_for("stylegan2", home)
    lines = "".join(remarks(given, resolve(given, settings(data={"batch": batch})), None))
    assert lines.endswith(f"{said}.") if said else lines == ""


def test_one_picture_at_a_time_is_enough(home: Path, tmp_path: Path) -> None:
    student = press(given_for("stylegan2", home), settings(data={"batch": 1}), tmp_path)
    assert all(t.isfinite().all() for t in student.net.state_dict().values())


def test_eight_bits_are_trained_and_kept_in_the_file(home: Path, tmp_path: Path) -> None:
    student = press(given_for("sngan", home), settings(quantise={"bits": 8}), tmp_path)
    again = load(save(student, tmp_path / "8.safetensors"))
    quantiser = quantiser_of(again.net)
    assert quantiser is not None and quantiser.card()["bits"] == 8


# --- stopped runs ---------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


def killing(call: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The function, which kills the process in its call number ``at``."""
    calls = 0

    def killed(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed
        return call(*given, **named)

    return killed


LONG: dict[str, Any] = {
    "data": {"batch": 4},
    "discriminator": {"pool": 2},
    "path": {"every": 2},
    "distil": {"relation": 1.0, "mmd": 1.0},
    "finetune": {
        **{"steps": 5, "ema": 0.9, "decay": 0.5},
        **{"select": "best", "holdout_images": 1, "validate_every": 2},
    },
}


@pytest.fixture(scope="module", params=thinned(["stylegan2", "cyclegan batch"], 1))
def stopped(request: Any, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Given, settings, and the student of a run that was never stopped."""
    given = given_for(request.param, home)
    changes = {**LONG, "distil": {}} if given.images else LONG
    root = tmp_path_factory.mktemp("whole")
    return given, settings(**changes), press(given, settings(**changes), root), root


@pytest.mark.parametrize("at", ["score", "cut", "finetune"])
def test_a_run_killed_in_any_stage_ends_as_if_it_had_never_been(
    at: str, stopped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, config, student, root = stopped
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if at == "finetune":
            patch.setattr(Stage, "log", killing(Stage.log, 4 * 3))
        else:
            name = {"score": "score_channels", "cut": "pruned"}[at]
            place = f"ganpress.methods.content_aware.pruning.{name}"
            real: Any = __import__(place.rpartition(".")[0], fromlist=[name])
            patch.setattr(place, killing(getattr(real, name), 1))
        press(given, config, tmp_path, save_every_s=0.0)
    assert (tmp_path / "score" / "done.json").exists() == (at != "score")
    again = press(given, config, tmp_path, save_every_s=0.0)
    a, b = student.net.state_dict(), again.net.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
    ends = [
        torch.load(r / "finetune" / "state.pt", weights_only=True)["of"] for r in (root, tmp_path)
    ]
    for n in ("discriminator", "student", "path"):
        assert all(torch.equal(t, ends[1][n][k]) for k, t in ends[0][n].items()), n


def test_a_finished_score_is_not_counted_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = given_for("sngan", home)
    first = press(given, settings(), tmp_path)
    away = "ganpress.methods.content_aware.pruning.score_channels"
    monkeypatch.setattr(away, lambda *_: pytest.fail("counted again"))
    again = press(given, settings(), tmp_path)
    assert all(torch.equal(t, again.net.state_dict()[n]) for n, t in first.net.state_dict().items())


# --- where pictures matter ------------------------------------------------------------------------


def test_masks_of_photos_decide_scores_and_distances(home: Path, tmp_path: Path) -> None:
    """Mask files beside the photos: the same run without them scores and compares otherwise."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for photo in sorted((home / "x").iterdir()):
        mask = np.zeros((64, 64), np.uint8)
        mask[:, :20] = 255
        Image.fromarray(mask).save(folder / f"{photo.stem}.png")
    changes: dict[str, Any] = {"data": {"flip": False}, "distil": {"perceptual": 0.0}}
    runs = {
        "whole": settings(**changes),
        "masked": settings(**changes, mask={"source": str(folder)}),
        "scored": settings(
            **{**changes, "distil": {"perceptual": 0.0, "masked": False}},
            mask={"source": str(folder)},
        ),
    }
    given = given_for("cyclegan instance", home)
    scores, pixel = {}, {}
    for name, config in runs.items():
        press(given, config, tmp_path / name)
        scores[name] = load_file(tmp_path / name / "score" / "scores.safetensors")["trunk"]
        pixel[name] = log_of(tmp_path / name, "finetune")[0]["loss/pixel"]
    assert torch.equal(scores["masked"], scores["scored"])
    assert (scores["masked"] < scores["whole"]).all()
    assert pixel["masked"] < 0.7 * pixel["scored"]


def test_a_mask_network_sees_the_teachers_pictures_of_a_generator_that_reads_noise(
    home: Path, tmp_path: Path
) -> None:
    given = given_for("stylegan2", home)
    red = {"source": str(red_network(tmp_path / "net"))}
    found = {}
    for name, change in {
        "whole": {"masked": False},
        "red": {},
        "within": {"mask_norm": True},
    }.items():
        config = settings(mask=red, distil=change, finetune={"steps": 1})
        press(given, config, tmp_path / name)
        found[name] = log_of(tmp_path / name, "finetune")[0]["loss/pixel"]
    assert found["red"] < found["whole"]
    assert found["red"] < found["within"]
