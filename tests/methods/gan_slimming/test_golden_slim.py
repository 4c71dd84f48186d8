"""GAN Slimming's loss traces stay what they were.

Fine-tuning's is in float32, as users run it: another order of sums moves it by 3e-6. That would
move the joint loop's by 4e-5, since it decides which channels go, so that one is in float64.

A change that means to move these numbers writes them again, and says why in its commit:

    PYTHONPATH=src:tests python tests/methods/gan_slimming/test_golden_slim.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from nets import WIRINGS
from reference_slim import magnitudes
from slim_setup import (
    Case,
    Clock,
    arguments,
    cost_of,
    in_double,
    left_by,
    pruning_of,
    stage_of,
    start,
)

from ganpress.channels.take import scales
from ganpress.methods.gan_slimming.goal import Goal
from ganpress.methods.gan_slimming.joint import joint
from ganpress.training.distil import distil

STEPS = 20
FOLDER = Path(__file__).parents[2] / "golden"
GENTLE = {
    "discriminator": {"lr": 2e-4},
    "sparsify": {"lr": 2e-4, "scale_lr": 0.02, "cost_exponent": 0.5},
    "finetune": {"lr": 2e-4},
}
NAMES = ("loss/distance", "loss/gan", "loss/d")


def joint_trace(root: Path) -> list[dict[str, float]]:
    """The joint loop under a cost, thresholds relative to each group."""
    with in_double(), pytest.MonkeyPatch.context() as patch:
        whole = WIRINGS[Case.wiring].widths
        goal = Goal(cost_of(whole), start=1.0, end=0.4, ramp_fraction=0.8)
        case, clock = Case(settings=GENTLE, pruning={"goal": goal}), Clock()
        begun = start(case)
        units = {g: float(m.mean()) for g, m in magnitudes(scales(begun.student)).items()}
        stage = stage_of(root, "joint", patch, clock)
        pruning = pruning_of(case, begun, units)
        joint(stage, *arguments(case, begun, clock), pruning, budget=case.budget(STEPS))
    lines = left_by(stage)[1]
    names = [*NAMES, *(n for n in lines[0] if n.startswith(("width/", "cost/")))]
    return [{name: line[name] for name in names} for line in lines]


def finetune_trace(root: Path) -> list[dict[str, float]]:
    """Fine-tuning with averaged weights, looked at every fourth step."""
    with pytest.MonkeyPatch.context() as patch:
        looked = {"lr": 2e-4, "validate_every": 4}
        case, clock = Case(settings={**GENTLE, "finetune": looked}), Clock()
        begun = start(case)
        stage = stage_of(root, "finetune", patch, clock)
        [batch], teacher = begun.batches[-1:], begun.teacher.eval()
        target = teacher(batch.x).detach()
        distil(
            stage,
            *arguments(case, begun, clock),
            budget=case.budget(STEPS),
            validate=lambda net: float(begun.distance(net(batch.x), target)),
        )
    names = (*NAMES, "held-out")
    lines = left_by(stage)[1]
    return [{name: line[name] for name in names if name in line} for line in lines]


TRACES = {"slim-joint": joint_trace, "slim-finetune": finetune_trace}


@pytest.mark.parametrize("name", TRACES)
def test_the_trace_is_what_it_was(name: str, tmp_path: Path) -> None:
    wanted = json.loads((FOLDER / f"{name}.json").read_text())
    found = TRACES[name](tmp_path)
    assert len(found) == len(wanted) == STEPS
    for step, (new, old) in enumerate(zip(found, wanted, strict=True)):
        assert new == pytest.approx(old, rel=1e-4), f"step {step}"


def write() -> None:
    """Write every trace of this file again."""
    FOLDER.mkdir(exist_ok=True)
    for name, trace in TRACES.items():
        with tempfile.TemporaryDirectory() as folder:
            text = ",\n".join(json.dumps(line) for line in trace(Path(folder)))
        (FOLDER / f"{name}.json").write_text(f"[\n{text}\n]\n")
        print(FOLDER / f"{name}.json")


if __name__ == "__main__":
    write()
