"""Costs against the published numbers, and the table of costs against networks that were built."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import pytest
import torch
from nets import Wiring, every_vanishing_wiring, every_wiring, random_counts
from torch import nn

from ganpress.channels.take import shrink
from ganpress.measures import cost as costs
from ganpress.measures.cost import Cost, CostTable, as_dict, latency, measure
from ganpress.models.families import family
from ganpress.nn.axes import fixed, widths
from ganpress.nn.integer_layers import SubPixelConv2d
from ganpress.nn.layers import add_gates, conv
from ganpress.quantisation.quantise import FakeQuantiser, quantise


def build(changed: Mapping[str, int] | None = None, **options: object) -> nn.Module:
    with torch.device("meta"):
        return family("cyclegan").build(changed, **options)


def scaled(ngf: int) -> dict[str, int]:
    """The widths of GAN Compression's ResNets with `ngf` channels in the stem."""
    cyclegan = family("cyclegan")
    return {g: w * ngf // 64 for g, w in cyclegan.full(cyclegan.resolve({})).items()}


# --- published numbers (methods.md 1.4) ----------------------------------------------------------


def test_the_resnet_of_cyclegan_costs_what_its_papers_say() -> None:
    cost = measure(build())
    assert cost.params / 1e6 == pytest.approx(11.378, abs=5e-4)
    assert cost.macs / 1e9 == pytest.approx(49.55, abs=5e-3)
    assert cost.macs_outres / 1e9 == pytest.approx(56.80, abs=5e-3)
    assert cost.macs_outres / 2**30 == pytest.approx(52.90, abs=5e-3)  # GAN Slimming's count
    assert cost.bytes == 4 * cost.params


@pytest.mark.parametrize(
    ("ngf", "params", "macs", "outres"),
    [
        (32, 0.514, 3.12, 4.93),
        (48, 1.131, 6.49, 10.57),
        (64, 1.987, 11.07, 18.31),
        (96, 4.418, 23.85, 40.16),
    ],
)
def test_separable_resnets_cost_what_gan_compression_says(
    ngf: int, params: float, macs: float, outres: float
) -> None:
    cost = measure(build(scaled(ngf), separable=True))
    assert cost.params / 1e6 == pytest.approx(params, abs=6e-4)
    assert cost.macs / 1e9 == pytest.approx(macs, abs=6e-3)
    assert cost.macs_outres / 1e9 == pytest.approx(outres, abs=6e-3)


def subnet(channels: str) -> dict[str, int]:
    """Widths of one of GAN Compression's published subnets, '16_16_32_16_32_32_16_16'."""
    stem, down1, trunk, *rest = (int(c) for c in channels.split("_"))
    inner = {f"block{i}": 4 * rest[i // 3] for i in range(9)}
    ends = {"up1": 2 * rest[3], "up2": rest[4]}
    return {"stem": stem, "down1": 2 * down1, "trunk": 4 * trunk, **inner, **ends}


@pytest.mark.parametrize(
    ("channels", "params", "macs", "outres"),
    [
        ("16_16_32_16_32_32_16_16", 356_867, 1.85, 2.53),
        ("16_16_24_16_32_64_16_24", None, 1.94, 2.62),
    ],
)
def test_published_subnets_cost_what_was_published(
    channels: str, params: int | None, macs: float, outres: float
) -> None:
    for cost in (
        measure(build(subnet(channels), separable=True)),
        CostTable(build(separable=True), 256)(subnet(channels)),
    ):
        assert params in (None, cost.params)
        assert cost.macs / 1e9 == pytest.approx(macs, abs=6e-3)
        assert cost.macs_outres / 1e9 == pytest.approx(outres, abs=6e-3)


# --- the table -----------------------------------------------------------------------------------


@every_wiring
def test_the_table_equals_the_cost_of_the_network_that_is_built(wiring: Wiring) -> None:
    net, size = wiring.ghost, wiring.pixels
    table = CostTable(net, size)
    assert table() == measure(net, size)
    for seed in range(3):
        chosen = random_counts(net, seed)
        with torch.device("meta"):
            small = wiring.build(chosen)
        assert table(chosen) == measure(small, size)
        assert measure(small, size).params == sum(p.numel() for p in small.parameters())


@every_vanishing_wiring
def test_the_table_equals_the_built_network_also_with_emptied_blocks(wiring: Wiring) -> None:
    net = wiring.net(gates=True)
    table = CostTable(net, 32)
    first, *others = wiring.vanishing
    for empty in ({first: 0}, {first: 0, **dict.fromkeys(others, 0), "trunk": 4}):
        small = shrink(wiring.build, net, empty)
        assert table(empty) == measure(small, 32)
        assert CostTable(small, 32)({"up2": 2}) == table({**empty, "up2": 2})


@every_wiring
def test_the_table_counts_what_the_layers_multiply(wiring: Wiring) -> None:
    """MACs of one forward pass, counted from the shapes that go through each layer."""
    net, counted = wiring.net(), {"true": 0, "outres": 0}
    cost = measure(net, wiring.pixels)

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        if isinstance(layer, SubPixelConv2d):  # its kernel's places, before they are shuffled
            out = torch.empty(1, 1, *(side + 1 for side in inputs[0].shape[2:]))
        where = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else out
        taps = layer.weight.numel()
        counted["true"] += taps * where.shape[-1] * where.shape[-2]
        counted["outres"] += taps * out.shape[-1] * out.shape[-2]

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    net(*wiring.inputs(1))
    assert (cost.macs, cost.macs_outres) == (counted["true"], counted["outres"])


def test_a_layer_that_is_run_twice_costs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = conv(fixed(3), fixed(3), 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.layer(x))

    assert measure(Twice(), 10).macs == 2 * 81 * 100


def test_a_rectangular_picture_costs_in_proportion_to_its_area() -> None:
    net = Wiring("cyclegan").net()
    assert measure(net, (32, 64)).macs == 2 * measure(net, 32).macs


def test_eight_bits_cost_a_byte_per_weight_and_four_for_what_stays_float() -> None:
    net = Wiring("cyclegan", {"affine": True}).net()
    weights = sum(p.numel() for p in net.parameters() if p.ndim == 4)
    rest = sum(p.numel() for p in net.parameters() if p.ndim == 1)
    assert measure(net, 32).bytes == 4 * (weights + rest)
    quantise(net, FakeQuantiser(bits=8))
    assert measure(net, 32).bytes == weights + 4 * rest
    assert measure(net, 32).params == weights + rest


def test_gates_cost_parameters_until_they_are_folded() -> None:
    wiring = Wiring("cartoongan")
    plain = measure(wiring.net(), 32)
    gated = measure(add_gates(wiring.net()), 32)
    w = wiring.widths
    assert gated.params - plain.params == w["down1a"] + w["down2a"] + w["up1a"] + w["up2a"]
    assert gated.macs == plain.macs


def test_measuring_changes_nothing_about_the_network() -> None:
    net = Wiring("cyclegan", {"norm": "batch"}).net().train()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    measure(net, 32)
    assert net.training
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert widths(net) == Wiring("cyclegan").widths


# --- latency -------------------------------------------------------------------------------------


def test_latency_says_what_it_depends_on() -> None:
    net = Wiring("cyclegan").net()
    seen = []
    net.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0], out.requires_grad)))
    facts = latency(net, size=32, batch=2, warm_up=1, seconds=0.05, most=7)
    assert 0 < facts.median_ms <= facts.p95_ms
    assert (facts.device, facts.batch, facts.size) == ("cpu", 2, 32)
    assert facts.threads == torch.get_num_threads()
    assert 5 <= facts.repeats <= 7
    assert len(seen) == facts.repeats + 1
    assert seen[0][0].shape == (2, 3, 32, 32)
    assert not any(tracked for _, tracked in seen)


def test_latency_times_the_network_and_not_the_model_around_it() -> None:
    """A `Model` sets the mode of every module at each call, which is not the network's time."""
    model, modes = Wiring("cyclegan", {"norm": "batch"}).model(), []

    def read(net: nn.Module, *_: object) -> None:
        modes.append((net.training, net.stem.training))
        net.stem.training = True  # which a `Model` would set right before the next pass

    model.net.register_forward_hook(read)
    facts = latency(model, size=32, warm_up=1, seconds=0.0)
    assert modes == [(False, False)] + [(False, True)] * facts.repeats


@pytest.mark.parametrize("fails", [False, True])
def test_latency_leaves_each_module_in_the_mode_that_it_was_in(fails: bool) -> None:
    net = Wiring("cyclegan", {"norm": "batch"}).net().train()
    net.stem.eval()  # frozen, as in training on
    before, seen = {n: m.training for n, m in net.named_modules()}, []

    def read(layer: nn.Module, *_: object) -> None:
        seen.extend(m.training for m in net.modules())
        if fails:
            raise RuntimeError("no memory")

    net.out.register_forward_pre_hook(read)
    with pytest.raises(RuntimeError, match="no memory") if fails else nullcontext():
        latency(net, size=32, warm_up=0, seconds=0.0)
    assert seen and not any(seen)
    assert {n: m.training for n, m in net.named_modules()} == before


def test_latency_takes_at_least_five_passes_however_little_time_there_is() -> None:
    assert latency(lambda x: x, size=8, seconds=0.0).repeats == 5


def test_the_median_and_the_95th_percentile_are_of_the_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = (torch.randperm(100) + 1.0).tolist()  # 1 to 100 ms
    monkeypatch.setattr(costs, "_timed", lambda *_, **__: passes)
    facts = latency(lambda x: x, size=8)
    assert 50 <= facts.median_ms <= 51 and 95 <= facts.p95_ms <= 96


def test_facts_become_plain_data() -> None:
    said = {"params": 1, "macs": 2, "macs_outres": 3, "bytes": 4, "macs_linear": 5}
    assert as_dict(Cost(1, 2, 3, 4, 5)) == said
