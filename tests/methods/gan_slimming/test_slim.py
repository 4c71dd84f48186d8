"""GAN Slimming from end to end on tiny nets: targets are met, and each procedure is
what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from slim_runs import compressed, log_of, settings, share, teacher_of
from thin import thinned
from torch import Tensor

from ganpress.data import Images, evaluation, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.losses.distance import Distance
from ganpress.measures.cost import measure
from ganpress.methods.gan_slimming.extract import rounded, scaled_copy
from ganpress.methods.gan_slimming.settings import resolve
from ganpress.methods.gan_slimming.targets import (
    check_target,
    cost_ratio,
    uniform_widths,
    wide_widths,
)
from ganpress.models.checkpoint import Model, full_model, load, save
from ganpress.quantisation.attach import attach_quantiser

FAMILIES = ("cyclegan", "cartoongan")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("photos"), 16, seed=3, size=40))


@pytest.fixture(scope="module")
def some(photos: Images) -> Tensor:
    return next(evaluation(photos, batch=4, size=32)).x


@pytest.mark.parametrize("family", thinned(FAMILIES, 1))
@pytest.mark.parametrize("name", ["macs", "params", "bytes"])
def test_a_target_is_met_and_not_far_undercut(
    family: str, name: str, photos: Images, tmp_path: Path
) -> None:
    config = settings(target={name: 0.3}, finetune={"steps": 1})
    student, teacher = compressed(family, photos, tmp_path, config)
    assert 0.2 < share(student, teacher, name) <= 0.3


def test_eight_bits_count_towards_a_target_in_bytes(photos: Images, tmp_path: Path) -> None:
    config = settings(target={"bytes": 0.2}, quantise={"bits": 8}, finetune={"steps": 1})
    student, teacher = compressed("cartoongan", photos, tmp_path, config)
    assert share(student, teacher, "bytes") <= 0.2
    assert share(student, teacher, "params") > 0.2


def test_a_target_is_met_where_the_ramp_never_ends(photos: Images, tmp_path: Path) -> None:
    config = settings(target={"macs": 0.3}, sparsify={"steps": 2, "ramp_fraction": 1.0})
    student, teacher = compressed("cartoongan", photos, tmp_path, config)
    assert share(student, teacher, "macs") <= 0.3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kept_trunk_is_never_cut(family: str, photos: Images, tmp_path: Path) -> None:
    config = settings(target={"macs": 0.5}, trunk="keep")
    student, teacher = compressed(family, photos, tmp_path, config)
    assert student.widths["trunk"] == teacher.widths["trunk"]
    assert share(student, teacher, "macs") <= 0.5


def test_a_tied_trunk_can_be_cut(photos: Images, tmp_path: Path) -> None:
    student, _ = compressed("cartoongan", photos, tmp_path, settings(target={"macs": 0.1}))
    assert student.widths["trunk"] < 8


def test_a_larger_rho_leaves_fewer_channels(photos: Images, tmp_path: Path) -> None:
    left = []
    for rho in (0.0, 1.0, 3.0):
        config = settings(sparsify={"rho": rho}, finetune={"steps": 1})
        student, _ = compressed("cartoongan", photos, tmp_path / str(rho), config)
        left.append(sum(student.widths.values()))
    assert left[0] == 8 * len(student.widths)
    assert left[0] > left[1] > left[2]


def test_no_group_falls_below_its_floor_and_widths_are_multiples(
    photos: Images, tmp_path: Path
) -> None:
    config = settings(target={"macs": 0.65}, min_channels=3, channel_multiple=4)
    student, teacher = compressed("cyclegan", photos, tmp_path, config)
    assert set(student.widths.values()) <= {4, 8}
    assert share(student, teacher, "macs") <= 0.65


def test_rounding_up_takes_the_best_of_what_was_cut() -> None:
    keep = {"a": torch.tensor([1, 4, 5])}
    scores = {"a": torch.tensor([0.0, 3.0, 0.2, 0.1, 2.0, 1.0])}
    assert rounded(keep, scores, 4)["a"].tolist() == [1, 2, 4, 5]
    assert rounded(keep, scores, 1)["a"].tolist() == [1, 4, 5]


def test_thirty_steps_of_distillation_lower_the_distance(
    photos: Images, some: Tensor, tmp_path: Path
) -> None:
    distances = []
    for steps in (1, 30):
        config = settings(
            procedure="gd", target={"macs": 0.5}, finetune={"steps": steps, "lr": 5e-3}
        )
        student, teacher = compressed("cyclegan", photos, tmp_path / str(steps), config)
        with torch.no_grad():
            distances.append(float(Distance(config.distance)(student(some), teacher(some))))
    assert distances[1] < 0.8 * distances[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_slimming_starts_from_the_teacher(
    family: str, photos: Images, some: Tensor, tmp_path: Path
) -> None:
    still = {"lr": 1e-7, "weight_decay": 0.0}
    config = settings(
        target={"macs": 1.0}, sparsify={**still, "scale_lr": 1e-7, "steps": 3}, finetune=still
    )
    student, teacher = compressed(family, photos, tmp_path, config)
    assert student.widths == teacher.widths
    assert (student(some) - teacher(some)).abs().max() < 1e-3


def test_the_gd_procedure_is_uniformly_narrow_and_joins_no_game_before(
    photos: Images, tmp_path: Path
) -> None:
    student, teacher = compressed(
        "cyclegan", photos, tmp_path, settings(procedure="gd", target={"macs": 0.3})
    )
    assert len(set(student.widths.values())) == 1
    assert share(student, teacher, "macs") <= 0.3
    wider = {g: w + 1 for g, w in student.widths.items()}
    assert share(Model(teacher.build(wider), teacher.family, {}), teacher, "macs") > 0.3
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["finetune"]


def test_uniform_widths_keep_to_the_multiple() -> None:
    teacher = teacher_of("cartoongan")
    widths = uniform_widths(
        teacher, settings(procedure="gd", target={"macs": 0.4}, channel_multiple=4)
    )
    assert set(widths.values()) == {4}


def test_narrow_students_keep_the_floor_of_every_group() -> None:
    teacher = teacher_of("cyclegan")
    asked = settings(procedure="gd", target={"macs": 0.4}, min_channels=3)
    cheap = cost_ratio(teacher, asked)({g: 3 for g in teacher.widths})
    few = settings(procedure="gd", target={"macs": 1.001 * cheap}, min_channels=3)
    assert set(uniform_widths(teacher, few).values()) == {3}
    told = settings(procedure="gd", width_ratio=0.01, min_channels=3)
    assert set(uniform_widths(teacher, told).values()) == {3}


def test_the_wide_student_of_a_target_that_is_not_small_is_wider_than_half() -> None:
    teacher = full_model("cyclegan", blocks=1)
    halves = {g: w // 2 for g, w in teacher.widths.items()}
    assert wide_widths(teacher, settings(procedure="d+cp", target={"macs": 0.03})) == halves
    loose = settings(procedure="d+cp", target={"macs": 0.5})
    cost = cost_ratio(teacher, loose)(wide_widths(teacher, loose))
    assert 0.69 < cost <= 0.5**0.5
    told = settings(procedure="d+cp", target={"macs": 0.5}, width_ratio=0.25)
    assert wide_widths(teacher, told)["stem"] == teacher.widths["stem"] // 4


@pytest.mark.parametrize("last", ["int8", "float"])
def test_a_target_in_bytes_counts_the_last_layer_as_it_is_stored(last: str) -> None:
    teacher = teacher_of("cartoongan")
    config = settings(target={"bytes": 0.5}, quantise={"bits": 8, "last": last})
    student = scaled_copy(teacher)
    attach_quantiser(student.net, teacher.net, (), config.quantise)
    stored = measure(student.net).bytes / measure(teacher.net).bytes
    assert cost_ratio(teacher, config)(teacher.widths) == pytest.approx(stored)


def test_postq_reads_its_ranges_off_and_cannot_learn_them() -> None:
    rounded_later = settings(procedure="postq", quantise={"bits": 8})
    assert resolve(rounded_later).quantise.ranges == "calibrated"
    with pytest.raises(ConfigError, match="cannot learn ranges"):
        resolve(settings(procedure="postq", quantise={"bits": 8, "ranges": "learned"}))


def test_the_cp_procedure_has_no_distillation(photos: Images, tmp_path: Path) -> None:
    config = settings(procedure="cp", target={"macs": 0.5})
    student, teacher = compressed("cartoongan", photos, tmp_path, config)
    lines = log_of(tmp_path, "sparsify") + log_of(tmp_path, "finetune")
    assert len(lines) == 13
    assert {line["loss/distance"] for line in lines} == {0.0}
    assert all(line["loss/gan"] > 0 for line in lines)
    assert share(student, teacher, "macs") <= 0.5


def test_without_a_weight_of_the_distillation_no_distance_is_computed(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Distance, "__call__", refuse)
    compressed("cartoongan", photos, tmp_path, settings(beta=0.0, target={"macs": 0.5}))
    lines = log_of(tmp_path, "sparsify") + log_of(tmp_path, "finetune")
    assert {line["loss/distance"] for line in lines} == {0.0}


def test_without_a_discriminator_there_is_no_game(photos: Images, tmp_path: Path) -> None:
    config = settings(target={"macs": 0.5}, discriminator={"weight": 0.0})
    compressed("cartoongan", photos, tmp_path, config)
    lines = log_of(tmp_path, "sparsify")
    assert {(line["loss/gan"], line["loss/d"]) for line in lines} == {(0.0, 0.0)}
    assert all(
        line["loss/distance"] > 0 for line in lines[2:]
    )  # equal to the teacher until the first cut


@pytest.mark.parametrize("ranges", ["fixed", "calibrated"])
def test_an_eight_bit_student_is_quantised_and_reloads_equal(
    ranges: str, photos: Images, some: Tensor, tmp_path: Path
) -> None:
    config = settings(target={"macs": 0.5}, quantise={"bits": 8, "ranges": ranges})
    student, _ = compressed("cartoongan", photos, tmp_path, config)
    file = save(student, tmp_path / "student.safetensors")
    again = load(file)
    card = again.card()
    assert card["quantiser"]["bits"] == 8
    assert len(set(card["ranges"].values())) == 1 if ranges == "fixed" else True
    assert card == student.card()
    assert (again(some) - student(some)).abs().max() < 1e-5
    assert torch.equal(load(save(again, tmp_path / "again.safetensors"))(some), again(some))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_infeasible_target_is_refused_before_any_training_with_advice(
    family: str, photos: Images, tmp_path: Path
) -> None:
    config = settings(target={"macs": 0.001}, min_channels=4)
    with pytest.raises(InfeasibleTarget) as error:
        compressed(family, photos, tmp_path, config)
    message = str(error.value)
    for part in (
        "target.macs=0.001",
        "min_channels=4",
        "the smallest network still has",
        "--set target.macs=0.",
    ):
        assert part in message
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_an_infeasible_target_tells_that_the_trunk_is_kept() -> None:
    config = settings(target={"params": 0.1}, trunk="keep")
    with pytest.raises(InfeasibleTarget, match="--set trunk=tied"):
        check_target(teacher_of("cyclegan"), config)


def test_the_smallest_share_named_can_be_reached(photos: Images, tmp_path: Path) -> None:
    teacher = teacher_of("cyclegan")
    with pytest.raises(InfeasibleTarget) as error:
        check_target(teacher, settings(target={"params": 0.001}, min_channels=2))
    smallest = float(str(error.value).split("still has ")[1].split(" of")[0])
    config = settings(target={"params": smallest}, min_channels=2)
    student, teacher = compressed("cyclegan", photos, tmp_path, config)
    assert set(student.widths.values()) == {2}
    assert share(student, teacher, "params") == pytest.approx(smallest, rel=1e-3)


def test_gd_without_a_target_is_refused(photos: Images, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"procedure 'gd' needs a target .*\(--set target\.macs=0"
    ):
        compressed("cyclegan", photos, tmp_path, settings(procedure="gd"))
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_rounds_cut_in_between(photos: Images, tmp_path: Path) -> None:
    config = settings(target={"macs": 0.25}, sparsify={"steps": 12, "rounds": 2})
    student, teacher = compressed("cartoongan", photos, tmp_path, config)
    middle = load(tmp_path / "sparsify-1" / "student.safetensors")
    assert 0.25 < share(middle, teacher, "macs") < 0.7
    assert share(student, teacher, "macs") <= 0.25
    assert [line["step"] for line in log_of(tmp_path, "sparsify-2")] == list(range(6))
    widths = [sum(m.widths.values()) for m in (teacher, middle, student)]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("crops", [0, 2])
def test_the_teacher_works_once_per_crop(crops: int, photos: Images, tmp_path: Path) -> None:
    config = settings(
        target={"macs": 0.5}, data={"cached_crops": crops}, sparsify={"steps": 5, "batch": 4},
        finetune={"steps": 20},
    )  # fmt: skip
    compressed("cyclegan", photos, tmp_path, config)
    facts = json.loads((tmp_path / "finetune" / "done.json").read_text())
    expected = {0: (80, 0), 2: (0, 80)}  # where crops are fixed, all is rendered before the stages
    assert (facts["computed"], facts["recalled"]) == expected[crops]
    rendered = [json.loads(p.read_text()) for p in tmp_path.glob("render*/done.json")]
    assert sum(facts["computed"] for facts in rendered) == {0: 0, 2: 32}[crops]
    # joint loop and fine-tuning share them: what the first renders, the second reads back
    assert sum(facts["recalled"] for facts in rendered) == {0: 0, 2: 32}[crops]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("affine", [False, True])
def test_a_scaled_copy_makes_the_teachers_picture(family: str, affine: bool, some: Tensor) -> None:
    teacher = teacher_of(family, affine=affine)
    copied = scaled_copy(teacher)
    assert copied.options["affine"] is True
    assert (copied(some) - teacher(some)).abs().max() <= 1e-6
    assert copied.widths == teacher.widths


def test_a_batch_norm_teacher_can_be_slimmed(photos: Images, tmp_path: Path) -> None:
    config = settings(target={"macs": 0.5}, finetune={"ema": 0.9})
    student, teacher = compressed("cyclegan", photos, tmp_path, config, norm="batch")
    assert student.options["norm"] == "batch"
    assert share(student, teacher, "macs") <= 0.5


def test_a_separable_teacher_can_be_slimmed(photos: Images, tmp_path: Path) -> None:
    config = settings(target={"macs": 0.5})
    student, teacher = compressed("cyclegan", photos, tmp_path, config, separable=True)
    assert student.options["separable"] is True
    assert share(student, teacher, "macs") <= 0.5


@pytest.mark.parametrize(("batch", "columns"), [(1, 1), (3, 3), (6, 4)])
def test_first_and_last_step_are_drawn_with_a_column_for_each_picture(
    batch: int, columns: int, photos: Images, tmp_path: Path
) -> None:
    config = settings(
        target={"macs": 0.5}, data={"batch": batch}, sparsify={"batch": batch, "steps": 4}
    )
    compressed("cartoongan", photos, tmp_path, config)
    for stage, last in {"sparsify": 3, "finetune": 2}.items():
        drawn = sorted((tmp_path / stage / "images").iterdir())
        assert [p.name for p in drawn] == [
            f"photo-teacher-student-{step:07d}.png" for step in (0, last)
        ]
        for file in drawn:
            with Image.open(file) as picture:
                assert picture.size == (columns * 34 - 2, 3 * 34 - 2)
