"""BatchNorm's statistics are read anew for a choice of widths, and nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from nets import WIRINGS, Wiring, each, photos
from torch import Tensor, nn

from ganpress.channels.recalibrate import batch_norms, recalibrate
from ganpress.methods.base import Given
from ganpress.methods.gan_slimming.extract import cut
from ganpress.methods.gan_slimming.joint import Pruning
from ganpress.methods.gan_slimming.method import slim
from ganpress.methods.gan_slimming.settings import SlimConfig, resolve
from ganpress.nn.layers import add_gates
from ganpress.run.run import Run
from ganpress.run.settings import checked

BATCH = {n: w for n, w in WIRINGS.items() if batch_norms(w.net())}


def batches(wiring: Wiring, count: int, size: int = 2) -> list[tuple[Tensor, ...]]:
    return [wiring.inputs(size, seed=10 + i) for i in range(count)]


def heard(net: nn.Module, norms: list[Any], stream: list[tuple[Tensor, ...]]) -> list[list[Tensor]]:
    """What each norm reads of each batch where every norm normalises by its batch."""
    found: list[list[Tensor]] = [[] for _ in norms]
    again = copy.deepcopy(net).eval()
    for i, norm in enumerate(batch_norms(again)):
        norm.train()
        norm.register_forward_pre_hook(lambda _m, x, i=i: found[i].append(x[0].detach()))
    with torch.no_grad():
        for one in stream:
            again(*one)
    return found


@each(BATCH)
def test_statistics_are_those_computed_by_hand_over_all_inputs_at_once(wiring: Wiring) -> None:
    net, stream = wiring.net(), batches(wiring, 3)
    for norm in batch_norms(net):
        norm.num_batches_tracked.fill_(1000)  # it has trained: those batches no longer count
    wanted = heard(net, batch_norms(net), stream)
    recalibrate(net, iter(stream))
    for norm, seen in zip(batch_norms(net), wanted, strict=True):
        together = torch.cat(seen).double()
        n = seen[0].numel() / seen[0].shape[1]
        mean = together.sum((0, 2, 3)) / (3 * n)
        assert torch.allclose(norm.running_mean.double(), mean, atol=1e-5, rtol=1e-5)
        variances = [
            (x.double() - x.double().mean((0, 2, 3), keepdim=True)).square().sum((0, 2, 3))
            for x in seen
        ]
        wanted_var = torch.stack(variances).mean(0) / (n - 1)
        assert torch.allclose(norm.running_var.double(), wanted_var, atol=1e-5, rtol=1e-4)


@each(BATCH)
def test_with_one_batch_eval_mode_normalises_it_as_training_would(wiring: Wiring) -> None:
    net, (one,) = wiring.net(), batches(wiring, 1, size=8)
    trained = copy.deepcopy(net).eval()
    for norm in batch_norms(trained):
        norm.train()
    with torch.no_grad():
        wanted = trained(*one)
        found = recalibrate(net, [one])(*one)
    # the running variance is unbiased, the batch's is not: they differ by 1/n of it
    assert (found - wanted).abs().mean() <= 0.1 * wanted.std()


@each(BATCH)
def test_nothing_but_the_statistics_changes(wiring: Wiring) -> None:
    net = wiring.net().train()
    net.get_submodule(next(iter(dict(net.named_children())))).eval()
    state = {n: t.clone() for n, t in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    momenta = [n.momentum for n in batch_norms(net)]
    random = torch.random.get_rng_state()
    recalibrate(net, batches(wiring, 2))
    assert [m.training for m in net.modules()] == modes
    assert [n.momentum for n in batch_norms(net)] == momenta
    assert torch.equal(torch.random.get_rng_state(), random)
    changed = {n for n, t in net.state_dict().items() if not torch.equal(t, state[n])}
    assert changed == {n for n in state if n.endswith(("running_mean", "running_var"))}


def test_dropout_is_off_while_statistics_are_read() -> None:
    dropping = Wiring("pix2pix", {"downs": 6, "dropout": True})
    net, plain = dropping.net().train(), Wiring("pix2pix", {"downs": 6}).net()
    assert any(isinstance(m, nn.Dropout) for m in net.modules())
    plain.load_state_dict(net.state_dict())
    stream = [(photos(2, size=64, seed=i),) for i in range(2)]
    recalibrate(net, stream)
    recalibrate(plain, stream)
    found, wanted = net.state_dict(), plain.state_dict()
    assert all(torch.equal(found[n], wanted[n]) for n in wanted)


@each({n: BATCH[n] for n in ("pix2pix", "sngan conditional")})
def test_twice_is_once_bit_for_bit(wiring: Wiring) -> None:
    net, stream = wiring.net(), batches(wiring, 2)
    once = recalibrate(copy.deepcopy(net), stream).state_dict()
    twice = recalibrate(recalibrate(net, batches(wiring, 1)), stream).state_dict()
    assert all(torch.equal(t, twice[n]) for n, t in once.items())


def test_modes_come_back_where_a_forward_pass_fails() -> None:
    net = WIRINGS["pix2pix"].net().train()
    with pytest.raises(RuntimeError):
        recalibrate(net, [(torch.zeros(2, 5, 32, 32),)])
    assert all(m.training for m in net.modules())
    assert all(n.momentum == 0.1 for n in batch_norms(net))


def test_a_network_without_batch_norm_asks_for_no_input() -> None:
    def never() -> Iterator[tuple[Tensor, ...]]:
        raise AssertionError
        yield  # pragma: no cover

    net = WIRINGS["cyclegan affine"].net()
    state = {n: t.clone() for n, t in net.state_dict().items()}
    recalibrate(net, never())
    assert all(torch.equal(t, state[n]) for n, t in net.state_dict().items())


def test_with_no_batch_the_statistics_stay() -> None:
    net = WIRINGS["pix2pix"].net()
    state = {n: t.clone() for n, t in net.state_dict().items()}
    recalibrate(net, [])
    assert all(torch.equal(t, state[n]) for n, t in net.state_dict().items())


# --- in GAN Slimming -----------------------------------------------------------------------------


def test_a_cut_reads_the_statistics_of_the_narrow_network() -> None:
    wiring = WIRINGS["cyclegan batch"]
    model, stream = wiring.model(), batches(wiring, 2)
    add_gates(model.net)
    with torch.no_grad():
        model.net.stem.norm.weight[:3] = 0
        model.net.stem.norm.bias[:3] = 2.0  # read by a padded convolution: inexact at borders
    config = checked(SlimConfig, {"min_channels": 1})
    pruning = Pruning(floors=dict.fromkeys(model.widths, 1))
    small = cut(model, wiring.inputs(1), config, pruning, calibration=stream).net
    before = {n: t.clone() for n, t in small.named_buffers()}
    wanted = heard(small, batch_norms(small), stream)
    for norm, seen in zip(batch_norms(small), wanted, strict=True):
        assert torch.allclose(norm.running_mean, torch.cat(seen).mean((0, 2, 3)), atol=1e-5)
    recalibrate(small, stream)
    assert all(torch.equal(t, before[n]) for n, t in small.named_buffers())


@pytest.mark.parametrize(
    ("name", "least", "sizes"),
    [("sngan", 4, [4, 4]), ("sngan", 2, [3, 3, 3]), ("cyclegan affine", 4, [])],
)
def test_the_slimming_of_a_generator_recalibrates_where_it_has_batch_norm(
    name: str, least: int, sizes: list[int], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganpress.methods.gan_slimming import extract
    from ganpress.training import setup

    read: list[list[int]] = []

    def watched(net: nn.Module, stream: Any) -> nn.Module:
        batches = list(stream)
        read.append([len(one[0]) for one in batches])
        return recalibrate(net, batches)

    monkeypatch.setattr(extract, "recalibrate", watched)
    monkeypatch.setattr(setup, "CALIBRATED", 11)
    monkeypatch.setattr(setup, "CALIBRATED_AT_ONCE", least)
    wiring = WIRINGS[name]
    images = None
    if wiring.ghost.reads == ("image",):
        from ganpress.data import open_images
        from ganpress.data.drawn.draw import write_folder

        images = open_images(write_folder(tmp_path / "photos", 4, seed=3, size=40))
    config = checked(
        SlimConfig,
        {
            "min_channels": 1,
            "data": {"size": 32, "batch": 3, "workers": 0},
            "distance": {"kind": "mse"},
            "discriminator": {"width": 4, "layers": 2},
            "sparsify": {"steps": 1, "scale_lr": 1e-4},
            "finetune": {"steps": 1},
        },
    )
    student = slim(Given(wiring.model(), images), resolve(config), Run(tmp_path / "r", quiet=True))
    assert read == ([sizes] if name == "sngan" else [[]])
    assert student.widths == wiring.widths
