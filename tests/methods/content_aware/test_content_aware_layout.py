"""target.layout binds the widths of a cut to those that a class of another code base can have."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from cagc_runs import press, settings
from nets import WIRINGS
from thin import thinned

from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.formats.exporters import export
from ganpress.methods.base import Given
from ganpress.methods.content_aware.cut import cut, pruned
from ganpress.methods.content_aware.pruning import check_pruning, cost_of, limits
from ganpress.models.checkpoint import Model, full_model

LAYOUTS = {"sngan": "pth-sngan", "cyclegan": "pth-junyanz"}


def teacher_of(family: str, width: int = 8) -> Model:
    """One that the class of `LAYOUTS` holds, ``width`` channels at its narrowest."""
    torch.manual_seed(0)
    if family == "sngan":
        model = WIRINGS["sngan"].model()
        return Model(model.build(dict.fromkeys(model.widths, width)), model.family, model.options)
    model = full_model("cyclegan", blocks=2)
    widths = {g: w * width // 64 for g, w in model.widths.items()}
    return Model(model.build(widths), model.family, model.options)


CUTS: list[dict[str, Any]] = [
    {"cut": {"ratio": 0.5}},
    {"cut": {"ratio": 0.5, "scope": "network"}},
    {"cut": {"ratio": None}, "target": {"macs": 0.6}},
    {"cut": {"ratio": None, "scope": "network"}, "target": {"macs": 0.6}},
]


@pytest.mark.parametrize("changes", CUTS, ids=["ratio", "of all", "cost", "cost of all"])
@pytest.mark.parametrize("family", thinned(LAYOUTS, 1))
def test_the_cut_network_goes_into_the_class(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    teacher, layout = teacher_of(family), LAYOUTS[family]
    changes = {**changes, "target": {**changes.get("target", {}), "layout": layout}}
    c = settings(**changes)
    check_pruning(teacher, c, lambda _: None)
    draw = torch.Generator().manual_seed(1)
    scores = {g: torch.rand(w, generator=draw) + 0.1 for g, w in teacher.widths.items()}
    within = limits(teacher, c)
    student = pruned(teacher, cut(scores, c.cut, c.target, cost=cost_of(teacher, c), limits=within))
    assert all(w < teacher.widths[g] for g, w in student.widths.items())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*InstanceNorms")
        assert export(student, tmp_path / "s.pth", to=layout, size=32).upstream is not None


def test_a_run_ends_with_a_student_of_the_class(tmp_path: Path) -> None:
    c = settings(cut={"ratio": 0.3}, target={"layout": "pth-sngan"}, min_channels=2)
    student = press(Given(teacher_of("sngan", 9), None), c, tmp_path)
    assert set(student.widths.values()) == {7}  # 9 - int(2.7)
    bare = settings(cut={"ratio": 0.3, "scope": "network"}, min_channels=2)
    unbound = press(Given(teacher_of("sngan", 9), None), bare, tmp_path / "unbound")
    assert len(set(unbound.widths.values())) > 1


def test_what_no_class_can_be_is_refused_before_anything_is_scored() -> None:
    teacher = teacher_of("cyclegan")
    other = settings(target={"layout": "pth-sngan"})
    with pytest.raises(ConfigError, match="pth-junyanz"):
        check_pruning(teacher, other, lambda _: None)
    low = settings(cut={"ratio": None}, target={"layout": "pth-junyanz", "macs": 1e-4})
    with pytest.raises(InfeasibleTarget, match=r"What can be reached \(--set target") as told:
        check_pruning(teacher, low, lambda _: None)
    reached = float(str(told.value).partition("--set target.macs=")[2].rstrip(")."))
    again = settings(cut={"ratio": None}, target={"layout": "pth-junyanz", "macs": reached})
    check_pruning(teacher, again, lambda _: None)
