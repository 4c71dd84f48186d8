"""Channel scores of every family against closed forms and finite differences, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from nets import WIRINGS, Wiring, every_family
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.methods.content_aware.scores.activations import asv, l1_map
from ganpress.methods.content_aware.scores.diversity import (
    diversity,
    drawn_directions,
    latent_of,
    principal_directions,
)
from ganpress.methods.content_aware.scores.drawn import (
    Drawn,
    drawn_from,
    interest_in,
    noise_loss,
    salt_and_pepper,
)
from ganpress.methods.content_aware.scores.filters import l1_in, l1_out, style
from ganpress.methods.content_aware.scores.gradients import content_aware, taylor
from ganpress.methods.content_aware.scores.readers import entrance, makers, readers
from ganpress.models.families.stylegan2 import StyleGAN2
from ganpress.models.source import Source
from ganpress.nn.axes import axes, widths
from ganpress.types import Inputs, Scores

STEP = 1e-6


def doubled(wiring: Wiring) -> nn.Module:
    return copy.deepcopy(wiring.net()).double()


def frozen(wiring: Wiring) -> nn.Module:
    return doubled(wiring).requires_grad_(False)


def inputs(wiring: Wiring, n: int = 2, seed: int = 1) -> Inputs:
    return tuple(t.double() for t in wiring.inputs(n, seed))


def fixed_noise(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Far from any picture, so that no difference changes its sign between two steps."""
    checks = torch.arange(mask.numel(), device=mask.device).view_as(mask) % 3 == 0
    return checks.to(mask) * mask, torch.where(checks, 9.0, -9.0).to(mask)


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


@every_family
def test_the_content_aware_score_is_the_mean_slope_of_the_noise_loss(wiring: Wiring) -> None:
    net, given, group = frozen(wiring), inputs(wiring), SMALL[wiring.name]
    score = content_aware(net, Drawn(lambda: iter([given])), noise=fixed_noise)[group]
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


@every_family
def test_taylor_is_the_change_of_each_samples_loss_as_a_channel_is_taken_away(
    wiring: Wiring,
) -> None:
    net, given, group = doubled(wiring), inputs(wiring), SMALL[wiring.name]
    found = taylor(net, Drawn(lambda: iter([given])), noise=fixed_noise)[group][1]
    shares = readers(net)[group]

    def loss(scale: float, k: int) -> float:
        """Of sample ``k``, channel 1 scaled wherever it is read."""

        def dampen(share: Any) -> Callable[..., tuple[Tensor, ...]]:
            def hook(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                x = args[0].clone()
                first = share.start + share.axis.span
                x[:, first : first + share.axis.span] *= scale
                return (x, *args[1:])

            return hook

        handles = [
            net.get_submodule(entrance(net, s)).register_forward_pre_hook(dampen(s)) for s in shares
        ]
        with torch.no_grad():
            pictures = net(*given)
            hit, values = fixed_noise(pictures.new_ones(pictures[:, :1].shape))
            out = float(noise_loss(pictures[k : k + 1], hit[k : k + 1], values[k : k + 1]))
        for handle in handles:
            handle.remove()
        return out

    slopes = [(loss(1 + STEP, k) - loss(1 - STEP, k)) / (2 * STEP) for k in range(2)]
    assert float(found) == pytest.approx(sum(map(abs, slopes)) / 2, rel=1e-4, abs=1e-6)


def latents(name: str) -> tuple[nn.Module, Inputs, Any]:
    wiring = WIRINGS[name]
    net = doubled(wiring)
    latent = latent_of(net)
    assert latent is not None
    return net, inputs(wiring), latent


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
    found = diversity(
        net, latent, Drawn(lambda: iter([given])), directions=lambda: ways, detached=detached
    )[group][0]
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
    drawn = Drawn(lambda: iter([given]))
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


@every_family
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
    drawn = Drawn(lambda: iter(both))
    assert torch.allclose(asv(net, drawn, over="l2")[group], torch.stack(l2).mean(0))
    assert torch.allclose(l1_map(net, drawn)[group], torch.stack(size).mean(0))


# --- who votes ------------------------------------------------------------------------------------


def test_only_the_last_torgb_votes_unless_all_are_asked_for() -> None:
    net = doubled(WIRINGS["stylegan2"])
    layers = {g: [s.layer for s in shares] for g, shares in readers(net).items()}
    assert layers["conv8"] == ["layers.3.modulated.conv"]
    assert layers["conv16"] == ["to_rgb.2.modulated.conv"]
    every = {g: [s.layer for s in shares] for g, shares in readers(net, "all").items()}
    assert every["conv8"] == ["layers.3.modulated.conv", "to_rgb.1.modulated.conv"]
    assert every["up8"] == layers["up8"] == ["layers.2.modulated.conv"]
    drawn = Drawn(lambda: iter([inputs(WIRINGS["stylegan2"])]))
    few = content_aware(net, drawn, noise=fixed_noise)
    many = content_aware(net, drawn, noise=fixed_noise, rgb="all")
    assert torch.equal(few["up8"], many["up8"])
    assert bool((many["conv8"] > few["conv8"]).all())


def test_the_only_layer_that_makes_a_picture_always_votes() -> None:
    net = doubled(WIRINGS["pix2pix"])
    assert [s.layer for s in readers(net)["enc0"]] == ["downs.1.conv", "out.conv"]
    assert readers(net) == readers(net, "all")


# --- what is drawn --------------------------------------------------------------------------------


def test_samples_do_not_depend_on_the_batch_and_the_last_one_is_smaller() -> None:
    model = WIRINGS["sngan conditional"].model()
    source = Source(model, None)

    def all_of(batch: int, seed: int = 4) -> list[Inputs]:
        return list(drawn_from(source, samples=7, batch=batch, seed=seed).batches())

    def joined(batch: int) -> list[Tensor]:
        return [torch.cat(column) for column in zip(*all_of(batch), strict=True)]

    assert [len(z) for z, _ in all_of(3)] == [3, 3, 1]
    for batch in (1, 7, 10):
        for a, b in zip(joined(3), joined(batch), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(all_of(7)[0][0], all_of(7, seed=5)[0][0])


def test_noise_is_of_the_seed_and_not_of_the_batch() -> None:
    mask = torch.ones(5, 1, 8, 8)
    whole = salt_and_pepper(0.3, torch.Generator().manual_seed(1))(mask)
    again = salt_and_pepper(0.3, torch.Generator().manual_seed(1))
    parts = [again(mask[:2]), again(mask[2:])]
    for k in range(2):
        assert torch.equal(whole[k], torch.cat([p[k] for p in parts]))


def test_noise_hits_the_content_alone_and_as_often_as_it_is_to() -> None:
    mask = torch.zeros(4, 1, 64, 64)
    mask[..., :32], mask[..., 32:48] = 1.0, 0.5
    hit, values = salt_and_pepper(0.2, torch.Generator().manual_seed(0))(mask)
    assert not hit[..., 48:].any()
    assert float(hit[..., :32].mean()) == pytest.approx(0.2, abs=0.015)
    assert float(hit[..., 32:48].mean()) == pytest.approx(0.1, abs=0.015)
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    assert float(values.mean()) == pytest.approx(0.0, abs=0.03)


def test_pixels_without_interest_change_no_score() -> None:
    wiring = WIRINGS["sngan"]
    net, given = doubled(wiring), inputs(wiring)

    def scored(interest: Any) -> Scores:
        noise = salt_and_pepper(0.5, torch.Generator().manual_seed(0))
        return content_aware(net, Drawn(lambda: iter([given]), interest), noise=noise)

    def upper(_: Inputs, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[2])[:, None] < 16
        return rows.expand(len(x), 1, -1, x.shape[3]).double()

    whole, none = scored(None), scored(lambda _, x: torch.zeros_like(x[:, :1]))
    half = scored(upper)
    assert not any(score.any() for score in none.values())
    assert any(not torch.equal(half[g], whole[g]) for g in whole)
    seen: list[Inputs] = []
    scored(lambda given, x: seen.append(given) or torch.ones_like(x[:, :1]))
    assert all(torch.equal(a, b) for a, b in zip(seen[0], given, strict=True))


def test_a_mask_that_is_none_is_refused_with_what_it_must_be() -> None:
    pictures = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ConfigError, match=r"gives \(2, 8, 8\).*must be \(2, 1, 8, 8\)"):
        interest_in(lambda _, x: x[:, 0], (), pictures)
    with pytest.raises(ConfigError, match=r"from 0 to 255.*from 0, where nothing matters, to 1"):
        interest_in(lambda _, x: torch.tensor([0.0, 255.0]).repeat(2, 1, 8, 4), (), pictures)
    with pytest.raises(ConfigError, match="must be from 0"):
        interest_in(lambda _, x: torch.full((2, 1, 8, 8), torch.nan), (), pictures)


def test_scoring_leaves_the_network_as_it_was() -> None:
    wiring = WIRINGS["sngan"]
    net = wiring.net().train()
    for name, parameter in net.named_parameters():
        parameter.requires_grad_("b5" not in name)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    wanted = {n: p.requires_grad for n, p in net.named_parameters()}

    def broken() -> Iterator[Inputs]:
        yield wiring.inputs()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        content_aware(net, Drawn(broken), noise=fixed_noise)
    assert net.training
    assert {n: p.requires_grad for n, p in net.named_parameters()} == wanted
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())


def test_scores_of_a_frozen_teacher_are_those_of_one_that_trains() -> None:
    wiring = WIRINGS["stylegan2"]
    net, drawn = doubled(wiring), Drawn(lambda: iter([inputs(wiring)]))
    free = content_aware(net, drawn, noise=fixed_noise)
    with torch.no_grad():
        frozen = content_aware(net.requires_grad_(False), drawn, noise=fixed_noise)
    assert all(torch.equal(free[g], frozen[g]) for g in free)
    assert not any(p.requires_grad for p in net.parameters())


def test_directions_are_a_function_of_the_seed() -> None:
    net, _, latent = latents("stylegan2")

    def first(seed: int) -> Tensor:
        drawn = Drawn(lambda: iter(()), seed=seed)
        return drawn_directions(net, latent, drawn, count=4, latents=200)()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
