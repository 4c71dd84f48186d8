"""target.layout binds a student's widths to those that a class of another code base can have."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from slim_runs import resolved, settings, slim, teacher_of
from thin import thinned

from ganpress.channels.ranking import beyond, keep_top
from ganpress.channels.take import scales
from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.formats.exporters import export
from ganpress.measures.target import TargetSettings
from ganpress.methods.base import Given
from ganpress.methods.gan_slimming import GAN_SLIMMING
from ganpress.methods.gan_slimming.extract import cut, rounded, scaled_copy
from ganpress.methods.gan_slimming.joint import Pruning
from ganpress.methods.gan_slimming.targets import bind_of, cost_ratio, uniform_widths
from ganpress.models.checkpoint import Model, full_model
from ganpress.models.layouts import Binding, UpstreamClass
from ganpress.run.run import Run

NGF = UpstreamClass(
    name="N", of="u", widths={"a": ("n", 1), "b": ("n", 4), "c": ("m", 2)}, call=str
)
JUNYANZ: dict[str, Any] = {"layout": "pth-junyanz", "macs": 0.3}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return open_images([write_folder(tmp_path_factory.mktemp("photos"), 6, seed=3, size=40)])


def at_ngf(ngf: int, **options: Any) -> Model:
    """A ResNet of two blocks and random weights."""
    model = full_model("cyclegan", blocks=2, **options)
    torch.manual_seed(0)
    widths = {g: w * ngf // 64 for g, w in model.widths.items()}
    return Model(model.build(widths), model.family, model.options)


def test_the_group_that_needs_most_decides_for_all_of_its_number() -> None:
    bind = Binding("x", NGF, {"a": 10, "b": 40, "c": 12})
    assert bind({"a": 3, "b": 8, "c": 3}) == {"a": 3, "b": 12, "c": 4}
    assert bind({"a": 1, "b": 9, "c": 12}) == {"a": 3, "b": 12, "c": 12}
    assert bind({"a": 10, "b": 1, "c": 1}) == {"a": 10, "b": 40, "c": 2}
    assert not bind.has_one_number
    coarse = Binding("x", NGF, {"a": 10, "b": 40, "c": 12}, multiple=4)
    assert coarse({"a": 3, "b": 8, "c": 3}) == {"a": 4, "b": 16, "c": 4}


def test_what_hangs_on_a_whole_group_stays_whole() -> None:
    bind = Binding("x", NGF, {"a": 10, "b": 40, "c": 12}, whole=["b"])
    assert bind({"a": 1, "c": 3}) == {"a": 10, "c": 4}
    assert bind.free == ("c",)
    with pytest.raises(ConfigError, match="b 41"):
        Binding("x", NGF, {"a": 10, "b": 41, "c": 12}, whole=["b"])
    narrow = Binding("x", NGF, {"a": 10, "b": 39, "c": 13})  # no class has these
    assert narrow({"a": 10, "b": 39, "c": 13}) == {"a": 9, "b": 36, "c": 12}


def test_a_bound_choice_keeps_the_best_of_each_group_within_the_budget() -> None:
    scores = {"a": torch.arange(1.0, 11), "b": torch.arange(40.0, 0, -1), "c": torch.ones(12)}
    bind = Binding("x", NGF, {"a": 10, "b": 40, "c": 12})
    keep = keep_top(scores, budget=30, cost=lambda w: sum(w.values()), floors=1, bind=bind)
    n = len(keep["a"])
    assert keep["a"].tolist() == list(range(10 - n, 10))
    assert keep["b"].tolist() == list(range(4 * n)) and len(keep["c"]) % 2 == 0
    assert 5 * n + len(keep["c"]) <= 30
    gone = beyond(scores, {"a": 2, "b": 3, "c": 12})
    assert gone["a"].tolist() == [True] * 8 + [False] * 2
    assert int(gone["b"].sum()) == 37 and not gone["c"].any()


def test_extraction_fills_or_cuts_each_group_to_what_is_allowed() -> None:
    scores = {"a": torch.arange(1.0, 11), "b": torch.arange(40.0, 0, -1), "c": torch.ones(12)}
    keep = {"a": torch.tensor([9]), "b": torch.arange(30, 39), "c": torch.arange(12)}
    found = rounded(keep, scores, 1, Binding("x", NGF, {"a": 10, "b": 40, "c": 11}))
    assert found["a"].tolist() == [7, 8, 9]
    assert found["b"].tolist() == [0, 1, 2, *range(30, 39)]
    assert len(found["c"]) == 10  # of equal scores


def test_the_cut_leaves_widths_of_one_ngf_whatever_is_silent() -> None:
    config = settings(target={"layout": "pth-junyanz"})
    student = scaled_copy(at_ngf(8))
    with torch.no_grad():
        for group, [*producers] in scales(student.net).items():
            for scale in producers:
                scale[3 if group in ("stem", "up2") else 5 :] = 0
    bind = bind_of(at_ngf(8), config)
    pruning = Pruning(dict.fromkeys(student.widths, 1), bind=bind)
    small = cut(student, (torch.rand(2, 3, 32, 32),), config, pruning)
    assert small.widths == at_ngf(3).widths


@pytest.mark.parametrize(
    ("procedure", "rounds"),
    thinned([("gs", 2), ("d+cp", 1), ("gs", 1), ("gd", 1), ("d+cp", 2)], 2),
)
def test_a_student_is_what_junyanzs_class_can_be_and_goes_there(
    procedure: str, rounds: int, photos: Images, tmp_path: Path
) -> None:
    teacher = at_ngf(8)
    config = settings(procedure=procedure, target=JUNYANZ, sparsify={"rounds": rounds})
    student = slim(teacher, photos, config, Run(tmp_path, seed=0, quiet=True))
    ngf = student.widths["stem"]
    assert 1 < ngf < 8
    assert student.widths == at_ngf(ngf).widths
    cost = cost_ratio(teacher, config)
    assert cost(student.widths) <= 0.3 < cost(at_ngf(ngf + 1).widths)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*the InstanceNorms have scales")
        facts = export(student, tmp_path / "s.pth", to="pth-junyanz", size=32)
    assert facts.upstream is not None and f"ngf={ngf}," in facts.upstream


def test_without_a_cost_the_widths_are_bound_all_the_same(photos: Images, tmp_path: Path) -> None:
    config = settings(target={"layout": "pth-junyanz"}, sparsify={"rho": 0.5, "steps": 6})
    student = slim(at_ngf(4), photos, config, Run(tmp_path, seed=0, quiet=True))
    assert student.widths == at_ngf(student.widths["stem"]).widths


def refused(teacher: Model, **changes: Any) -> str:
    """The message that a compression is refused with, before any training."""
    with pytest.raises((ConfigError, InfeasibleTarget)) as told:
        GAN_SLIMMING.check(Given(teacher, None), resolved(teacher, settings(**changes)))
    return str(told.value)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganpress.methods.gan_slimming.method.check_images", lambda *_, **__: None)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_bound_is_refused_by_a_sentence_whose_advice_works() -> None:
    teacher = at_ngf(8)
    kept = refused(teacher, target=JUNYANZ, trunk="keep")
    assert "hang on one number" in kept and "Set trunk=tied" in kept
    tied = resolved(teacher, settings(target=JUNYANZ))
    GAN_SLIMMING.check(Given(teacher, None), tied)
    spade = full_model("gaugan", labels=3)
    spade = Model(
        spade.build({g: w // 16 if "hidden" not in g else w for g, w in spade.widths.items()}),
        spade.family,
        spade.options,
    )
    nvlabs = {"layout": "pth-nvlabs", "macs": 0.5}
    told = refused(spade, target=nvlabs)
    assert "SPADEGenerator" in told and "procedure=gd" in told
    gd = settings(target=nvlabs, procedure="gd")
    GAN_SLIMMING.check(Given(spade, None), resolved(spade, gd))
    widths = uniform_widths(spade, gd)
    assert widths["trunk"] == 16 * widths["up_3"] < 64
    assert {w for g, w in widths.items() if "hidden" in g} == {128}
    assert "empty_blocks=false" in refused(teacher, target=JUNYANZ, sparsify={"empty_blocks": True})
    assert "pth-junyanz" in refused(teacher, target={"layout": "pth-sngan", "macs": 0.5})
    assert "narrower" not in refused(teacher_of("cartoongan"), target={"layout": "pth-cartoongan"})
    low = refused(teacher, target={**JUNYANZ, "macs": 1e-4})
    assert "as pth-junyanz has it" in low


def test_a_misspelt_layout_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'pth-junyanz'"):
        TargetSettings(layout="pth-junyans")
    assert TargetSettings(layout="pth-junyanz").chosen is None
    assert TargetSettings(layout="pth-junyanz", macs=0.1).chosen == ("macs", 0.1)
