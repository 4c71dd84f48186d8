"""GAN Slimming where something is at its end: nothing left, nothing to do, or nothing possible."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import difference
from silent_nets import shifts
from slim_runs import compressed, log_of, resolved, settings, share, slim, teacher_of
from torch import Tensor

from ganpress.channels.silence import scale_magnitudes
from ganpress.channels.take import scales
from ganpress.data import Images, evaluation, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import Diverged
from ganpress.methods.gan_slimming.extract import cut, floors_of, scaled_copy
from ganpress.methods.gan_slimming.joint import Pruning, rate_factors
from ganpress.methods.gan_slimming.proximal import kept_by_floor
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.methods.gan_slimming.targets import cost_ratio, prunable
from ganpress.models.checkpoint import Model, load
from ganpress.nn.layers import add_gates
from ganpress.nn.norms import is_norm
from ganpress.run.files import read_json
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.cyclegan import CycleGANTraining
from ganpress.training.train import train


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("photos"), 8, seed=3, size=40))


@pytest.fixture(scope="module")
def some(photos: Images) -> Tensor:
    return next(evaluation(photos, batch=4, size=32)).x


@torch.no_grad()
def start(family: str, change: Callable[[dict[str, list[Any]]], None]) -> Model:
    """A student as the joint loop has it, after ``change`` of its scales."""
    student = scaled_copy(teacher_of(family))
    change(scales(add_gates(student.net)))
    return student


def trimmed(student: Model, some: Tensor, **changes: Any) -> Model:
    config = resolved(student, settings(**changes))
    return cut(student, (some,), config, Pruning(floors_of(student, config)))


# --- every channel of a group gone ---------------------------------------------------------------


def zero(*groups: str) -> Callable[[dict[str, list[Any]]], None]:
    def change(found: dict[str, list[Any]]) -> None:
        for group in groups:
            for scale in found[group]:
                scale.zero_()

    return change


@pytest.mark.parametrize("floor", [1, 3])
@pytest.mark.parametrize("group", ["stem", "down1", "trunk", "up1", "up2"])
def test_a_group_that_lost_every_channel_keeps_the_minimum_with_a_warning(
    group: str, floor: int, some: Tensor
) -> None:
    student = start("cyclegan", zero(group))
    with pytest.warns(UserWarning, match=f"Every channel of {group} was to be cut: at least"):
        small = trimmed(student, some, min_channels=floor)
    assert small.widths == {**student.widths, group: floor}
    assert small(some).isfinite().all()


def test_a_group_that_keeps_a_channel_is_not_warned_of(some: Tensor) -> None:
    def but_one(found: dict[str, list[Any]]) -> None:
        found["up1"][0][1:] = 0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trimmed(start("cyclegan", but_one), some).widths["up1"] == 1


@pytest.mark.parametrize("family", ["cyclegan", "cartoongan"])
def test_a_residual_block_that_lost_every_channel_becomes_the_identity_in_the_cut(
    family: str, some: Tensor
) -> None:
    student = start(family, zero("block0"))
    before = student(some)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # to vanish is no loss
        small = trimmed(student, some)
    assert small.widths["block0"] == 0
    block = small.net.get_submodule("blocks.0")
    x = torch.randn(2, 8, 8, 8)
    shift = block(torch.zeros(1, 8, 1, 1))
    assert difference(block(x), x + shift) < 1e-6  # not 2x, as the authors' empty block gives
    assert difference(small(some), before) < 1e-4


def test_the_loop_warns_of_a_group_that_it_holds_at_the_minimum(
    photos: Images, tmp_path: Path
) -> None:
    """One group's scales lie under what rho takes off in a step; the others are far above."""
    teacher = teacher_of("cyclegan", affine=True)
    with torch.no_grad():
        for scale in scales(teacher.net)["up2"]:
            scale.mul_(1e-3)
    still = {"relative": False, "rho": 1.0, "scale_lr": 0.05, "steps": 3}
    soft = {
        "beta": 1e-3,
        "discriminator": {"weight": 0.0},
    }  # so that little but rho moves the scales
    config = settings(min_channels=2, sparsify={**still, "schedule": "constant"}, **soft)
    with pytest.warns(UserWarning, match="Every channel of up2 was to be cut: at least 2"):
        student = slim(teacher, photos, config, Run(tmp_path, quiet=True))
    assert student.widths["up2"] == 2
    assert all(w == 8 for g, w in student.widths.items() if g != "up2")


def test_only_groups_that_are_held_back_alone_are_told() -> None:
    relative = {"a": torch.tensor([0.1, 0.2]), "b": torch.tensor([0.1, 0.9])}
    assert kept_by_floor(relative, 0.3) == ["a"]
    assert kept_by_floor(relative, 0.15) == []
    assert (
        kept_by_floor(relative, 1.0) == []
    )  # all of them: rho collapses, or the target asks for it
    told = {"a": torch.tensor([True, False]), "b": torch.tensor([True, True])}
    assert kept_by_floor(relative, 0.0, told) == ["b"]
    assert (
        kept_by_floor({**relative, "b": torch.zeros(2)}, 0.15) == []
    )  # `cut` tells of silent ones


# --- gamma 0 with a large beta -------------------------------------------------------------------


@pytest.mark.parametrize("family", ["cyclegan", "cartoongan"])
@pytest.mark.parametrize("beta", [-40.0, 40.0])
def test_channels_of_scale_0_and_a_large_shift_are_cut_without_changing_the_picture(
    family: str, beta: float, some: Tensor
) -> None:
    """The authors' extraction drops what these channels emit, which changes the picture."""
    groups, small = ("block0", "up2"), {}  # whose readers are reflect-padded
    for kept in (True, False):
        student = start(family, lambda _: None)
        with torch.no_grad():
            for group in groups:
                [scale], [shift] = scales(student.net)[group], shifts(student.net, group)
                scale[::2] = 0
                shift[::2] = beta if kept else 0.0
        before = student(some)
        small[kept] = trimmed(student, some)
        assert {g: small[kept].widths[g] for g in groups} == dict.fromkeys(groups, 4)
        assert difference(small[kept](some), before) < 2e-4
    if beta > 0:  # a ReLU passes it on: it is in the next biases, and the picture is another
        assert difference(small[True](some), small[False](some)) > 0.01


# --- nothing to do, or less than that ------------------------------------------------------------


@pytest.mark.parametrize("family", ["cyclegan", "cartoongan"])
def test_a_target_met_before_the_first_step_cuts_nothing(
    family: str, photos: Images, tmp_path: Path
) -> None:
    config = settings(target={"macs": 1.0}, sparsify={"lr": 5e-4, "rho": 0.0})
    student, teacher = compressed(family, photos, tmp_path, config)
    assert student.widths == teacher.widths
    lines = log_of(tmp_path, "sparsify")
    assert {line["level"] for line in lines} == {0.0}
    assert {line["cost/target"] for line in lines} == {1.0}


def test_a_target_that_the_bits_alone_meet_cuts_nothing(photos: Images, tmp_path: Path) -> None:
    config = settings(
        target={"bytes": 0.5}, quantise={"bits": 8}, sparsify={"rho": 0.0}, finetune={"steps": 1}
    )
    student, teacher = compressed("cyclegan", photos, tmp_path, config)
    assert student.widths == teacher.widths
    assert share(student, teacher, "bytes") < 0.5


def test_gd_with_a_target_of_all_is_as_wide_as_the_teacher(photos: Images, tmp_path: Path) -> None:
    config = settings(procedure="gd", target={"macs": 1.0}, finetune={"steps": 1})
    student, teacher = compressed("cyclegan", photos, tmp_path, config)
    assert student.widths == teacher.widths


# --- negative scales -----------------------------------------------------------------------------


def test_channels_with_negative_scales_count_by_their_size(photos: Images, tmp_path: Path) -> None:
    """The larger half of each group is negative: that is the half which is kept."""
    teacher = teacher_of("cyclegan", affine=True)
    size = torch.tensor([1.5, 0.1, 1.4, 0.12, 1.6, 0.14, 1.3, 0.11])
    sign = torch.tensor([-1.0, 1, -1, 1, -1, 1, -1, 1])
    marks = torch.arange(8.0) / 10
    with torch.no_grad():
        for norm in (m for m in teacher.net.modules() if is_norm(m)):
            norm.weight.copy_(size * sign)
            norm.bias.copy_(marks)
    still = {"lr": 1e-7, "weight_decay": 0.0}
    soft = {"rho": 1.0, "scale_lr": 0.02, "schedule": "constant", "relative": False, "steps": 10}
    config = settings(
        sparsify={**still, **soft}, finetune=still, discriminator={"weight": 0.0}, beta=1e-3
    )
    student = slim(teacher, photos, config, Run(tmp_path, quiet=True))
    assert set(student.widths.values()) == {4}
    for group, producers in scales(student.net).items():
        for scale in producers:
            assert (scale < -1).all(), group
            assert difference(scale, (size * sign)[::2] + 10 * 0.02) < 0.05  # shrunk towards 0


# --- rho so large that all collapses -------------------------------------------------------------


def collapsing() -> SlimConfig:
    """All scales shrink by 0.15 of their mean a step, from 1: only the floors after a few."""
    large = {"rho": 1.5, "scale_lr": 0.1, "steps": 30, "schedule": "constant"}
    return settings(
        sparsify=large, min_channels=2, restarts=0, beta=1e-3, discriminator={"weight": 0.0}
    )


@pytest.mark.parametrize("family", ["cyclegan", "cartoongan"])
def test_a_collapse_stops_with_advice_and_keeps_the_last_good_state(
    family: str, photos: Images, tmp_path: Path
) -> None:
    run = Run(tmp_path, quiet=True, log_every=1, save_every_s=0.0)
    with pytest.raises(Diverged) as error:
        slim(teacher_of(family), photos, collapsing(), run)
    told = str(error.value)
    for part in (
        "all groups have shrunk to min_channels=2 (lower sparsify.rho)",
        "The last good state, after",
    ):
        assert part in told
    saved = torch.load(tmp_path / "sparsify" / "state.pt", weights_only=False)
    steps = int(told.split("The last good state, after ")[1].split(" steps")[0])
    assert saved["step"] == steps > 2
    student = start(family, lambda _: None)
    student.net.load_state_dict(saved["of"]["student"])
    alive = {g: int((s > 0).sum()) for g, s in scale_magnitudes(student.net).items()}
    assert max(alive.values()) > 2  # it had not collapsed yet
    assert all(t.isfinite().all() for t in student.net.state_dict().values())
    assert not (tmp_path / "sparsify" / "done.json").exists()


def test_scales_that_explode_stop_with_advice(photos: Images, tmp_path: Path) -> None:
    wild = {"scale_lr": 1e4, "rho": 0.0, "steps": 30, "schedule": "constant"}
    config = settings(sparsify=wild, min_channels=2, restarts=0)
    with pytest.raises(Diverged, match=r"have grown 100-fold \(lower sparsify.scale_lr\)"):
        slim(teacher_of("cyclegan"), photos, config, Run(tmp_path, quiet=True, log_every=1))


# --- rounds --------------------------------------------------------------------------------------


def test_rounds_share_the_way_from_what_the_bits_alone_leave(
    photos: Images, tmp_path: Path
) -> None:
    config = settings(
        target={"bytes": 0.12},
        min_channels=1,
        quantise={"bits": 8},
        sparsify={"rounds": 2, "steps": 8},
    )
    teacher = teacher_of("cyclegan")
    slim(teacher, photos, config, Run(tmp_path, quiet=True))
    costs = [read_json(tmp_path / f"sparsify-{n}" / "done.json")["cost"] for n in (1, 2)]
    bits_alone = cost_ratio(teacher, config)(teacher.widths)
    assert 0.25 < bits_alone < 0.5
    assert costs[1] <= 0.12 < costs[0] <= (bits_alone * 0.12) ** 0.5  # and not 0.12 ** 0.5


def test_rounds_have_all_the_steps_between_them(photos: Images, tmp_path: Path) -> None:
    config = settings(sparsify={"rounds": 3, "steps": 5})
    slim(teacher_of("cyclegan"), photos, config, Run(tmp_path, quiet=True))
    steps = [read_json(tmp_path / f"sparsify-{n}" / "done.json")["steps"] for n in (1, 2, 3)]
    assert steps == [1, 2, 2]


# --- schedules -----------------------------------------------------------------------------------


def test_the_rates_of_the_paper_and_of_its_code() -> None:
    for progress in (0.0, 0.25, 0.5):
        weights, eta, discriminator = rate_factors("linear", progress)
        assert weights == discriminator == 1  # alpha, of W and theta
        assert rate_factors("cosine", progress) == (eta, eta, eta)
    assert rate_factors("linear", 0.75)[0] == rate_factors("linear", 0.75)[2] == 0.5
    assert rate_factors("linear", 1.0) == rate_factors("cosine", 1.0) == (0, 0, 0)
    assert rate_factors("constant", 0.9) == (1, 1, 1)


# --- both directions of a pair -------------------------------------------------------------------


def test_both_directions_of_a_trained_pair_can_be_slimmed_each_against_its_own_discriminator(
    photos: Images, tmp_path: Path
) -> None:
    other = open_images(write_folder(tmp_path / "other", 6, seed=5, size=40, stylised=True))
    config = checked(
        CycleGANTraining,
        {
            **{"steps": 2, "batch": 2, "width": 0.125, "options": {"blocks": 1}, "pool": 2},
            "data": {"size": 32, "load_size": 36, "workers": 0},
            "discriminator": {"width": 4, "layers": 2},
        },
    )
    train("cyclegan", photos, run=tmp_path / "pair", other=other, config=config, quiet=True)
    discriminators = {}
    for way, images in (("A2B", photos), ("B2A", other)):
        teacher = load(tmp_path / "pair" / f"teacher-{way}.safetensors")
        assert teacher.discriminator is not None
        assert set(prunable(teacher, settings())) == set(teacher.widths)
        fixed = settings(target={"macs": 0.5}, discriminator={"fixed": True}, data={"batch": 2})
        run = tmp_path / way
        student = slim(teacher, images, fixed, Run(run, quiet=True, log_every=1))
        assert share(student, teacher, "macs") <= 0.5
        assert all(line["loss/gan"] > 0 for line in log_of(run, "finetune"))
        held = torch.load(run / "sparsify" / "discriminator.pt", weights_only=True)
        discriminators[way] = {n.removeprefix("net."): t for n, t in held.items()}
        for name, tensor in teacher.discriminator.net.state_dict().items():
            assert torch.equal(discriminators[way][name], tensor), (way, name)
    assert any(
        not torch.equal(discriminators["A2B"][n], t) for n, t in discriminators["B2A"].items()
    )
