"""Residual blocks that pruning empties (`sparsify.empty_blocks`): the depth reduction of GAN
Slimming's shortcuts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import VANISHING, WIRINGS, Wiring, difference, each, every_vanishing_wiring
from torch import Tensor

from ganpress.channels.ranking import cut_level, keep_top
from ganpress.channels.take import scales
from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import Diverged, InfeasibleTarget
from ganpress.formats.exporters import export
from ganpress.measures.cost import CostTable, measure
from ganpress.methods.base import Given
from ganpress.methods.gan_slimming.extract import cut, first_scales, floors_of, rounded
from ganpress.methods.gan_slimming.goal import Goal
from ganpress.methods.gan_slimming.joint import Pruning
from ganpress.methods.gan_slimming.method import slim
from ganpress.methods.gan_slimming.proximal import (
    collapsed,
    empty_groups,
    hold_empty,
    kept_by_floor,
    prune_step,
)
from ganpress.methods.gan_slimming.settings import SlimConfig, resolve
from ganpress.methods.gan_slimming.targets import check_target, uniform_widths
from ganpress.models.checkpoint import Model, full_model, load, save
from ganpress.nn.layers import add_gates
from ganpress.run.logs import read_log
from ganpress.run.run import Run, Stage
from ganpress.run.settings import checked

PRUNED = {n: w for n, w in VANISHING.items() if set(scales(w.net(gates=True))) & set(w.vanishing)}
FAST: dict[str, Any] = {
    "min_channels": 2,
    "data": {"size": 32, "batch": 2, "workers": 0},
    "distance": {"features": "tiny", "style": 0.0, "unit": 2.0, "pixel": 5.0},
    "discriminator": {"width": 4, "layers": 2, "weight": 0.1, "lr": 2e-4},
    "sparsify": {"steps": 6, "lr": 5e-4, "empty_blocks": True},
    "finetune": {"steps": 3, "lr": 1e-3, "ema": 0.9},
}
RHO = {"relative": False, "schedule": "constant", "scale_lr": 1e-7, "rho": 2e5}
"""0.02 a step, and next to no gradient: a block whose scales are 0.05 is empty after three steps,
and no other group loses a channel."""


def settings(**changes: Any) -> SlimConfig:
    values = dict(FAST)
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return checked(SlimConfig, values)


def teacher(*, width: int = 8, quiet_block: bool = True) -> Model:
    """A ResNet of two blocks, all groups of the same width; block1's scales are small."""
    torch.manual_seed(0)
    model = full_model("cyclegan", blocks=2, affine=True)
    small = Model(model.build(dict.fromkeys(model.widths, width)), model.family, model.options)
    if quiet_block:
        torch.nn.init.constant_(small.net.blocks[1].norm1.weight, 0.05)
    torch.nn.init.normal_(small.net.blocks[1].norm2.bias)
    return small


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images(write_folder(tmp_path_factory.mktemp("photos"), 8, seed=3, size=40))


def slimmed(photos: Images, root: Path, config: SlimConfig, of: Model | None = None) -> Model:
    run = Run(root, seed=config.seed, quiet=True, save_every_s=0.0, log_every=1)
    return slim(Given(of or teacher(), photos), resolve(config), run)


def pruning_of(model: Model, config: SlimConfig, **more: Any) -> Pruning:
    return Pruning(floors=floors_of(model, config), references=first_scales(model.net), **more)


# --- which groups, and the step ------------------------------------------------------------------


def test_only_inner_groups_of_blocks_that_may_vanish_have_the_floor_0() -> None:
    model = WIRINGS["cartoongan"].model()
    floors = floors_of(model, settings())
    assert {g for g, n in floors.items() if n == 0} == {"block0", "block1"}
    assert {n for g, n in floors.items() if not g.startswith("block")} == {2}
    off = settings(sparsify={"empty_blocks": False})
    assert set(floors_of(model, off).values()) == {2}
    assert set(floors_of(WIRINGS["cartoongan batch"].model(), settings()).values()) == {2}
    assert set(floors_of(model, settings(procedure="gd", width_ratio=0.5)).values()) == {2}


def test_blocks_keep_their_floor_unless_it_is_asked_for() -> None:
    assert not SlimConfig().sparsify.empty_blocks


def test_a_step_takes_the_last_channel_of_a_group_with_floor_0_and_of_no_other() -> None:
    groups = {"a": [torch.tensor([0.2, 0.1, 0.3])], "b": [torch.tensor([0.1, 0.2, 0.3])]}
    relative = {g: s[0].clone() for g, s in groups.items()}
    unit = {"a": 1.0, "b": 1.0}
    alive = prune_step(groups, relative, unit, 0.5, floors={"a": 0, "b": 2})
    assert alive == {"a": 0, "b": 2}
    assert groups["a"][0].tolist() == [0.0, 0.0, 0.0]
    assert groups["b"][0].tolist() == pytest.approx([0.0, 0.2, 0.3])


def test_an_emptied_block_is_held_empty_and_no_other_group_is() -> None:
    groups = {g: [torch.zeros(3), torch.zeros(3)] for g in ("trunk", "block0", "block1")}
    groups["block1"][1][2] = -0.1  # one of its producers speaks
    floors = {"trunk": 2, "block0": 0, "block1": 0}
    emptied = empty_groups(groups, floors)
    assert emptied == {"block0"}
    for producers in groups.values():
        for scale in producers:
            scale.add_(1)  # as a step of SGD
    hold_empty(groups, emptied)
    left = {g: [float(s.sum()) for s in ss] for g, ss in groups.items()}
    assert left == {"trunk": [3, 3], "block0": [0, 0], "block1": [3, pytest.approx(2.9)]}


def test_a_target_counts_emptied_groups_as_nothing_whatever_the_multiple() -> None:
    scores = {"a": torch.tensor([0.1, 0.2, 0.3]), "b": torch.tensor([0.5, 0.6, 0.7, 0.9])}
    floors = {"a": 0, "b": 2}

    def cost(widths: Any) -> float:
        return 10.0 * widths["a"] + widths["b"]

    level, chosen = cut_level(scores, budget=5, cost=cost, floors=floors, multiple=2)
    assert (chosen, level) == ({"a": 0, "b": 4}, pytest.approx(0.3))
    kept = keep_top(scores, budget=3, cost=cost, floors=floors)
    assert {g: k.tolist() for g, k in kept.items()} == {"a": [], "b": [1, 2, 3]}
    with pytest.raises(InfeasibleTarget, match="none where it may vanish"):
        cut_level(scores, budget=1, cost=cost, floors=floors)


def test_rounding_widths_up_fills_no_emptied_group() -> None:
    keep = {"a": torch.empty(0, dtype=torch.int64), "b": torch.tensor([1, 3, 4])}
    scores = {"a": torch.zeros(8), "b": torch.tensor([0.0, 1, 0.2, 1, 1, 0.3])}
    filled = rounded(keep, scores, 4)
    assert {g: k.tolist() for g, k in filled.items()} == {"a": [], "b": [1, 3, 4, 5]}


def test_a_network_has_collapsed_when_its_blocks_are_empty_and_the_rest_is_at_the_floor() -> None:
    scores, floors = {"a": torch.ones(8), "block0": torch.ones(8)}, {"a": 2, "block0": 0}
    assert collapsed({"a": 2, "block0": 0}, scores, floors)
    assert not collapsed({"a": 2, "block0": 1}, scores, floors)
    assert not collapsed({"a": 3, "block0": 0}, scores, floors)


def test_no_warning_names_a_group_that_was_allowed_to_vanish() -> None:
    relative = {"a": torch.tensor([0.1]), "block0": torch.tensor([0.1, 0.2]), "b": torch.ones(2)}
    floors = {"a": 1, "block0": 0, "b": 1}
    assert kept_by_floor(relative, 0.5, None, floors) == ["a"]
    assert kept_by_floor(relative, 0.5, None, {**floors, "block0": 1}) == ["a", "block0"]


# --- extraction ----------------------------------------------------------------------------------


@each(PRUNED)
def test_a_silent_block_is_cut_to_the_identity_only_where_it_may_lose_its_floor(
    wiring: Wiring,
) -> None:
    model = wiring.model()
    add_gates(model.net)
    group = wiring.vanishing[-1]
    with torch.no_grad():
        for scale in scales(model.net)[group]:
            scale[1:] = 0  # one channel still speaks
    inputs = wiring.inputs(1)
    for empty, left in ((True, 1), (False, 2)):
        config = settings(sparsify={"empty_blocks": empty})
        small = cut(model_copy(model), inputs, config, pruning_of(model, config))
        assert small.widths == {**model.widths, group: left}
    with torch.no_grad():
        for scale in scales(model.net)[group]:
            scale.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = settings()
        small = cut(model_copy(model), inputs, config, pruning_of(model, config))
    assert small.widths == {**model.widths, group: 0}


def model_copy(model: Model) -> Model:
    net = model.build(model.widths)
    add_gates(net)
    net.load_state_dict(model.net.state_dict())
    return Model(net.eval(), model.family, model.options)


@every_vanishing_wiring
def test_the_cost_of_an_emptied_block_is_that_of_the_network_without_it(wiring: Wiring) -> None:
    emptied = {**wiring.widths, **dict.fromkeys(wiring.vanishing, 0)}
    built = CostTable(wiring.build(emptied), wiring.pixels)()
    assert CostTable(wiring.net(), wiring.pixels)(emptied) == built


# --- targets -------------------------------------------------------------------------------------


def limits() -> tuple[float, float]:
    """The smallest cost with the blocks emptied, and with their floor, as a share."""
    model = teacher()
    table = CostTable(model.net, model.family.image.size)
    floor = dict.fromkeys(model.widths, 2)
    bare = {**floor, "block0": 0, "block1": 0}
    whole = table().macs
    return table(bare).macs / whole, table(floor).macs / whole


def test_a_target_below_the_floors_is_feasible_with_emptied_blocks_and_refused_without() -> None:
    emptied, floor = limits()
    between = {"macs": (emptied + floor) / 2}
    check_target(teacher(), settings(target=between))
    with pytest.raises(InfeasibleTarget, match=r"--set sparsify\.empty_blocks=true"):
        check_target(teacher(), settings(target=between, sparsify={"empty_blocks": False}))
    with pytest.raises(InfeasibleTarget) as error:
        check_target(teacher(), settings(target={"macs": 0.9 * emptied}))
    told = float(str(error.value).partition("still has ")[2].split()[0])
    assert emptied <= told <= 1.001 * emptied
    assert "empty_blocks" not in str(error.value)


def test_the_uniformly_narrow_student_is_promised_no_emptied_blocks() -> None:
    emptied, floor = limits()
    config = settings(procedure="gd", target={"macs": (emptied + floor) / 2})
    with pytest.raises(InfeasibleTarget) as error:
        check_target(teacher(), config)
    assert "empty_blocks" not in str(error.value)
    reached = uniform_widths(teacher(), settings(procedure="gd", target={"macs": 1.01 * floor}))
    assert set(reached.values()) == {2}


def test_a_target_that_needs_emptied_blocks_is_met(photos: Images, tmp_path: Path) -> None:
    emptied, floor = limits()
    wanted = 0.7 * emptied + 0.3 * floor  # half way, each block would have one channel
    gently = {"rho": 0.0, "steps": 10, "scale_lr": 1e-4}
    config = settings(target={"macs": wanted}, sparsify=gently)
    student = slimmed(photos, tmp_path / "run", config, teacher(quiet_block=False))
    assert student.widths["block0"] * student.widths["block1"] == 0
    of = [measure(m.net, m.family.image.size).macs for m in (student, teacher())]
    assert of[0] / of[1] <= wanted
    assert min(n for g, n in student.widths.items() if not g.startswith("block")) >= 2


def test_where_a_goal_is_met_at_the_end_only_blocks_can_go_entirely() -> None:
    model, config = teacher(quiet_block=False), settings()
    emptied, floor = limits()
    table, whole = CostTable(model.net, 256), measure(model.net, 256).macs
    goal = Goal(lambda w: table(w).macs / whole, 1.0, (emptied + floor) / 2, 0.8)
    inputs = (torch.zeros(1, 3, 32, 32),)
    small = cut(model, inputs, config, pruning_of(model, config, goal=goal), to_budget=True)
    assert goal.cost(small.widths) <= goal.end
    assert all(n >= 2 for g, n in small.widths.items() if not g.startswith("block"))


# --- whole runs ----------------------------------------------------------------------------------


def test_a_large_rho_empties_a_block_which_is_then_the_identity_with_its_shift(
    photos: Images, tmp_path: Path
) -> None:
    student = slimmed(photos, tmp_path / "run", settings(sparsify=RHO))
    assert student.widths == {**teacher().widths, "block1": 0}
    block, x = student.net.blocks[1], torch.randn(2, 8, 8, 8)
    assert torch.equal(block(x), x + block.norm2.bias.view(1, -1, 1, 1))
    assert block.norm2.bias.abs().max() > 0.1
    at = (torch.rand(1, 3, 32, 32) * 2 - 1,)
    whole = picture(student, *at)
    save(student, tmp_path / "student.safetensors")
    again = load(tmp_path / "student.safetensors")
    assert again.widths == student.widths
    assert torch.equal(picture(again, *at), whole)
    cost = measure(student.net, 32).macs
    inner = 8 * 8 * 9 * (32 // 4) ** 2  # each of the block's two convolutions, at a quarter
    assert measure(teacher().net, 32).macs - cost == 2 * inner
    pytest.importorskip("onnxruntime")
    facts = export(student, tmp_path / "student.onnx", size=32)
    assert facts.max_abs_diff <= 1e-3


def picture(model: Model, *inputs: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model.net.eval()(*inputs)
    return out


def test_emptying_a_silent_block_changes_no_picture() -> None:
    model, config = teacher(), settings()
    torch.nn.init.zeros_(model.net.blocks[1].norm1.weight)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    before = picture(model, x)
    small = cut(model, (x,), config, pruning_of(model, config))
    assert small.widths["block1"] == 0
    assert difference(picture(small, x), before) <= 1e-5


def test_a_block_that_was_emptied_does_not_come_back_by_the_gradient_of_a_norm_of_a_constant(
    photos: Images, tmp_path: Path
) -> None:
    loud = {**RHO, "scale_lr": 1e-5, "rho": 2e3, "steps": 8}  # SGD alone would bring 2 to 4 back
    student = slimmed(photos, tmp_path / "run", settings(sparsify=loud))
    log = read_log(tmp_path / "run" / "sparsify" / "log.jsonl")
    widths = [line["width/block1"] for line in log]
    assert widths[0] == 8
    assert set(widths[widths.index(0) :]) == {0}
    assert student.widths["block1"] == 0


def test_the_same_rho_leaves_a_block_its_floor_without_the_setting_and_warns(
    photos: Images, tmp_path: Path
) -> None:
    config = settings(sparsify={**RHO, "empty_blocks": False})
    with pytest.warns(UserWarning, match="Every channel of block1"):
        student = slimmed(photos, tmp_path / "run", config)
    assert student.widths["block1"] == 2


def test_a_rho_that_takes_everything_is_told_with_the_blocks_at_0(
    photos: Images, tmp_path: Path
) -> None:
    config = settings(sparsify={**RHO, "rho": 5e7}, restarts=0)
    with pytest.raises(Diverged, match="min_channels=2, or to 0 in residual blocks"):
        slimmed(photos, tmp_path / "run", config)


class Stopped(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize("at", [("sparsify-2", 1), ("finetune", 1)])
def test_a_run_stopped_after_a_block_has_gone_ends_as_one_that_was_not(
    at: tuple[str, int], photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(sparsify={**RHO, "rounds": 2, "steps": 8})
    whole = slimmed(photos, tmp_path / "whole", config)
    assert whole.widths["block1"] == 0
    log = Stage.log

    def stop(self: Stage, step: int, /, **scalars: Any) -> None:
        if (self.name, step) == at:
            raise Stopped
        log(self, step, **scalars)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "log", stop)
        with pytest.raises(Stopped):
            slimmed(photos, tmp_path / "cut", config)
    resumed = slimmed(photos, tmp_path / "cut", config)
    pairs = zip(whole.net.state_dict().items(), resumed.net.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for (_, a), b in pairs)
