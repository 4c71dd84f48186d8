"""The losses between feature maps, against their formulas written out, for all families."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import WIRINGS, Wiring, every_wiring
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.methods.once_for_all.tap_base import tap_widths
from ganpress.methods.once_for_all.taps import TapLoss, kernel_alignment, tap_loss
from ganpress.models.discriminator import Discriminator
from ganpress.models.inputs import channels_of, reads
from ganpress.nn.axes import widths
from ganpress.nn.discriminators import build_discriminator
from ganpress.nn.taps import tapped
from ganpress.training.discriminator import DiscriminatorWithLoss

TAPS = ("down2", "blocks.0")
STUDENT, TEACHER = {"down2": 4, "blocks.0": 5}, {"down2": 6, "blocks.0": 3}
KINDS: tuple[Any, ...] = ("mse", "alignment", "dcd")


def maps(seed: int, channels: dict[str, int], *, side: int = 5, n: int = 2) -> dict[str, Tensor]:
    """By tap, float64, (n, c, side, side + 1)."""
    draw = torch.Generator().manual_seed(seed)
    return {
        tap: torch.randn(n, c, side, side + 1, generator=draw, dtype=torch.float64)
        for tap, c in channels.items()
    }


def patchgan(norm: str = "instance", inputs: int = 3) -> DiscriminatorWithLoss:
    """In training, as a PatchGAN of five convolutions; with 6 inputs it also reads a photo."""
    torch.manual_seed(3)
    options = {"inputs": inputs, "width": 2, "norm": norm}
    own = Discriminator(build_discriminator("patch", **options), "patch", options)
    return DiscriminatorWithLoss(own=own).train()


def built(kind: Any, **options: Any) -> TapLoss:
    torch.manual_seed(4)
    loss = tap_loss(kind, TAPS, STUDENT, TEACHER, **options).double()
    with torch.no_grad():  # a bias of 0 would be seen by no test
        for name, parameter in loss.named_parameters():
            if "bias" in name or "norm" in name:
                parameter.normal_()
    return loss


def number(x: Tensor) -> float:
    return float(x.detach())


# --- adaptors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["mse", "l1"])
@pytest.mark.parametrize("narrower", [0, 2])
def test_adapted_maps_are_compared_place_by_place(distance: Any, narrower: int) -> None:
    loss = built("mse", distance=distance)
    s, t = maps(0, {tap: c - narrower for tap, c in STUDENT.items()}), maps(1, TEACHER)
    wanted = 0.0
    for tap, adaptor in zip(TAPS, loss.adaptors, strict=True):
        n, c, h, w = s[tap].shape
        for k in range(n):
            for o in range(TEACHER[tap]):
                for i in range(h):
                    for j in range(w):
                        a = number(adaptor.bias[o])
                        for m in range(c):
                            a += number(adaptor.weight[o, m, 0, 0] * s[tap][k, m, i, j])
                        off = a - number(t[tap][k, o, i, j])
                        one = off * off if distance == "mse" else abs(off)
                        wanted += one / t[tap].numel()
    assert number(loss(s, t)) == pytest.approx(wanted, rel=1e-10)


def test_adaptors_learn_by_the_columns_that_the_students_width_has() -> None:
    """Against plain convolutions of that width."""
    loss = built("mse")
    s, t = maps(0, {"down2": 3, "blocks.0": 2}), maps(1, TEACHER)
    leaves = {tap: m.clone().requires_grad_() for tap, m in s.items()}
    loss(leaves, t).backward()
    for tap, adaptor in zip(TAPS, loss.adaptors, strict=True):
        c = s[tap].shape[1]
        plain = nn.Conv2d(c, TEACHER[tap], 1).double()
        plain.load_state_dict({"weight": adaptor.weight[:, :c].detach(), "bias": adaptor.bias})
        leaf = s[tap].clone().requires_grad_()
        (plain(leaf) - t[tap]).square().mean().backward()
        assert torch.allclose(adaptor.weight.grad[:, :c], plain.weight.grad)
        assert torch.allclose(adaptor.bias.grad, plain.bias.grad)
        assert torch.allclose(leaves[tap].grad, leaf.grad)
        assert not adaptor.weight.grad[:, c:].any()


def test_adaptors_start_small_and_without_bias() -> None:
    loss = tap_loss("mse", ["tap"], {"tap": 100}, {"tap": 100})
    [adaptor] = loss.adaptors
    assert number(adaptor.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert not adaptor.bias.any()


# --- kernel alignment ----------------------------------------------------------------------------


def kernels(x: Tensor, y: Tensor) -> float:
    """By the kernels themselves, (n h w) x (n h w): their inner product over their lengths."""
    rows = [[m[k, :, i, j].tolist() for k in range(len(m)) for i in range(m.shape[2])
             for j in range(m.shape[3])] for m in (x, y)]  # fmt: skip
    of_x, of_y, both = 0.0, 0.0, 0.0
    for p in range(len(rows[0])):
        for q in range(len(rows[0])):
            a, b = (sum(u * v for u, v in zip(r[p], r[q], strict=True)) for r in rows)
            of_x, of_y, both = of_x + a * a, of_y + b * b, both + a * b
    return both / (of_x * of_y) ** 0.5


def test_alignment_is_one_minus_that_of_the_kernels_summed_over_taps() -> None:
    s, t = maps(0, STUDENT, side=3), maps(1, TEACHER, side=3)
    wanted = sum(1 - kernels(s[tap], t[tap]) for tap in TAPS)
    assert number(built("alignment")(s, t)) == pytest.approx(wanted, rel=1e-10)
    assert not list(built("alignment").parameters())


def test_alignments_gradient_is_its_slope() -> None:
    x, y = maps(0, {"x": 3}, side=2)["x"], maps(1, {"x": 4}, side=2)["x"]
    assert torch.autograd.gradcheck(kernel_alignment, (x.requires_grad_(), y.requires_grad_()))


def test_alignment_knows_neither_scale_nor_rotation_of_channels() -> None:
    x, y = maps(0, {"x": 4})["x"], maps(1, {"x": 4})["x"]
    turned, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    same = 7 * torch.einsum("ij,njhw->nihw", turned, x)
    assert number(kernel_alignment(x, same)) == pytest.approx(1)
    wanted = number(kernel_alignment(x, y))
    for factor in (1e-30, 1e30):
        scaled = (x.float() * factor).requires_grad_()
        value = kernel_alignment(scaled, y.float())
        assert number(value) == pytest.approx(wanted, rel=1e-4)
        value.backward()
        assert scaled.grad.isfinite().all()


@pytest.mark.parametrize("zero", ["student", "teacher", "both"])
def test_a_map_of_zeros_is_not_aligned_and_has_finite_gradients(zero: str) -> None:
    x, y = maps(0, {"x": 4})["x"].float(), maps(1, {"x": 4})["x"].float()
    x, y = x * (zero == "teacher"), y * (zero == "student")
    value = kernel_alignment(x.requires_grad_(), y)
    value.backward()
    assert number(value) == 0
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_alignment_is_computed_in_float32_under_autocast() -> None:
    x, y = maps(0, {"x": 4})["x"].float(), maps(1, {"x": 4})["x"].float()
    with torch.autocast("cpu", torch.bfloat16):
        under = kernel_alignment(x, y)
    assert torch.equal(under, kernel_alignment(x, y))
    halves = x.bfloat16(), y.bfloat16()
    assert number(kernel_alignment(*halves)) == number(
        kernel_alignment(*(m.float() for m in halves))
    )


# --- through the discriminator -------------------------------------------------------------------


def dcd_written_out(loss: TapLoss, net: nn.Module, s: Tensor, t: Tensor, tap: int) -> Tensor:
    """One tap: 1x1 convolution, batch norm, ReLU; the four first blocks of the PatchGAN; L1."""
    state = loss.state_dict()
    weight = state[f"connectors.{tap}.conv.weight"][:, : s.shape[1]]
    picture = F.conv2d(s, weight)
    mean = picture.mean((0, 2, 3), keepdim=True)
    var = (picture - mean).square().mean((0, 2, 3), keepdim=True)
    scale, shift = (
        state[f"connectors.{tap}.norm.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias")
    )
    made = ((picture - mean) / (var + 1e-5).sqrt() * scale + shift).clamp_min(0)
    true = F.conv2d(t, state[f"teacher_{tap}"]).clamp_min(0)
    first_four = nn.Sequential(*list(net.model)[:11])
    return (first_four(made) - first_four(true)).abs().mean()


@pytest.mark.parametrize(
    ("norm", "inputs"), [("instance", 3), ("batch", 3), ("instance", 6), ("batch", 6)]
)
def test_dcd_compares_the_fourth_block_of_a_patchgan(norm: str, inputs: int) -> None:
    discriminator = patchgan(norm, inputs).double()
    loss = built("dcd", discriminator=discriminator)
    net = copy.deepcopy(discriminator.net)
    s, t = maps(0, {"down2": 3, "blocks.0": 5}, side=32), maps(1, TEACHER, side=32)
    leaves, plain = ({tap: m.clone().requires_grad_() for tap, m in s.items()} for _ in range(2))
    value = loss(leaves, t)
    wanted = sum(dcd_written_out(loss, net, plain[tap], t[tap], k) for k, tap in enumerate(TAPS))
    assert number(value) == pytest.approx(number(wanted), rel=1e-9)
    value.backward()
    wanted.backward()
    for tap in TAPS:
        assert number(leaves[tap].grad.abs().max()) > 0
        assert torch.allclose(leaves[tap].grad, plain[tap].grad, rtol=1e-6, atol=1e-12)


def test_maps_too_small_for_the_discriminator_are_enlarged() -> None:
    """3 x 4 by a factor of 11, the smallest that makes its height 32; as in `dcd_written_out`."""
    discriminator = patchgan().double()
    loss = built("dcd", discriminator=discriminator)
    s, t = maps(0, STUDENT, side=3), maps(1, TEACHER, side=3)
    large = [
        {tap: m.repeat_interleave(11, 2).repeat_interleave(11, 3) for tap, m in of.items()}
        for of in (s, t)
    ]
    wanted = sum(
        dcd_written_out(loss, discriminator.net, large[0][tap], large[1][tap], k)
        for k, tap in enumerate(TAPS)
    )
    assert number(loss(s, t)) == pytest.approx(number(wanted), rel=1e-9)


def test_the_scales_of_a_discriminator_weigh_the_same() -> None:
    """SPADE's two: the maps before the logits, as its forward pass returns them."""
    discriminator = for_family(WIRINGS["gaugan"]).eval().double()
    loss = built("dcd", discriminator=discriminator)
    s, t = maps(0, STUDENT, side=16), maps(1, TEACHER, side=16)
    wanted = 0.0
    with torch.no_grad():
        for k, tap in enumerate(TAPS):
            made = discriminator.net(loss.connectors[k](s[tap]))
            true = discriminator.net(F.conv2d(t[tap], loss.get_buffer(f"teacher_{k}")).relu())
            for a, b in zip(made, true, strict=True):
                wanted += number((a[-2] - b[-2]).abs().mean()) / 2
    assert number(loss(s, t)) == pytest.approx(wanted)


def test_a_discriminator_in_bfloat16_is_compared_in_float32() -> None:
    options = {"width": 2}
    own = Discriminator(build_discriminator("patch", **options), "patch", options)
    whole, half = (DiscriminatorWithLoss(own=own, half=half) for half in (False, True))
    s, t = (
        {tap: m.float() for tap, m in maps(k, c, side=32).items()}
        for k, c in enumerate((STUDENT, TEACHER))
    )
    values = [built("dcd", discriminator=d).float()(s, t) for d in (whole, half)]
    assert values[1].dtype == torch.float32
    assert number(values[0]) != number(values[1])
    assert number(values[1]) == pytest.approx(number(values[0]), rel=0.05)


@pytest.mark.parametrize("name", ["pix2pix", "gaugan", "munit", "sngan", "stylegan2"])
def test_dcd_leaves_the_discriminator_as_it_is(name: str) -> None:
    """Also one with BatchNorm (pix2pix's) or spectral norms (SPADE's, SNGAN's), in training."""
    discriminator = for_family(WIRINGS[name]).train()
    loss = built("dcd", discriminator=discriminator).float()
    before = copy.deepcopy(discriminator.state_dict())
    s, t = maps(0, STUDENT, side=16), maps(1, TEACHER, side=16)
    leaves = {tap: m.float().requires_grad_() for tap, m in s.items()}
    loss(leaves, {tap: m.float() for tap, m in t.items()}).backward()
    assert all(number(leaf.grad.abs().max()) > 0 for leaf in leaves.values())
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())
    assert all(torch.equal(a, before[key]) for key, a in discriminator.state_dict().items())
    assert all(m.training for m in discriminator.modules())
    norms = [m for m in discriminator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.track_running_stats for m in norms)


def test_equal_maps_through_spectral_norms_are_at_no_distance() -> None:
    """The norm must not move between the teacher's pass and the student's."""
    discriminator = for_family(WIRINGS["gaugan"]).train()
    loss = tap_loss("dcd", ["tap"], {"tap": 4}, {"tap": 4}, discriminator).eval()
    [connector] = loss.connectors
    loss.teacher_0.copy_(connector.conv.weight.detach() / (1 + connector.norm.eps) ** 0.5)
    x = maps(0, {"tap": 4}, side=16)["tap"].float()
    assert number(loss({"tap": x}, {"tap": x})) == pytest.approx(0, abs=1e-6)
    assert number(loss({"tap": x}, {"tap": x.flip(3)})) > 1e-4


def test_the_students_connectors_are_trained_and_the_teachers_are_not() -> None:
    discriminator = patchgan()
    loss = built("dcd", discriminator=discriminator)
    names = {name for name, _ in loss.named_parameters()}
    parts = ("conv.weight", "norm.weight", "norm.bias")
    assert names == {f"connectors.{k}.{part}" for k in range(2) for part in parts}
    assert {"teacher_0", "teacher_1"} <= loss.state_dict().keys()
    owned = {id(p) for p in discriminator.parameters()}
    assert not owned & {id(p) for p in loss.parameters()}


def test_one_picture_of_one_place_is_normalised_by_the_running_statistics() -> None:
    """The bottleneck of a U-Net; batch statistics of one value would leave nothing of it."""
    loss = built("dcd", discriminator=patchgan().double())
    s, t = ({tap: m[:1, :, :1, :1] for tap, m in maps(k, c).items()} for k, c in
            enumerate((STUDENT, TEACHER)))  # fmt: skip
    values = [number(loss({tap: f * m for tap, m in s.items()}, t)) for f in (1, 2)]
    assert all(v > 0 for v in values)
    assert values[0] != values[1]


# --- all kinds -----------------------------------------------------------------------------------


def for_family(wiring: Wiring) -> DiscriminatorWithLoss:
    net, own = wiring.ghost, wiring.discriminator()
    if wiring.name == "sngan" and "y" not in reads(net):
        own = Discriminator(build_discriminator("sngan", width=8), "sngan")
    return DiscriminatorWithLoss(own=own, reads=reads(net), channels=channels_of(net))


@every_wiring
def test_every_familys_taps_teach_a_narrower_student(wiring: Wiring) -> None:
    """By each kind of loss, of one picture, as CycleGAN and pix2pix are trained."""
    taps, inputs = wiring.family.taps(wiring.settled), wiring.inputs(1)
    teacher, full = wiring.net(2), widths(wiring.ghost)
    student = wiring.net(1, **{group: -(-width // 2) for group, width in full.items()}).train()
    at_full = tap_widths(teacher, taps, wiring.pixels)
    with torch.no_grad(), tapped(teacher, taps) as wanted:
        teacher(*inputs)
    with tapped(student, taps) as found:
        student(*inputs)
    assert all(found[tap].shape[1] < wanted[tap].shape[1] for tap in taps)
    for kind in KINDS:
        loss = tap_loss(kind, taps, at_full, at_full, for_family(wiring))
        student.zero_grad()
        value = loss(found, wanted)
        value.backward(retain_graph=True)
        assert value.shape == ()
        assert value.isfinite()
        grads = [p.grad for p in student.parameters() if p.grad is not None]
        assert all(g.isfinite().all() for g in grads)
        assert any(g.abs().max() > 0 for g in grads)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())


@every_wiring
def test_the_widths_of_taps_are_found_without_a_number(wiring: Wiring) -> None:
    net, taps = wiring.net(), wiring.family.taps(wiring.settled)
    with tapped(net, taps) as found:
        net(*wiring.inputs())
    assert tap_widths(net, taps, wiring.pixels) == {tap: found[tap].shape[1] for tap in taps}


@pytest.mark.parametrize("kind", KINDS)
def test_the_teachers_maps_get_no_gradient(kind: str) -> None:
    loss = built(kind, discriminator=patchgan().double())
    s, t = ({tap: m.requires_grad_() for tap, m in maps(k, c).items()} for k, c in
            enumerate((STUDENT, TEACHER)))  # fmt: skip
    loss(s, t).backward()
    assert all(m.grad is None for m in t.values())
    assert all(m.grad is not None for m in s.values())


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_a_pass_in_bfloat16_are_compared_in_float32(kind: str) -> None:
    loss = built(kind, discriminator=patchgan()).float()
    s, t = ({tap: m.bfloat16() for tap, m in maps(k, of).items()}
            for k, of in enumerate((STUDENT, TEACHER)))  # fmt: skip
    s = {tap: m.requires_grad_() for tap, m in s.items()}
    found = loss(s, t)
    wide = loss(*({tap: m.detach().float() for tap, m in of.items()} for of in (s, t)))
    assert found.dtype == torch.float32
    assert number(found) == pytest.approx(number(wide), rel=1e-6)
    found.backward()
    assert all(m.grad is not None and m.grad.abs().sum() > 0 for m in s.values())


@pytest.mark.parametrize("kind", KINDS)
def test_taps_may_be_vectors(kind: str) -> None:
    """As maps of one place are."""
    loss = built(kind, discriminator=patchgan().double())
    s, t = ({tap: m[:, :, 0, 0] for tap, m in maps(k, c).items()} for k, c in
            enumerate((STUDENT, TEACHER)))  # fmt: skip
    wanted = loss(*({tap: v[:, :, None, None] for tap, v in of.items()} for of in (s, t)))
    assert number(loss(s, t)) == pytest.approx(number(wanted))
    assert number(wanted) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_tap_loss_is_saved_and_taken_up_again(kind: str) -> None:
    discriminator = patchgan().double()
    loss = built(kind, discriminator=discriminator)
    torch.manual_seed(99)
    other = tap_loss(kind, TAPS, STUDENT, TEACHER, discriminator).double()
    other.load_state_dict(loss.state_dict())
    s, t = maps(0, STUDENT), maps(1, TEACHER)
    assert torch.equal(loss(s, t), other(s, t))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("msee", TAPS, STUDENT, TEACHER), "'mse'"),
        (("dcd", TAPS, STUDENT, TEACHER), "take 'mse' or 'alignment'"),
        (("mse", (), STUDENT, TEACHER), "at least one tap"),
        (("mse", ("down3",), STUDENT, TEACHER), "'down2'"),
        (("mse", TAPS, STUDENT, {"down2": 6}), "No width is known for tap 'blocks.0'"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tap_loss(*arguments)
    with pytest.raises(ConfigError, match="not 'l3'"):
        tap_loss("mse", TAPS, STUDENT, TEACHER, distance="l3")  # type: ignore[arg-type]


def test_maps_that_do_not_fit_are_refused() -> None:
    loss = built("mse")
    s, t = maps(0, STUDENT), maps(1, TEACHER)
    with pytest.raises(ConfigError, match="may differ in channels alone"):
        loss(maps(0, STUDENT, side=4), t)
    with pytest.raises(ConfigError, match="at most 4"):
        loss(maps(0, {"down2": 5, "blocks.0": 5}), t)
    with pytest.raises(ConfigError, match="was built for 6"):
        loss(s, maps(0, {"down2": 7, "blocks.0": 3}))
    with pytest.raises(ConfigError, match=r"Tap 'blocks\.0' has no map"):
        loss({"down2": s["down2"]}, t)
