"""Compression goes on from a student: it is pruned further, and the teacher stays the measure."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import run_cli
from slim_runs import log_of, settings, share, teacher_of
from stops import same_bits, stopping_after
from thin import thinned

import ganpress.methods.base
from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, InfeasibleTarget, Interrupted
from ganpress.measures.cost import Latency
from ganpress.methods import METHODS
from ganpress.methods.compress import compress
from ganpress.methods.gan_slimming.targets import check_target, cost_ratio
from ganpress.models.checkpoint import Model, fingerprint, save
from ganpress.quantisation.attach import attach_quantiser
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.run.files import read_json
from ganpress.run.run import Stage
from ganpress.run.snapshot import read_state
from ganpress.training.start import open_start

EMPTY = {"empty_blocks": True}


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency is not what is tested here."""
    quick = Latency(1.0, 1.0, "cpu", threads=1, batch=1, size=32, repeats=1)
    monkeypatch.setattr("ganpress.measures.both_costs.latency", lambda *_, **__: quick)
    monkeypatch.setattr("ganpress.methods.finish.exported", lambda *_: {"file": "none"})


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("photos"), 4, 40)


@pytest.fixture(scope="module")
def photos(photo_folder: Path) -> Images:
    return open_images(photo_folder)


@pytest.fixture
def teacher() -> Model:
    return teacher_of("cyclegan")


def student_of(teacher: Model, **widths: int) -> Model:
    """A student of uneven widths with an emptied block and affine norms, as pruning leaves it."""
    torch.manual_seed(7)
    options = {**teacher.options, "affine": True}
    chosen = {**dict.fromkeys(teacher.widths, 6), "block0": 0, "up1": 5, **widths}
    net = teacher.family.build(chosen, **options)
    return Model(net, teacher.family, options, {"licence": "CC0"})


Go = Callable[..., Model]


@pytest.fixture
def go(teacher: Model, photos: Images, tmp_path: Path) -> Go:
    def run(folder: str, start: Model | None, teacher: Model = teacher, **changes: Any) -> Model:
        return compress(
            teacher, photos, run=tmp_path / folder, config=settings(**changes), start=start,
            quiet=True,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("procedure", thinned(["gs", "postq", "cp", "cp+d"], 2))
def test_a_student_is_pruned_further_towards_a_share_of_the_teachers_cost(
    go: Go, teacher: Model, procedure: str, tmp_path: Path
) -> None:
    start = student_of(teacher)
    bits = {"quantise": {"bits": 8}} if procedure == "postq" else {}
    was = fingerprint(start.net)
    small = go("run", start, procedure=procedure, target={"macs": 0.2}, **bits)
    assert share(start, teacher, "macs") > 0.25
    assert share(small, teacher, "macs") <= 0.2
    assert all(small.widths[g] <= n for g, n in start.widths.items())
    assert small.widths["block0"] == 0
    assert (
        fingerprint(start.net) == was
        and fingerprint(teacher.net) == read_json(tmp_path / "run" / "card.json")["teacher"]
    )
    from_file = small.provenance["start"]
    assert from_file["generator"] == was and from_file["provenance"] == {"licence": "CC0"}


def test_it_begins_with_the_students_weights_and_the_teachers_pictures(
    go: Go, teacher: Model, tmp_path: Path
) -> None:
    changes = {"target": {"macs": 0.2}, "discriminator": {"weight": 0.0}}
    go("near", replace(teacher), **changes)
    go("far", student_of(teacher), **changes)
    near, far = (log_of(tmp_path / f, "sparsify")[0]["loss/distance"] for f in ("near", "far"))
    assert near == pytest.approx(0, abs=1e-4) and far > 0.1


def test_the_same_student_twice_gives_the_same_bits_and_another_one_is_refused(
    go: Go, teacher: Model
) -> None:
    changes = {"target": {"macs": 0.2}}
    start = student_of(teacher)
    one, two = (go(folder, start, **changes) for folder in ("one", "two"))
    assert fingerprint(one.net) == fingerprint(two.net)
    assert fingerprint(go("plain", None, **changes).net) != fingerprint(one.net)
    other = student_of(teacher, stem=7)
    with pytest.raises(ConfigError, match=r"start.generator: .* in the run"):
        go("one", other, **changes)
    with pytest.raises(ConfigError, match="not set now"):
        go("one", None, **changes)


@pytest.mark.parametrize(
    ("of", "stage", "changes"),
    thinned(
        [
            ("file", "sparsify", {}),
            ("folder", "finetune", {"quantise": {"bits": 8}}),
            ("folder", "sparsify", {"procedure": "cp"}),
            ("file", "finetune", {"procedure": "postq", "quantise": {"bits": 8}}),
        ],
        2,
    ),
)
def test_a_stopped_run_that_began_from_a_student_ends_as_one_left_alone(
    of: str,
    stage: str,
    changes: dict[str, Any],
    go: Go,
    teacher: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "first").mkdir()
    file = save(student_of(teacher), tmp_path / "first" / "student.safetensors")
    asked = {"target": {"macs": 0.2}, "finetune": {"steps": 3}, **changes}

    def go_on(folder: str) -> Model:  # the file is read anew, as by the same command
        return go(folder, open_start("slim", file if of == "file" else file.parent), **asked)

    whole = go_on("whole")
    with stopping_after(2, monkeypatch, stage), pytest.raises(Interrupted, match="after 2 of "):
        go_on("stopped")
    resumed = go_on("stopped")
    assert read_json(tmp_path / "stopped" / "card.json")["resumed"][0]["stage"] == stage
    assert fingerprint(resumed.net) == fingerprint(whole.net)
    assert (resumed.widths, resumed.card()["ranges"]) == (whole.widths, whole.card()["ranges"])
    states = sorted(
        path.relative_to(tmp_path / "whole") for path in tmp_path.glob("whole/*/state.pt")
    )
    assert Path(stage, "state.pt") in states
    for name in states:
        one, two = (read_state(tmp_path / run / name) for run in ("whole", "stopped"))
        assert one["step"] == two["step"]
        assert same_bits(one["of"], two["of"]) == []


def test_a_target_is_refused_by_what_the_student_can_still_become(go: Go, teacher: Model) -> None:
    tight = {"target": {"macs": 0.45}, "min_channels": 4, "trunk": "keep"}
    with pytest.raises(InfeasibleTarget, match="cannot be reached"):
        go("teacher", None, **tight)
    with pytest.raises(InfeasibleTarget, match="cannot be reached"):
        go("wide", student_of(teacher, trunk=8), **tight)
    go("narrow", student_of(teacher, trunk=3, block1=0, down1=3), **tight)


def quantised(student: Model) -> Model:
    """The same with 8-bit quantisers."""
    plain = student.build(student.widths)
    plain.load_state_dict(student.net.state_dict())
    attach_quantiser(student.net, plain, (torch.rand(1, 3, 32, 32),), QuantiseSettings(bits=8))
    return student


UNFIT: dict[str, tuple[Callable[[Model], Model], str]] = {
    "family": (lambda _: teacher_of("cartoongan"), "is a 'cartoongan' generator, and the teacher"),
    "options": (lambda _: teacher_of("cyclegan", norm="batch"), "norm='batch', and the teacher"),
    "wider": (lambda t: student_of(t, down1=9), "9 channels in group 'down1', more than the tea"),
    "rounded": (lambda t: quantised(student_of(t)), "is quantised"),
}


@pytest.mark.parametrize("why", UNFIT)
def test_what_is_no_student_of_the_teacher_is_refused(go: Go, teacher: Model, why: str) -> None:
    make, said = UNFIT[why]
    with pytest.raises(ConfigError, match=said):
        go("run", make(teacher), target={"macs": 0.2})


@pytest.mark.parametrize(("procedure", "instead"), [("gd", "gs"), ("d+cp", "cp")])
def test_procedures_with_a_narrow_first_student_refuse_one_and_name_another_procedure(
    go: Go, teacher: Model, procedure: str, instead: str
) -> None:
    start = student_of(teacher)
    with pytest.raises(ConfigError, match=f"--set procedure={instead}"):
        go("run", start, procedure=procedure, target={"macs": 0.2})
    go("run", start, procedure=instead, target={"macs": 0.2})


def test_a_method_that_cannot_go_on_from_a_student_refuses_one(
    go: Go, teacher: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(METHODS["slim"], takes_start=False)
    monkeypatch.setitem(ganpress.methods.METHODS, "slim", other)
    with pytest.raises(ConfigError, match="builds its own student"):
        go("run", student_of(teacher), target={"macs": 0.2})


def test_the_command_goes_on_from_a_file_or_a_runs_folder(
    capsys: pytest.CaptureFixture[str], teacher: Model, photo_folder: Path, tmp_path: Path
) -> None:
    file = save(teacher, tmp_path / "teacher.safetensors")
    sets = [
        *("min_channels=1", "data.size=32", "data.batch=2", "data.workers=0", "finetune.steps=2"),
        *("distance.features=tiny", "distance.style=0", "distance.pixel=5", "sparsify.steps=4"),
        *("discriminator.layers=2", "discriminator.width=4"),
    ]
    base = ("compress", "slim", "-t", file, "--images", photo_folder)
    base += tuple(part for one in sets for part in ("--set", one))
    first = tmp_path / "first"
    told = run_cli(capsys, *base, "--run", first, "--set", "target.macs=0.6")
    assert told.code == 0, told.err
    runs = {"file": first / "student.safetensors", "folder": first}
    for name, start in runs.items():
        further = ("--from", start, "--run", tmp_path / name, "--set", "target.macs=0.3")
        told = run_cli(capsys, *base, *further)
        assert told.code == 0, told.err
    both = [(tmp_path / name / "student.safetensors").read_bytes()[-1000:] for name in runs]
    assert both[0] == both[1]
    told = run_cli(capsys, *base, "--from", tmp_path, "--run", tmp_path / "no")
    assert told.code == 2 and "is no folder of a finished run" in told.err


# --- more steps in a finished run -----------------------------------------------------------------


@pytest.fixture
def extend(teacher: Model, photos: Images, tmp_path: Path) -> Go:
    """Compress with so many steps of fine-tuning, as an extension of what is in the folder."""

    def run(folder: str, steps: int, *, extend: bool = True, **changes: Any) -> Model:
        chosen = settings(finetune={"steps": steps}, target={"macs": 0.3}, **changes)
        return compress(
            teacher, photos, run=tmp_path / folder, config=chosen, quiet=True, extend=extend
        )

    return run


@pytest.mark.parametrize(
    "changes",
    thinned(
        [
            {"quantise": {"bits": 8}},
            {},
            {"procedure": "postq", "quantise": {"bits": 8}},
            {"procedure": "gd"},
        ],
        1,
    ),
)
def test_more_fine_tuning_gives_the_same_bits_with_a_stop_in_it_and_without(
    extend: Go, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = extend("one", 2, extend=False, **changes)
    whole = extend("one", 4, **changes)
    assert fingerprint(first.net) != fingerprint(whole.net)
    assert whole.widths == first.widths
    assert whole.provenance["extended"] == [{"finetune.steps": {"from": 2, "to": 4}}]
    extend("two", 2, extend=False, **changes)
    with monkeypatch.context() as patch:
        log = Stage.log

        def stop(stage: Stage, step: int, /, **values: Any) -> None:
            log(stage, step, **values)
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(Stage, "log", stop)
        with pytest.raises(Interrupted):
            extend("two", 4, **changes)
    assert fingerprint(extend("two", 4, extend=False, **changes).net) == fingerprint(whole.net)
    results = read_json(tmp_path / "two" / "results.json")
    assert results["stages"][-1] == {**results["stages"][-1], "name": "finetune", "steps": 4}
    rates = [line["lr"] for line in log_of(tmp_path / "two", "finetune")]
    assert rates[-1] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 3 / 4)))


def test_only_the_steps_of_the_last_stage_can_be_raised(extend: Go) -> None:
    extend("run", 2, extend=False)
    with pytest.raises(ConfigError, match=r"may be raised: finetune\.steps\. .*\n.*sparsify"):
        extend("run", 2, sparsify={"steps": 20})
    with pytest.raises(ConfigError, match="asked for by --extend"):
        extend("run", 3, extend=False)
    with pytest.raises(ConfigError) as told:
        extend("run", 2, extend=False, sparsify={"steps": 20})
    assert "--extend" not in str(told.value)
    extend("two", 4, extend=False, procedure="d+cp")
    with pytest.raises(ConfigError, match="may be raised: none"):
        extend("two", 6, procedure="d+cp")


def test_groups_narrower_than_the_floor_count_as_they_are(teacher: Model) -> None:
    start = student_of(teacher, **dict.fromkeys(teacher.widths, 2))
    config = settings(min_channels=4)
    cost = cost_ratio(teacher, config)(start.widths)  # nothing of it can be cut
    check_target(teacher, settings(min_channels=4, target={"macs": cost}), start)
    with pytest.raises(InfeasibleTarget):
        check_target(teacher, settings(min_channels=4, target={"macs": 0.99 * cost}), start)
