"""Channel scores of every family against closed forms and finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import WIRINGS, Wiring, every_family, every_quick_family
from scored_nets import doubled, drawn_of, fixed_noise, frozen, inputs, latents
from torch import Tensor, nn

from ganpress.methods.content_aware.scores.activations import asv, l1_map
from ganpress.methods.content_aware.scores.diversity import (
    diversity,
    principal_directions,
)
from ganpress.methods.content_aware.scores.drawn import (
    Drawn,
    noise_loss,
)
from ganpress.methods.content_aware.scores.filters import l1_in, l1_out, style
from ganpress.methods.content_aware.scores.gradients import content_aware, taylor
from ganpress.methods.content_aware.scores.readers import Share, entrance, makers, readers
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.nn.axes import axes, widths
from ganpress.types import Inputs

STEP = 1e-6


def loss_of(net: nn.Module, given: Inputs) -> Tensor:
    pictures = net(*given)
    return noise_loss(pictures, *fixed_noise(pictures.new_ones(pictures[:, :1].shape)))


def slope(weight: Tensor, at: tuple[int, ...], loss: Callable[[], Tensor]) -> float:
    """dL / dW at one number, by central differences."""
    with torch.no_grad():
        before = float(weight[at])
        weight[at] = before + STEP
        high = float(loss())
        weight[at] = before - STEP
        low = float(loss())
        weight[at] = before
    return (high - low) / (2 * STEP)


def filters_of(net: nn.Module, group: str) -> list[tuple[Tensor, int, int]]:
    """(weight, dim, first row) of each weight that reads a group, from the axes themselves."""
    found = []
    for name, dims in axes(net).items():
        path, _, own = name.rpartition(".")
        if own != "weight" or len(dims) < 2:
            continue
        dim = 1 - int(getattr(net.get_submodule(path), "out_dim", 0))
        start = 0
        for axis in dims[dim] or ():
            if axis.group == group and not axis.fixed and dims[1 - dim] is not None:
                found.append((net.get_parameter(name), dim, start))
            start += axis.width * axis.span
    return found


# MUNIT's: behind its last norm, which computes in float32
SMALL = {"cyclegan": "block1", "cartoongan": "block1", "pix2pix": "dec0", "gaugan": "up_3"}
SMALL |= {"munit": "up2", "sngan": "block2", "stylegan2": "conv16"}


@every_quick_family
def test_the_content_aware_score_is_the_mean_slope_of_the_noise_loss(wiring: Wiring) -> None:
    net, given, group = frozen(wiring), inputs(wiring), SMALL[wiring.name]
    score = content_aware(net, drawn_of(given), noise=fixed_noise)[group]
    expected, loss = 0.0, lambda: loss_of(net, given)
    for weight, dim, start in filters_of(net, group):
        weight.requires_grad_(True)
        whole = torch.autograd.grad(loss(), weight)[0]
        weight.requires_grad_(False)
        rows = whole.movedim(dim, 0)[start]
        expected += float(rows.abs().mean())
        for place in rows.flatten().abs().topk(2).indices:  # these are true slopes
            at = [int(k) for k in torch.unravel_index(place, rows.shape)]
            at.insert(dim, start)
            assert float(whole[tuple(at)]) == pytest.approx(
                slope(weight, tuple(at), loss), rel=1e-4
            )
    assert float(score[0]) == pytest.approx(expected, rel=1e-9)


@every_quick_family
def test_taylor_is_the_change_of_each_samples_loss_as_a_channel_is_taken_away(
    wiring: Wiring,
) -> None:
    net, given, group = frozen(wiring), inputs(wiring), SMALL[wiring.name]
    found = taylor(net, drawn_of(given), noise=fixed_noise)[group][1]
    want = [abs(change(net, given, readers(net)[group], k)) for k in range(2)]
    assert float(found) == pytest.approx(sum(want) / 2, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "group", "rgb", "count"),
    [
        ("stylegan2", "conv8", "last", 1),  # ToRGB reads the same map, and has no vote
        ("stylegan2", "conv8", "all", 2),
        ("sngan", "block0", "last", 2),
        ("pix2pix", "enc0", "last", 2),
    ],
)
def test_taylor_takes_a_channel_away_from_all_its_readers_at_once(
    name: str, group: str, rgb: Any, count: int
) -> None:
    net, given = frozen(WIRINGS[name]), inputs(WIRINGS[name])
    shares = readers(net, rgb)[group]
    assert len(shares) == count
    batches = [tuple(t[k : k + 1] for t in given) for k in range(2)]

    def noise(mask: Tensor) -> tuple[Tensor, Tensor]:  # of each sample as in one batch of both
        hit, values = fixed_noise(mask.new_ones(2, *mask.shape[1:]))
        return (hit, values) if len(mask) == 2 else (hit[:1], values[:1])

    found = taylor(net, drawn_of(given), noise=noise, rgb=rgb)[group][1]
    want = [abs(change(net, given, shares, k)) for k in range(2)]
    assert float(found) == pytest.approx(sum(want) / 2, rel=1e-4)
    apart = [taylor(net, drawn_of(b), noise=noise, rgb=rgb)[group] for b in batches]
    both = taylor(net, drawn_of(*batches), noise=noise, rgb=rgb)[group]
    assert torch.allclose(both, (apart[0] + apart[1]) / 2)


def change(net: nn.Module, given: Inputs, shares: list[Share], k: int) -> float:
    """Of sample ``k``'s noise loss, as channel 1 is scaled wherever these read it."""

    def loss(scale: float) -> float:
        def dampen(share: Share) -> Callable[..., tuple[Tensor, ...]]:
            def hook(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                x = args[0].clone()
                first = share.start + share.axis.span
                x[:, first : first + share.axis.span] *= scale
                return (x, *args[1:])

            return hook

        handles = [
            net.get_submodule(entrance(net, s)).register_forward_pre_hook(dampen(s)) for s in shares
        ]
        pictures = net(*given)
        for handle in handles:
            handle.remove()
        hit, values = fixed_noise(pictures.new_ones(pictures[:, :1].shape))
        return float(noise_loss(pictures[k : k + 1], hit[k : k + 1], values[k : k + 1]))

    return (loss(1 + STEP) - loss(1 - STEP)) / (2 * STEP)


def test_scores_of_batches_add_up() -> None:
    wiring = WIRINGS["stylegan2"]
    net, batches = frozen(wiring), [inputs(wiring, 2, seed) for seed in (1, 2)]
    both = content_aware(net, drawn_of(*batches), noise=fixed_noise)
    one, other = (content_aware(net, drawn_of(b), noise=fixed_noise) for b in batches)
    assert all(torch.allclose(both[g], one[g] + other[g]) for g in both)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize(
    ("name", "called"),
    [("stylegan2", "w"), ("sngan", "z"), ("sngan conditional", "z"), ("munit", "style")],
)
def test_diversity_is_the_spread_of_slopes_over_directions(
    name: str, called: str, detached: bool
) -> None:
    net, given, latent = latents(name)
    assert latent.name == called
    code = latent.of(given)
    torch.manual_seed(0)
    ways = torch.nn.functional.normalize(torch.randn(3, code.shape[1], dtype=code.dtype), dim=1)
    group = SMALL[WIRINGS[name].name]
    found = diversity(net, latent, drawn_of(given), directions=lambda: ways, detached=detached)[
        group
    ][0]
    answers = []
    for way in ways:
        total = 0.0
        for weight, dim, start in filters_of(net, group):
            weight.requires_grad_(True)
            edited = latent.run(code + 5.0 * way, given)
            plain = latent.run(code, given)
            signs = (plain - edited).detach().sign()
            loss = (signs * (plain - (edited.detach() if detached else edited))).sum()
            grad = torch.autograd.grad(loss, weight)[0]
            total += float(grad.movedim(dim, 0)[start].abs().mean())
        answers.append(total)
    mean = sum(answers) / 3
    assert float(found) == pytest.approx(sum((a - mean) ** 2 for a in answers), rel=1e-6)


def test_directions_are_the_components_of_w_drawn_by_their_share_of_the_variance() -> None:
    net, _, latent = latents("stylegan2")
    draw = torch.Generator().manual_seed(3)
    found = principal_directions(net, latent, latents=4000, draw=draw)
    z = torch.randn(4000, 8, generator=torch.Generator().manual_seed(3)).double()
    w = latent.of((z,)).detach()
    shares = torch.linalg.svdvals(w - w.mean(0)).square()
    assert torch.allclose(found.shares, shares / shares.sum())
    centred = (w - w.mean(0)) @ found.vectors.T
    spread = centred.T @ centred
    assert torch.allclose(spread.diagonal(), shares, rtol=1e-6)
    assert float((spread - spread.diagonal().diag()).abs().max()) < 1e-6 * float(shares[0])
    assert torch.allclose(found.vectors.norm(dim=1), torch.ones(8, dtype=torch.float64))
    drawn = found.draw(5000, torch.Generator().manual_seed(0))
    first = (drawn == found.vectors[0]).all(1).double().mean()
    assert float(first) == pytest.approx(float(found.shares[0]), abs=0.03)


def test_weight_scores_are_those_of_each_samples_modulated_filters() -> None:
    wiring = WIRINGS["stylegan2"]
    net = doubled(wiring)
    assert isinstance(net, StyleGAN2)
    given = inputs(wiring, 3)
    drawn = drawn_of(given)
    w = net.mapping(given[0]).detach()
    layers = [layer.modulated for layer in net.layers] + [net.to_rgb[-1].modulated]
    means = []
    for layer in layers:
        weight = layer.conv.weight.detach()
        weight = weight.transpose(0, 1) if layer.up else weight
        each = layer.gain * weight * layer.affine(w).detach()[:, None, :, None, None]
        if layer.demodulate:
            each = each * (each.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        means.append(each.mean(0))
    out, into, styles = l1_out(net, drawn), l1_in(net, drawn), style(net, drawn)
    for k, group in enumerate(widths(net)):
        assert torch.allclose(out[group], means[k].abs().sum((0, 2, 3)))
        assert torch.allclose(styles[group], layers[k].affine(w).mean(0).abs())
        made = means[k - 1].abs().sum((1, 2, 3)) if k else net.const.abs().sum((0, 2, 3))
        assert torch.allclose(into[group], made)


@every_family
def test_plain_weight_scores_are_sums_over_what_reads_and_what_makes(wiring: Wiring) -> None:
    if wiring.name == "stylegan2":
        pytest.skip("its filters are modulated: see above")
    net, group = frozen(wiring), SMALL[wiring.name]
    nothing = Drawn(lambda: iter(()))
    expected = sum(
        float(weight.movedim(dim, 0)[start].abs().sum())
        for weight, dim, start in filters_of(net, group)
    )
    assert float(l1_out(net, nothing)[group][0]) == pytest.approx(expected)
    into = sum(
        float(net.get_parameter(s.weight).movedim(s.dim, 0)[0].abs().sum())
        for s in makers(net)[group]
    )
    assert float(l1_in(net, nothing)[group][0]) == pytest.approx(into)
    assert into > 0


def test_a_linear_layers_channel_is_all_of_its_outputs() -> None:
    net = doubled(WIRINGS["sngan"])
    nothing = Drawn(lambda: iter(()))
    rows = net.get_parameter("l1.weight").detach().abs().sum(1)
    assert torch.allclose(l1_in(net, nothing)["stem"], rows.view(-1, 16).sum(1))


@every_quick_family
def test_map_scores_are_those_of_all_samples_at_once(wiring: Wiring) -> None:
    net, group = doubled(wiring), SMALL[wiring.name]
    both = [inputs(wiring, 2, 1), inputs(wiring, 1, 2)]
    maps: dict[str, list[Tensor]] = {}
    handles = [
        net.get_submodule(entrance(net, s)).register_forward_pre_hook(
            lambda _, args, s=s: maps.setdefault(s.layer, []).append(
                args[0].flatten(2) if args[0].ndim > 2 else args[0][..., None]
            )
        )
        for s in readers(net)[group]
    ]
    quiet = [  # StyleGAN2's noise adds nothing that is the sample's
        tuple(
            torch.zeros_like(t) if r.startswith("noise") else t
            for r, t in zip(reads, one, strict=True)
        )
        for one in both
        for reads in [wiring.ghost.reads]
    ]
    with torch.no_grad():
        for one in quiet:
            net(*one)
    for handle in handles:
        handle.remove()
    l2, size = [], []
    for share in readers(net)[group]:
        x = torch.cat(maps[share.layer])[:, share.start : share.start + share.axis.width]
        asv_of = x.std(0, correction=0).mean(1)
        size.append(x.abs().mean((0, 2)))
        l2.append(asv_of / x.square().sum((0, 2)).sqrt())
    drawn = drawn_of(*both)
    assert torch.allclose(asv(net, drawn, over="l2")[group], torch.stack(l2).mean(0))
    assert torch.allclose(l1_map(net, drawn)[group], torch.stack(size).mean(0))
