"""GAN Compression from teacher to student: every family, stopped runs, runs that are taken over."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_runs import write_domains
from nets import WIRINGS, Wiring, difference, every_family
from ofa_runs import brief, given_for, log_of, press, settings, teacher_of
from thin import thinned

from ganpress.channels.recalibrate import recalibrate
from ganpress.channels.take import shrink
from ganpress.data import open_images
from ganpress.errors import ConfigError, NotPossible
from ganpress.measures.cost import measure
from ganpress.methods.base import Given
from ganpress.methods.compress import compress
from ganpress.methods.once_for_all import holdout, method, supernet
from ganpress.methods.once_for_all.requests import (
    affordable,
    costs_of,
    falling_budget,
    fixed_widths,
    ghost,
    resolve,
    space_of,
)
from ganpress.methods.once_for_all.reuse import check_reuse, take_over
from ganpress.methods.once_for_all.sampling import near, sampler, widest_uniform
from ganpress.methods.once_for_all.scoring import At, Scorer
from ganpress.methods.once_for_all.search.evolution import Affords
from ganpress.methods.once_for_all.search.settings import SearchSettings
from ganpress.methods.once_for_all.search.space import Slot, Space
from ganpress.methods.once_for_all.variants import budgets
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.source import Source, split_images
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.run import Run, Stage
from ganpress.training.teacher import CachedTeacher


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("once-for-all"))


def share(student: Model, teacher: Model, name: str = "macs") -> float:
    of = [getattr(measure(m.net, m.family.image.size), name) for m in (student, teacher)]
    return float(of[0]) / float(of[1])


def done(run: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / stage / "done.json").read_text())
    return found


@every_family
def test_every_family_gives_the_sub_generator_that_was_searched(
    wiring: Wiring, home: Path, tmp_path: Path
) -> None:
    given = given_for(wiring_name(wiring), home)
    config = settings(data={"size": wiring.pixels}, target={"macs": 0.8})
    student = press(given, config, tmp_path)
    found = done(tmp_path, "search")
    assert share(student, given.teacher) <= 0.8
    groups = wiring.widths
    assert {**groups, **found["widths"]} == student.widths  # groups of no slot stay whole
    assert student.options.get("separable", False) == ("separable" in wiring.family.options)
    whole = load(tmp_path / "supernet" / "student.safetensors")
    assert whole.widths == groups
    at = At(whole.net.eval(), found["widths"])
    recalibrate(at, [trained_on(given, 3, wiring.pixels)])
    shown = wiring.inputs(3)
    again = load(save(student, tmp_path / "again.safetensors"))
    with torch.no_grad():
        made = student(*shown)
        assert difference(at.eval()(*shown), made) <= 1e-5
        assert torch.equal(again(*shown), made)
    assert not student.net.training


def trained_on(given: Given, count: int, size: int) -> tuple[torch.Tensor, ...]:
    """Inputs of those images that are not held out."""
    images = given.images and split_images(given.images, 2)[0]
    return Source(given.teacher, images).sample(count, size)


def wiring_name(wiring: Wiring) -> str:
    return next(n for n, w in WIRINGS.items() if w is wiring)


def test_the_end_students_statistics_are_those_of_the_calibration_images(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first BatchNorm by hand: means over batches of each batch's mean and variance."""
    given = given_for("cyclegan batch", home)
    config = settings(finetune={"steps": 1}, search={"calibrate": 5}, data={"batch": 3})
    monkeypatch.setattr(holdout, "CALIBRATED", 3)
    student = press(given, config, tmp_path)
    (x,) = trained_on(given, 5, 32)
    name, norm = next(
        (n, m) for n, m in student.net.named_modules() if isinstance(m, torch.nn.BatchNorm2d)
    )
    heard: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    with torch.no_grad():
        student(x)
    parts = heard[0].split(3)  # of 3 and 2
    wanted = torch.stack([p.mean((0, 2, 3)) for p in parts]).mean(0)
    variance = torch.stack([p.var((0, 2, 3)) for p in parts]).mean(0)
    assert norm.running_mean is not None and norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, wanted, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)


def test_nothing_is_calibrated_where_there_is_no_batchnorm(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Source, "sample", lambda *_: pytest.fail("images are read for nothing"))
    press(given_for("cyclegan instance", home), settings(), tmp_path)
    assert done(tmp_path, "search")["figures"]


# --- stopped runs ---------------------------------------------------------------------------------

STAGES: dict[str, Any] = {
    "predistil": {"steps": 3},
    "supernet": {"steps": 4, "ema": 0.9},
    "finetune": {"steps": 3, "select": "best", "holdout_images": 1, "validate_every": 2},
    "discriminator": {"pool": 2, "start": "fresh"},
    "search": {
        "kind": "evolution",
        "evaluations": None,
        "population": 3,
        "generations": 2,
        "images": 1,
    },
}


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    save(press(given_for("cyclegan batch", home), settings(**STAGES), folder), folder / "end.st")
    return folder


@pytest.mark.parametrize(
    "where", thinned(["supernet/3", "search/3", "predistil/2", "supernet/0", "finetune/1"], 2)
)
def test_a_stopped_run_ends_bit_for_bit_as_one_that_was_not(
    where: str, home: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, _, count = where.partition("/")
    log, score, calls = Stage.log, Scorer.__call__, []

    def kill(self: Stage, step: int, /, **scalars: Any) -> None:
        if f"{self.name}/{step}" == where:
            raise Killed
        log(self, step, **scalars)

    def scored(self: Scorer, widths: Any) -> Any:
        calls.append(widths)
        if stage == "search" and len(calls) == int(count):
            raise Killed
        return score(self, widths)

    def run() -> Model:
        how = {"save_every_s": 0.0}
        return press(given_for("cyclegan batch", home), settings(**STAGES), tmp_path, **how)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Stage, "log", kill)
        patch.setattr(Scorer, "__call__", scored)
        run()
    torch.manual_seed(99)
    again, wanted = run().net.state_dict(), load(whole / "end.st").net.state_dict()
    assert again.keys() == wanted.keys()
    assert all(torch.equal(again[n], wanted[n]) for n in wanted)
    for name in ("predistil", "supernet", "finetune"):
        a, b = (torch.load(r / name / "taps.pt", weights_only=True) for r in (whole, tmp_path))
        assert a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
    for key in ("set", "widths", "figures", "cost"):
        assert done(whole, "search")[key] == done(tmp_path, "search")[key]


def test_finetuning_begins_alike_behind_a_search_and_where_it_is_taken_up_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search writes BatchNorm's statistics of each set that it scores into the supernet."""
    begun: list[dict[str, torch.Tensor]] = []
    loop = supernet.distil_at_widths

    def stop(stage: Stage, networks: Any, *rest: Any, **kw: Any) -> Any:
        if stage.name != "finetune":
            return loop(stage, networks, *rest, **kw)
        begun.append(copy.deepcopy(networks.student.state_dict()))
        raise Killed

    monkeypatch.setattr(method, "distil_at_widths", stop)
    for _ in range(2):
        with pytest.raises(Killed):
            press(given_for("cyclegan batch", home), settings(finetune={"steps": 1}), tmp_path)
    behind, taken_up = begun
    assert all(torch.equal(behind[n], taken_up[n]) for n in taken_up)


def test_all_stages_have_their_part_in_the_student(home: Path, whole: Path) -> None:
    steps = {s: len(log_of(whole, s)) for s in ("predistil", "supernet", "finetune")}
    assert steps == {"predistil": 3, "supernet": 4, "finetune": 3}
    assert done(whole, "finetune")["kept_step"] in (1, 2)
    assert all("held-out" not in line for line in log_of(whole, "supernet"))
    first, then = (load(whole / s / "student.safetensors").net for s in ("predistil", "supernet"))
    assert {n: p.shape for n, p in first.named_parameters()} == {
        n: p.shape for n, p in then.named_parameters()
    }


def test_finetuning_goes_on_with_the_supernets_taps_at_the_widths_that_were_found(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: dict[str, dict[str, torch.Tensor]] = {}
    loop = supernet.distil_at_widths

    def listen(
        stage: Stage, networks: Any, batches: Any, objective: Any, *rest: Any, **kw: Any
    ) -> Any:
        begun[stage.name] = {n: t.clone() for n, t in objective.taps.state_dict().items()}
        begun[f"{stage.name} net"] = copy.deepcopy(networks.student.state_dict())
        return loop(stage, networks, batches, objective, *rest, **kw)

    monkeypatch.setattr(method, "distil_at_widths", listen)
    config = settings(predistil={"steps": 1}, finetune={"steps": 1})
    press(given_for("cyclegan instance", home), config, tmp_path)
    left = torch.load(tmp_path / "supernet" / "taps.pt", weights_only=True)
    assert all(torch.equal(t, left[n]) for n, t in begun["finetune"].items())
    before = torch.load(tmp_path / "predistil" / "taps.pt", weights_only=True)
    assert not torch.equal(begun["supernet"]["adaptors.0.weight"], before["adaptors.0.weight"])
    small, big = begun["finetune net"], load(tmp_path / "supernet" / "student.safetensors").net
    name = "stem.conv.weight"
    kept = small[name].shape[0]
    assert kept == done(tmp_path, "search")["widths"]["stem"]
    assert torch.equal(small[name].detach(), big.state_dict()[name][:kept])


# --- what a step does -----------------------------------------------------------------------------


def space() -> Space:
    return Space((Slot("a", {"a": 1}, (4, 2, 1)), Slot("b", {"b": 2}, (3, 2, 1))))


def anything(fallen: float) -> Affords:
    return lambda choice: True


def sum_of_four(fallen: float) -> Affords:
    """A budget of 7 that falls to 4."""
    return lambda choice: choice[0] + choice[1] <= 7 - 3 * fallen


def test_uniform_sampling_draws_each_number_of_each_slot_alike() -> None:
    random.seed(0)
    sets = sampler(space(), settings(), anything)
    drawn = [sets(0.0) for _ in range(900)]
    assert {len(found) for found in drawn} == {1}
    seen = Counter((c[0]["a"], c[0]["b"]) for c in drawn)
    assert set(seen) == {(a, b) for a in (4, 2, 1) for b in (6, 4, 2)}
    assert all(abs(n - 100) < 45 for n in seen.values())
    random.seed(0)
    assert [sets(1.0) for _ in range(900)] == drawn  # a function of random's state


def test_the_sandwich_is_the_largest_the_smallest_and_some_at_random() -> None:
    config = settings(supernet={"sampling": "sandwich", "sandwich_random": 3})
    drawn = [sampler(space(), config, anything)(0.5) for _ in range(20)]
    assert all(len(found) == 5 for found in drawn)
    assert all(found[0] == {"a": 4, "b": 6} and found[1] == {"a": 1, "b": 2} for found in drawn)
    assert len({str(found[2:]) for found in drawn}) > 10


def test_sampling_within_the_target_draws_only_sets_that_can_be_chosen_and_all_of_them() -> None:
    random.seed(0)
    config = settings(supernet={"sampling": "within"})
    sets = sampler(space(), config, sum_of_four)
    drawn = [sets(0.0) for _ in range(600)]
    assert {len(found) for found in drawn} == {1}
    seen = Counter((c[0]["a"], c[0]["b"] // 2) for c in drawn)
    assert set(seen) == {(a, b) for a in (4, 2, 1) for b in (3, 2, 1) if a + b <= 4}


def test_where_the_search_widens_its_sets_only_those_that_use_the_target_up_are_trained() -> None:
    random.seed(0)
    config = settings(supernet={"sampling": "within"}, search={"widen": True})
    sets = sampler(space(), config, sum_of_four)
    seen = {(c["a"], c["b"] // 2) for [c] in (sets(0.0) for _ in range(200))}
    assert seen == {(2, 2), (1, 3)}


@pytest.mark.parametrize(
    ("progress", "most"), [(0.0, 7), (0.1, 6), (0.25, 5), (0.3, 5), (0.5, 4), (0.9, 4), (1.0, 4)]
)
def test_shrinking_draws_sets_of_a_budget_that_falls_to_the_target(
    progress: float, most: int
) -> None:
    random.seed(0)
    config = settings(supernet={"sampling": "shrinking", "shrink_fraction": 0.5})
    sets = sampler(space(), config, sum_of_four)
    seen = {(c["a"], c["b"] // 2) for [c] in (sets(progress) for _ in range(200))}
    widest = {7: {(4, 3)}, 6: {(4, 2), (2, 3)}, 5: {(4, 1), (2, 3)}, 4: {(2, 2), (1, 3)}}
    assert seen == widest[most]


def test_shrinking_finds_the_uniform_set_of_a_budget_once() -> None:
    asked: list[Any] = []

    def counted(fallen: float) -> Affords:
        affords = sum_of_four(fallen)
        return lambda choice: bool(asked.append(choice) or affords(choice))

    config = settings(supernet={"sampling": "shrinking", "shrink_fraction": 0.5})
    sets, counts = sampler(space(), config, counted), []
    for progress in (0.25, 0.5, 0.75, 1.0):
        asked.clear()
        sets(progress)
        counts.append(len(asked))
    assert min(counts[:2]) > 30 > max(counts[2:])  # a bisection asks 31 times


@pytest.mark.parametrize(
    ("most", "uniform"),
    [(24, (8, 8, 4)), (19, (6, 6, 4)), (14, (6, 6, 2)), (10, (4, 4, 2)), (9, (2, 2, 1))],
)
def test_a_set_near_the_uniform_one_differs_from_it_by_a_number_of_a_slot_at_most(
    most: int, uniform: tuple[int, ...]
) -> None:
    slots = (Slot("a", {"a": 1}, (8, 6, 4, 2)), Slot("b", {"b": 1}, (8, 6, 4, 2)))
    space = Space((*slots, Slot("c", {"c": 1}, (4, 2, 1))))
    rng = random.Random(0)
    middle = widest_uniform(space, lambda choice: sum(choice) <= most)
    assert middle == uniform
    drawn = [near(space, middle, rng) for _ in range(2000)]
    for i, slot in enumerate(space.slots):
        at = slot.numbers.index(uniform[i])
        wanted = Counter({slot.numbers[at]: 0.5})
        for place in (at - 1, at + 1):
            inside = 0 <= place < len(slot.numbers)
            wanted[slot.numbers[place] if inside else slot.numbers[at]] += 0.25
        seen = Counter(choice[i] for choice in drawn)
        assert set(seen) == set(wanted)
        assert all(abs(seen[n] / 2000 - part) < 0.04 for n, part in wanted.items())
    assert len(set(drawn)) > 7  # the slots move independently


@pytest.mark.parametrize("target", ["macs", "params"])
def test_a_budget_falls_from_the_widest_sets_cost_to_the_target_by_equal_factors(
    target: str,
) -> None:
    teacher = WIRINGS["cyclegan separable"].model()
    config = settings(target={"macs": None, target: 0.3})
    space = space_of(teacher, config)
    costs = costs_of(teacher, ghost(teacher, config), config)
    whole = costs(space.widths(space.largest))[target]
    least = 0.3 * getattr(measure(teacher.net, teacher.family.image.size), target)
    at = falling_budget(teacher, space, config)
    drawn = [space.largest, space.smallest]
    drawn += [space.sample(random.Random(seed)) for seed in range(8)]
    for fallen in (0.0, 0.25, 0.5, 1.0):
        most = whole * (least / whole) ** fallen * (1 + 1e-12)
        for choice in drawn:
            assert at(fallen)(choice) == (costs(space.widths(choice))[target] <= most)
    assert at(0.0)(space.largest) and not at(0.25)(space.largest)
    found = affordable(teacher, space, config)
    assert [found(choice) for choice in drawn] == [at(1.0)(choice) for choice in drawn]


@pytest.mark.parametrize("target", ["macs", "params"])
def test_the_target_decides_which_sets_are_sampled(target: str) -> None:
    teacher = WIRINGS["cyclegan separable"].model()
    target_of = {"macs": None, target: 0.4}
    config = settings(target=target_of, supernet={"sampling": "within"})
    found = affordable(teacher, of := space_of(teacher, config), config)
    drawn = [of.sample(random.Random(seed)) for seed in range(6)]
    for choice in (of.largest, of.smallest, *drawn):
        small = shrink(teacher.build, teacher.net, of.widths(choice))
        cost = share(replace(teacher, net=small), teacher, target)
        assert found(choice) == (cost <= 0.4)
    assert {found(choice) for choice in (of.largest, of.smallest)} == {True, False}


@pytest.mark.parametrize("sampling", ["uniform", "sandwich"])
def test_the_teacher_runs_once_a_batch_without_gradients(
    sampling: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, calls = given_for("cyclegan instance", home), []
    call = CachedTeacher.__call__

    def listen(self: CachedTeacher, inputs: Any, ids: Any, taps: Any = ()) -> Any:
        found = call(self, inputs, ids, taps)
        maps = found.maps.values()
        calls.append(any(t.requires_grad for t in (found.pictures, *maps)))
        return found

    monkeypatch.setattr(CachedTeacher, "__call__", listen)
    before = {n: t.clone() for n, t in given.teacher.net.state_dict().items()}
    press(given, settings(supernet={"sampling": sampling, "steps": 3}), tmp_path)
    assert calls == [False] * 3
    assert all(torch.equal(t, before[n]) for n, t in given.teacher.net.state_dict().items())


@pytest.mark.parametrize("name", ["munit", "sngan conditional", "stylegan2"])
def test_teacher_and_student_read_the_same_drawn_noise(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    call, run = CachedTeacher.__call__, supernet.Passes.__call__

    def of_teacher(self: CachedTeacher, inputs: Any, ids: Any, taps: Any = ()) -> Any:
        heard.append(inputs)
        return call(self, inputs, ids, taps)

    def of_both(self: Any, step: int, batch: Any) -> Any:
        shown = run(self, step, batch)
        elastic = shown.elastic.forward
        told = lambda keep, *x: (heard.append(x), elastic(keep, *x))[1]  # noqa: E731
        monkeypatch.setattr(shown.elastic, "forward", told)
        return shown

    monkeypatch.setattr(CachedTeacher, "__call__", of_teacher)
    monkeypatch.setattr(supernet.Passes, "__call__", of_both)
    press(given_for(name, home), settings(supernet={"steps": 1}), tmp_path)
    teacher, student = heard[:2]
    assert len(teacher) == len(student)
    assert all(torch.equal(a, b) for a, b in zip(teacher, student, strict=True))


CACHED: dict[str, Any] = {"data": {"cached_crops": 2}, "supernet": {"steps": 4, "ema": 0.9}}


@pytest.mark.parametrize("name", ["cyclegan batch", "pix2pix", "cartoongan"])
@pytest.mark.parametrize("taps_weight", [None, 0.0], ids=["taps", "no taps"])
def test_of_fixed_crops_the_teachers_pictures_and_maps_are_made_once_before_any_step(
    name: str, taps_weight: float | None, home: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    given, teachers = given_for(name, home), []
    call = CachedTeacher.__call__

    def listen(self: CachedTeacher, inputs: Any, ids: Any, taps: Any = ()) -> Any:
        teachers.append((self, tuple(taps)))
        return call(self, inputs, ids, taps)

    monkeypatch.setattr(CachedTeacher, "__call__", listen)
    config = settings(**CACHED, finetune={"steps": 2}, distil={"taps_weight": taps_weight})
    press(given, config, tmp_path)
    assert given.images is not None
    crops = 2 * (len(given.images) - 2)  # two inputs are the search's
    assert done(tmp_path, "render")["computed"] == crops
    trained = {id(t): t for t, _ in teachers if t is not teachers[0][0]}.values()
    assert [(t.computed, t.recalled) for t in trained] == [(0, 8), (0, 4)]  # batches of 2
    taps = {names for _, names in teachers}
    assert len(taps) == 1 and bool(*taps) == (taps_weight is None)
    kept = list((tmp_path / "teacher-cache").rglob("*.f16"))
    assert len(kept) == 1 + len(*taps)


@pytest.mark.parametrize("lost", ["nothing", "the cache"])
def test_a_stopped_run_of_fixed_crops_ends_as_one_that_was_not(
    lost: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: Path) -> Model:
        return press(given_for("pix2pix", home), settings(**CACHED), folder, save_every_s=0.0)

    log = Stage.log

    def kill(self: Stage, step: int, /, **scalars: Any) -> None:
        if (self.name, step) == ("supernet", 2):
            raise Killed
        log(self, step, **scalars)

    wanted = run(tmp_path / "whole").net.state_dict()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Stage, "log", kill)
        run(tmp_path / "run")
    if lost == "the cache":
        shutil.rmtree(tmp_path / "run" / "teacher-cache")
    again = run(tmp_path / "run").net.state_dict()
    assert all(torch.equal(again[n], wanted[n]) for n in wanted)


def test_where_maps_are_not_kept_nothing_is_made_before_the_steps(
    home: Path, tmp_path: Path
) -> None:
    config = settings(**{**CACHED, "data": {"cached_crops": 2, "cached_maps": False}})
    press(given_for("pix2pix", home), config, tmp_path)
    assert not (tmp_path / "render").exists()
    assert len(list((tmp_path / "teacher-cache").rglob("*.f16"))) == 1


def test_a_finished_run_keeps_no_maps_and_one_that_only_searches_makes_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief(monkeypatch)
    shared = tmp_path / "shared"
    compressed(home, tmp_path / "r", **CACHED)
    kept = [p.name for p in (tmp_path / "r" / "teacher-cache").rglob("*.f16")]
    assert kept == ["32px.f16"]
    cached = {**CACHED, "data": {"cached_crops": 2, "teacher_cache": str(shared)}}
    compressed(home, tmp_path / "q", **cached)
    assert len(list(shared.rglob("*.f16"))) > 1  # others may read them
    compressed(home, tmp_path / "s", target={"macs": 0.5}, reuse=str(tmp_path / "r"), **CACHED)
    assert not (tmp_path / "s" / "render").exists()


# --- runs that are taken over ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run through the public function."""
    folder = tmp_path_factory.mktemp("base") / "run"
    with pytest.MonkeyPatch.context() as patch:
        brief(patch)
        compressed(home, folder, predistil={"steps": 1})
    return folder


def compressed(home: Path, run: Path, *, teacher: Model | None = None, **changes: Any) -> None:
    given = given_for("cyclegan instance", home)
    images = changes.pop("images", given.images)
    compress(
        teacher or given.teacher, images, run=run, config=settings(**changes),
        method="once-for-all", quiet=True,
    )  # fmt: skip


def test_another_target_takes_a_supernet_over_without_a_training_step(
    home: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief(monkeypatch)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(method, "distil_at_widths", never)
    kept = {"predistil": {"steps": 1}, "reuse": str(base)}
    compressed(home, tmp_path / "r", target={"macs": 0.5}, **kept)
    a, b = (load(r / "supernet" / "student.safetensors") for r in (base, tmp_path / "r"))
    assert all(torch.equal(t, b.net.state_dict()[n]) for n, t in a.net.state_dict().items())
    teacher = teacher_of("cyclegan instance")
    assert share(load(tmp_path / "r" / "student.safetensors"), teacher) <= 0.5
    given = Given(teacher, None)
    sets = space_of(teacher, resolve(given, settings()))
    choice = (sets.largest[0], *sets.smallest[1:])
    compressed(home, tmp_path / "q", search={"choose": sets.name(choice)}, **kept)
    assert done(tmp_path / "q", "search")["set"] == sets.name(choice)
    assert load(tmp_path / "q" / "student.safetensors").widths == sets.widths(choice)


def test_a_run_of_another_training_is_not_taken_over(
    home: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief(monkeypatch)
    kept: dict[str, Any] = {"predistil": {"steps": 1}, "reuse": str(base)}
    where, r = f"reuse={base}: ", tmp_path / "r"

    def refused(kind: type[Exception], text: str, **changes: Any) -> None:
        with pytest.raises(kind) as error:
            compressed(home, r, **{**kept, **changes})
        assert text in str(error.value), error.value
        assert not (r / "supernet").exists()

    other = teacher_of("cyclegan instance", seed=5)
    refused(ConfigError, where + "that run was of another teacher", teacher=other)
    few = open_images(home / "y")
    refused(ConfigError, where + "that run was trained on other images", images=few)
    refused(ConfigError, "supernet.lr", supernet={"lr": 0.5})
    refused(ConfigError, "search.images", search={"images": 1})
    refused(ConfigError, "predistil.steps", predistil={"steps": 2})
    refused(ConfigError, "supernet was trained with other settings", data={"flip": False})
    refused(NotPossible, "there is no run in that folder", reuse=str(tmp_path / "none"))
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "config.json").write_text((base / "config.json").read_text())
    refused(NotPossible, "its stage 'supernet' has not finished", reuse=str(torn))
    refused(
        NotPossible, "its stage 'search' has not finished", reuse=str(torn), procedure="scratch"
    )
    refused(ConfigError, "--set reuse=DIR", reuse=None, procedure="scratch")


def test_a_run_from_before_some_settings_is_taken_over_as_if_it_had_their_defaults(
    home: Path, base: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(base, old)
    config = json.loads((old / "config.json").read_text())
    del config["mask"], config["search"]["images"], config["supernet"]["sampling"]
    (old / "config.json").write_text(json.dumps(config))
    kept = {"predistil": {"steps": 1}, "reuse": str(old)}
    given = given_for("cyclegan instance", home)
    images = {"images": SearchSettings().images}
    check_reuse(given, resolve(given, settings(**kept, search=images)))
    with pytest.raises(ConfigError, match=r"supernet.sampling: \"uniform\" in the run"):
        check_reuse(
            given,
            resolve(given, settings(**kept, search=images, supernet={"sampling": "sandwich"})),
        )


@pytest.mark.parametrize("sampling", ["within", "shrinking"])
def test_a_supernet_of_the_sets_of_a_budget_is_not_taken_over_for_another_one(
    sampling: str, home: Path, base: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(base, old)
    config = json.loads((old / "config.json").read_text())
    config["supernet"]["sampling"], config["target"]["macs"] = sampling, 0.5
    (old / "config.json").write_text(json.dumps(config))
    kept: dict[str, Any] = {"predistil": {"steps": 1}, "reuse": str(old)}
    kept |= {"supernet": {"sampling": sampling}}
    given = given_for("cyclegan instance", home)

    def asked(**changes: Any) -> None:
        check_reuse(given, resolve(given, settings(**kept, **changes)))

    asked(target={"macs": 0.5})
    with pytest.raises(ConfigError, match=r"target\.macs: 0\.5 in the run, 0\.9 now"):
        asked(target={"macs": 0.9})
    with pytest.raises(ConfigError, match=r"search\.widen: false in the run, true now"):
        asked(target={"macs": 0.5}, search={"widen": True})


def test_a_supernet_of_which_the_copy_was_broken_off_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = tmp_path / "old" / "supernet"
    stage.mkdir(parents=True)
    for name in ("done.json", "state.pt", "student.safetensors"):
        (stage / name).write_text(name)
    c, run = settings(reuse=str(tmp_path / "old")), Run(tmp_path / "r", quiet=True)
    given, copy_tree = Given(teacher_of("cyclegan instance"), None), shutil.copytree

    def broken_off(*args: Any, **how: Any) -> None:
        copy_tree(*args, **how)
        (tmp_path / "r" / "supernet" / "student.safetensors").write_text("")
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shutil, "copytree", broken_off)
        take_over(given, c, run)
    assert not run.done("supernet")
    take_over(given, c, run)
    copied = {p.name: p.read_text() for p in (tmp_path / "r" / "supernet").iterdir()}
    assert run.done("supernet") and all(name == text for name, text in copied.items())
    assert copied.keys() == {"done.json", "state.pt", "student.safetensors"}


def test_from_scratch_are_the_widths_and_not_the_weights(
    home: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief(monkeypatch)
    begun: dict[str, torch.Tensor] = {}
    loop = supernet.distil_at_widths

    def listen(stage: Stage, networks: Any, *rest: Any, **kw: Any) -> Any:
        begun.update({n: t.clone() for n, t in networks.student.state_dict().items()})
        return loop(stage, networks, *rest, **kw)

    monkeypatch.setattr(method, "distil_at_widths", listen)
    how = {"predistil": {"steps": 1}, "finetune": {"steps": 2}, "procedure": "scratch"}
    compressed(home, tmp_path / "r", reuse=str(base), **how)
    found = load(tmp_path / "r" / "student.safetensors")
    wanted = load(base / "student.safetensors")
    assert found.widths == wanted.widths
    assert log_of(tmp_path / "r", "distil")[-1]["step"] + 1 == 1 + 2 + 2
    teacher = teacher_of("cyclegan instance").net.state_dict()
    weight = begun["stem.conv.weight"]
    assert not any(torch.equal(w, t) for w in weight for t in teacher["stem.conv.weight"])


def test_a_uniform_student_is_the_widest_within_the_target_and_starts_as_the_teacher(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: dict[str, torch.Tensor] = {}
    loop = supernet.distil_at_widths

    def listen(stage: Stage, networks: Any, *rest: Any, **kw: Any) -> Any:
        begun.update({n: t.clone() for n, t in networks.student.state_dict().items()})
        return loop(stage, networks, *rest, **kw)

    monkeypatch.setattr(method, "distil_at_widths", listen)
    given = given_for("cyclegan instance", home)
    config = settings(
        procedure="uniform", target={"macs": 0.3}, predistil={"steps": 1}, finetune={"steps": 1}
    )
    student = press(given, config, tmp_path)
    full = given.teacher.widths
    fitting = []
    for part in range(1, 25):
        widths = {g: max(1, round(w * part / 24)) for g, w in full.items()}
        net = given.teacher.family.build(widths, **student.options)
        if share(Model(net, student.family, student.options), given.teacher) <= 0.3:
            fitting.append(widths)
    assert all(student.widths[g] >= w for g, w in fitting[-1].items())
    assert share(student, given.teacher) <= 0.3
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["distil"]
    assert len(log_of(tmp_path, "distil")) == 1 + 2 + 1
    teacher = given.teacher.net.state_dict()["stem.conv.weight"]
    assert all(any(torch.equal(w, t) for t in teacher) for w in begun["stem.conv.weight"])


@pytest.mark.parametrize(
    ("minutes", "wanted"),
    [((1.0, 2.0, 4.0), 7.0), ((None, 2.0, 4.0), None), ((None, None, None), None)],
)
def test_a_student_of_fixed_widths_has_the_time_of_all_stages(
    minutes: tuple[float | None, ...], wanted: float | None
) -> None:
    stages = {
        name: {"steps": steps, "minutes": part}
        for name, steps, part in zip(
            ("predistil", "supernet", "finetune"), (3, 5, 7), minutes, strict=True
        )
    }
    for procedure in ("uniform", "scratch"):
        assert budgets(settings(procedure=procedure, **stages)) == {"distil": (15, wanted)}
    found = budgets(settings(**stages))
    assert found == {n: (s["steps"], s["minutes"]) for n, s in stages.items()}
    assert list(budgets(settings())) == ["supernet"]


# --- further settings -----------------------------------------------------------------------------


def test_below_32_bits_the_student_trains_with_quantisers(home: Path, tmp_path: Path) -> None:
    given = given_for("cyclegan batch", home)
    config = settings(
        quantise={"bits": 8}, finetune={"steps": 2}, target={"macs": None, "bytes": 0.22}
    )
    student = press(given, config, tmp_path)
    quantiser = quantiser_of(student.net)
    assert quantiser is not None and quantiser.bits == 8
    start = load(tmp_path / "supernet" / "student.safetensors")
    assert quantiser_of(start.net) is None
    ranges = student.card()["ranges"]
    assert ranges
    used, whole = (done(tmp_path, "search")["cost"]["bytes"], measure(given.teacher.net, 256).bytes)
    assert used <= 0.22 * whole


def test_the_average_of_the_weights_is_what_is_searched(home: Path, tmp_path: Path) -> None:
    config = settings(supernet={"ema": 0.9, "steps": 3})
    press(given_for("cyclegan instance", home), config, tmp_path)
    state = torch.load(tmp_path / "supernet" / "state.pt", weights_only=True)["of"]
    kept = load(tmp_path / "supernet" / "student.safetensors").net.state_dict()
    assert all(torch.equal(kept[n], t) for n, t in state["average"]["shadow"].items())
    assert any(not torch.equal(kept[n], t) for n, t in state["student"].items())


def test_the_best_of_finetuning_is_chosen_on_inputs_held_out(home: Path, tmp_path: Path) -> None:
    config = settings(
        finetune={
            "steps": 4,
            "select": "best",
            "validate_every": 1,
            "holdout_images": 2,
            "lr": 0.05,
        }
    )
    press(given_for("cyclegan instance", home), config, tmp_path)
    seen = [line["held-out"] for line in log_of(tmp_path, "finetune") if "held-out" in line]
    facts = done(tmp_path, "finetune")
    assert len(seen) == 4
    assert facts["held_out"] == pytest.approx(min(seen), rel=1e-5)
    assert facts["kept_step"] == seen.index(min(seen))


def test_channels_are_put_in_order_of_importance_only_where_that_is_asked_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: dict[str, torch.Tensor] = {}
    loop = supernet.distil_at_widths

    def listen(stage: Stage, networks: Any, *rest: Any, **kw: Any) -> Any:
        begun[stage.name] = networks.student.state_dict()["stem.conv.weight"].clone()
        return loop(stage, networks, *rest, **kw)

    monkeypatch.setattr(method, "distil_at_widths", listen)
    given = given_for("cyclegan instance", home)
    own = given.teacher.net.state_dict()["stem.conv.weight"].clone()
    order = own.abs().flatten(1).sum(1).argsort(descending=True)
    assert order.tolist() != sorted(order.tolist())
    for sort, wanted in ((True, own[order]), (False, own)):
        press(given, settings(supernet={"sort": sort}), tmp_path / str(sort))
        assert torch.equal(begun["supernet"], wanted)


def test_scratch_and_uniform_take_no_search(home: Path, base: Path) -> None:
    given = given_for("cyclegan instance", home)
    c = resolve(given, settings(procedure="scratch", reuse=str(base)))
    assert fixed_widths(given.teacher, c) == done(base, "search")["widths"]
    found = fixed_widths(given.teacher, resolve(given, settings(procedure="uniform")))
    assert found.keys() == given.teacher.widths.keys()


def test_images_that_are_held_out_are_never_trained_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    batches = Source.batches

    def listen(self: Source, *given: Any) -> Any:
        assert self.images is not None
        seen.append(len(self.images))
        names.update(self.images.stems if hasattr(self.images, "stems") else ())
        return batches(self, *given)

    names: set[str] = set()
    monkeypatch.setattr(Source, "batches", listen)
    given = given_for("cyclegan instance", home)
    config = settings(finetune={"steps": 1}, predistil={"steps": 1}, search={"images": 2})
    press(given, config, tmp_path)
    assert seen == [4, 4, 4]


def test_the_space_of_the_default_settings_has_a_slot_for_each_group(home: Path) -> None:
    given = given_for("cyclegan instance", home)
    c = resolve(given, settings())
    found = space_of(given.teacher, c)
    assert found.widths(found.largest) == given.teacher.widths
