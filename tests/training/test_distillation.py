"""What a student is drawn to its teacher by: masked pictures, and the teacher's feature maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nets import WIRINGS, photos
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.losses.distance import Distance, DistanceSettings
from ganpress.run.settings import checked
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.distil import Distillation
from ganpress.training.settings import RunSettings
from ganpress.training.setup import keep, take_up
from ganpress.training.teacher import CachedTeacher
from ganpress.types import Inputs

X, MADE, TARGET = photos(2, seed=1), photos(2, seed=2), photos(2, seed=3)
ALL_TERMS = {"features": "tiny", "content": 0.7, "style": 1e2, "unit": 2.0, "pixel": 5.0}
KINDS: dict[str, dict[str, Any]] = {"perceptual": ALL_TERMS, "mse": {"kind": "mse"}}


def bright(inputs: Inputs, target: Tensor) -> Tensor:
    """1 where photo and picture are brighter than grey together: (n, 1, h, w)."""
    assert inputs[0] is X and target is TARGET
    return ((inputs[0] + target).mean(1, keepdim=True) > 0).float()


MASK = bright((X,), TARGET)


def distance(kind: str) -> Distance:
    return Distance(checked(DistanceSettings, KINDS[kind]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_distance_is_that_of_the_masked_pictures(kind: str) -> None:
    loss = distance(kind)
    found = Distillation(loss, 20.0, bright)((X,), MADE, TARGET)
    assert float(found) == pytest.approx(float(loss(MADE * MASK, TARGET * MASK)))
    whole = Distillation(loss, 20.0)((X,), MADE, TARGET)
    assert float(whole) == float(loss(MADE, TARGET))
    assert abs(float(whole) - float(found)) > 0.05 * float(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_mask_is_zero_nothing_matters(kind: str) -> None:
    masked = Distillation(distance(kind), 1.0, bright)
    other = torch.where(MASK > 0, MADE, photos(2, seed=4)).requires_grad_()
    found = masked((X,), other, TARGET)
    assert float(found.detach()) == float(masked((X,), MADE, TARGET))
    [slope] = torch.autograd.grad(found, other)
    assert not (slope * (1 - MASK)).any()
    assert (slope * MASK).any()


def test_a_mask_between_0_and_1_weighs_the_pictures_themselves() -> None:
    """A half halves the difference: of squared errors a quarter remains."""
    half = Distillation(distance("mse"), 1.0, lambda _, target: torch.full_like(target, 0.5)[:, :1])
    wanted = 0.25 * float((MADE - TARGET).square().mean())
    assert float(half((X,), MADE, TARGET)) == pytest.approx(wanted)


# --- the teacher's feature maps ------------------------------------------------------------------

TAPS = ("blocks.0", "blocks.1")
IDS = torch.tensor([3, 1])


@pytest.fixture
def net() -> nn.Module:
    return WIRINGS["cyclegan affine"].net()


def hooked(net: nn.Module) -> dict[str, Tensor]:
    """What comes out of these modules, by hooks of our own."""
    found: dict[str, Tensor] = {}
    handles = [
        net.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: found.__setitem__(name, output)
        )
        for name in TAPS
    ]
    with torch.no_grad():
        net(X)
    for handle in handles:
        handle.remove()
    return found


def test_the_maps_are_those_of_forward_hooks_and_the_picture_is_as_without(
    net: nn.Module,
) -> None:
    teacher, wanted = CachedTeacher(net), hooked(net)
    found = teacher((X,), IDS, TAPS)
    assert found.maps.keys() == wanted.keys() == set(TAPS)
    assert all(torch.equal(found.maps[name], wanted[name]) for name in TAPS)
    assert not torch.equal(wanted[TAPS[0]], wanted[TAPS[1]])
    assert torch.equal(found.pictures, teacher((X,), IDS).pictures)
    assert teacher((X,), IDS).maps == {}
    assert not any(m.requires_grad for m in [found.pictures, *found.maps.values()])


def test_no_hook_is_left_and_an_unknown_module_is_refused(net: nn.Module) -> None:
    teacher = CachedTeacher(net)
    teacher((X,), IDS, TAPS)
    with pytest.raises(ConfigError, match=r"no module 'blocks\.7' \(did you mean 'blocks"):
        teacher((X,), IDS, ("blocks.0", "blocks.7"))
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize("last", [False, True])
def test_a_finished_student_is_taken_up_in_the_memory_format_that_it_was_trained_in(
    last: bool, tmp_path: Path
) -> None:
    """What follows, a search as well, has other last digits in another."""
    wiring = WIRINGS["cyclegan instance"]
    student, judge = wiring.model(), DiscriminatorWithLoss(own=wiring.discriminator())
    keep(tmp_path, student, judge)
    found = take_up(tmp_path, judge, RunSettings(channels_last=last))
    weights = [p for p in found.net.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    in_format = [p.is_contiguous(memory_format=torch.channels_last) for p in weights]
    assert weights and (all(in_format) if last else not any(in_format))
    own = student.net.state_dict()
    assert all(torch.equal(t, own[name]) for name, t in found.net.state_dict().items())
