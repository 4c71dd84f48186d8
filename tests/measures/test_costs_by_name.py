"""What a target can name, and its cost as a fraction of another network's."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from nets import WIRINGS
from torch import nn

from ganpress.measures.cost import COSTS, cost_ratio
from ganpress.measures.target import COSTS as TARGETS
from ganpress.measures.target import TargetSettings
from ganpress.quantisation.quantise import FakeQuantiser, quantise

WIRING = WIRINGS["cyclegan affine"]
SIZE = 32


def params(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def four_bytes_each(net: nn.Module) -> int:
    return 4 * sum(t.numel() for t in net.state_dict().values())


def macs(net: nn.Module) -> int:
    """Weights times the positions they are used at: of a transposed convolution the input's."""
    found: list[int] = []

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen = inputs[0] if "Transpose" in type(layer).__name__ else output
        found.append(layer.get_parameter("weight").numel() * seen.shape[-1] * seen.shape[-2])

    for module in net.modules():
        weight = getattr(module, "weight", None)
        if weight is not None and weight.ndim == 4:
            module.register_forward_hook(count)
    with torch.no_grad():
        net(torch.zeros(1, 3, SIZE, SIZE))
    return sum(found)


BY_HAND: dict[str, Callable[[nn.Module], int]] = {
    "macs": macs,
    "params": params,
    "bytes": four_bytes_each,
}


def test_every_target_has_a_cost_of_its_name() -> None:
    assert {*COSTS, "latency_ms"} == set(TARGETS) == {*BY_HAND, "latency_ms"}
    assert set(TARGETS) <= set(TargetSettings.model_fields)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_ratio_is_that_of_networks_that_are_built_and_counted(name: str) -> None:
    whole, narrow = WIRING.net(), {"stem": 2, "trunk": 4, "block0": 6, "up2": 3}
    ratio = cost_ratio(name, whole, WIRING.net(), SIZE)
    built = WIRING.build({**WIRING.widths, **narrow}).eval()
    assert ratio({}) == 1.0
    counted = BY_HAND[name](built) / BY_HAND[name](WIRING.net())
    assert ratio(narrow) == pytest.approx(counted)
    assert counted < 0.6


def test_a_quantised_student_is_compared_with_the_float_teacher() -> None:
    whole = WIRING.net()
    student = quantise(copy.deepcopy(whole), FakeQuantiser(8))
    weights = [p for p in whole.parameters() if p.ndim == 4]
    saved = 3 * sum(p.numel() for p in weights)  # 1 byte in place of 4
    wanted = 1 - saved / four_bytes_each(whole)
    assert cost_ratio("bytes", whole, student, SIZE)({}) == pytest.approx(wanted)
    assert cost_ratio("params", whole, student, SIZE)({}) == 1.0
    assert cost_ratio("bytes", student, whole, SIZE)({}) == pytest.approx(1 / wanted)


def test_the_pictures_size_counts_for_macs_alone() -> None:
    whole = WIRING.net()
    for name, factor in {"macs": 4.0, "params": 1.0, "bytes": 1.0}.items():
        small, large = (COSTS[name](whole, size)({}) for size in (32, 64))
        assert large == factor * small
