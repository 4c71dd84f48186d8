"""What the once-for-all generator starts as: importance, transfer, and channels in order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import WIRINGS, Wiring, difference, every_wiring
from torch import nn

from ganpress.methods.once_for_all.beginning import (
    by_importance,
    cut_to,
    first_student,
    full_widths,
    importance,
    options_of,
    sorted_by_importance,
    transfer,
)
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.models.checkpoint import Model
from ganpress.nn.axes import Axis, axes
from ganpress.nn.layers import conv
from ganpress.run.settings import checked


def config(**student: Any) -> OnceForAllConfig:
    multiple = student.pop("channel_multiple", 1)
    values = {"student": student, "channel_multiple": multiple, "min_channels": 1}
    return checked(OnceForAllConfig, values)


def l1(weight: torch.Tensor, dim: int) -> list[float]:
    """The sum of absolute values of each slice along a dim."""
    return [float(part.abs().sum()) for part in weight.detach().unbind(dim)]


# --- importance -----------------------------------------------------------------------------------


def test_the_importance_of_a_channel_is_the_l1_norm_of_the_filter_that_makes_it() -> None:
    net = WIRINGS["cyclegan instance"].net()
    found = importance(net)
    parameters = dict(net.named_parameters())
    made_by = {
        g: [
            n for n, dims in axes(net).items() if n.endswith("weight") and is_of(dims, g, made=True)
        ]
        for g in found
    }
    assert set(found) == set(WIRINGS["cyclegan instance"].widths)
    for group in ("stem", "down1", "block0", "block1"):
        (name,) = made_by[group]
        assert found[group].tolist() == pytest.approx(l1(parameters[name], 0))


def is_of(dims: Any, group: str, *, made: bool) -> bool:
    dim = dims[0 if made else 1] if len(dims) > 1 else None
    return bool(dim) and [a.group for a in dim] == [group]


def test_a_residual_trunk_is_ordered_by_its_first_producer() -> None:
    net: Any = WIRINGS["cyclegan instance"].net()
    first = next(m for n, m in net.named_modules() if n == "down2" or n.startswith("down2."))
    weight = next(p for n, p in first.named_parameters() if n.endswith("weight"))
    assert importance(net)["trunk"].tolist() == pytest.approx(l1(weight, 0))
    with torch.no_grad():  # no later one counts
        for name, p in net.named_parameters():
            if name.startswith("blocks"):
                p.mul_(100)
    assert importance(net)["trunk"].tolist() == pytest.approx(l1(weight, 0))


def test_transposed_convolutions_make_channels_along_their_second_dim() -> None:
    net: Any = WIRINGS["cyclegan instance"].net()
    transposed = [m for m in net.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    assert len(transposed) == 2
    found = importance(net)
    for group, layer in zip(("up1", "up2"), transposed, strict=True):
        assert layer.weight.shape[1] == len(found[group])
        assert found[group].tolist() == pytest.approx(l1(layer.weight, 1))


def test_a_channel_of_several_rows_has_the_sum_of_them() -> None:
    """SNGAN's first linear layer makes 4 x 4 values of each channel."""
    net = WIRINGS["sngan"].net()
    spans = {
        n: dims[0][0]
        for n, dims in axes(net).items()
        if n.endswith("weight") and len(dims) == 2 and dims[0] and dims[0][0].span > 1
    }
    ((name, axis),) = spans.items()
    rows = dict(net.named_parameters())[name].detach().abs().sum(1)
    wanted = [float(rows[i * axis.span : (i + 1) * axis.span].sum()) for i in range(axis.width)]
    assert importance(net)[axis.group].tolist() == pytest.approx(wanted)


def test_stylegan2s_constant_makes_the_channels_of_its_group() -> None:
    net: Any = WIRINGS["stylegan2"].net()
    (group,) = {a.group for a in axes(net)["const"][1]}
    assert importance(net)[group].tolist() == pytest.approx(l1(net.const[0], 0))


def test_depthwise_filters_make_no_channels() -> None:
    """The pointwise convolution behind them does."""
    net = WIRINGS["cyclegan separable"].net()
    before = importance(net)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "depthwise" in name and name.endswith("weight"):
                p.mul_(torch.rand(len(p), 1, 1, 1) * 100)
    after = importance(net)
    assert all(torch.equal(before[g], after[g]) for g in before)


@every_wiring
def test_every_group_has_an_importance_for_each_channel(wiring: Wiring) -> None:
    net = wiring.net()
    found = importance(net)
    assert {g: len(s) for g, s in found.items()} == wiring.widths
    assert all(float(s.min()) > 0 for s in found.values())
    assert all(len(s.unique()) > 1 or len(s) == 1 for s in found.values())


# --- sorting --------------------------------------------------------------------------------------


@every_wiring
def test_sorting_leaves_the_function_as_it_was(wiring: Wiring) -> None:
    """In float64 to 1e-9 of the largest value; what a permutation does is change the order of
    sums. MUNIT's LayerNorm sees all channels, in any order."""
    model = wiring.model()
    model.net.double()
    ordered = sorted_by_importance(model)
    assert ordered.widths == model.widths
    inputs = [t.double() for t in wiring.inputs()]
    with torch.no_grad():
        before, after = model.net(*inputs), ordered.net(*inputs)
    assert difference(before, after) <= 1e-9 * max(1.0, float(before.abs().max()))
    old, new = model.net.state_dict(), ordered.net.state_dict()
    assert any(not torch.equal(old[n], new[n]) for n in old)


@every_wiring
def test_the_first_channels_of_a_sorted_network_are_the_most_important(wiring: Wiring) -> None:
    model = wiring.model()
    scores, ordered = importance(model.net), importance(sorted_by_importance(model).net)
    for group, score in scores.items():
        wanted = sorted(score.tolist(), reverse=True)
        assert ordered[group].tolist() == pytest.approx(wanted), group
    order = by_importance(model.net)
    for group, score in scores.items():
        assert score[order[group]].tolist() == sorted(score.tolist(), reverse=True)


def test_style_encoders_are_sorted_too() -> None:
    model: Any = WIRINGS["munit"].model()
    ordered: Any = sorted_by_importance(model)
    y = WIRINGS["munit"].inputs()[0]
    with torch.no_grad():
        assert difference(model.net.encode_style(y), ordered.net.encode_style(y)) <= 1e-5


def test_channels_of_equal_importance_keep_their_order() -> None:
    net = WIRINGS["cyclegan instance"].net()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(0.5)
    assert all(o.tolist() == list(range(len(o))) for o in by_importance(net).values())


# --- the student ----------------------------------------------------------------------------------


def teacher(name: str = "cyclegan instance") -> Model:
    return WIRINGS[name].model()


def test_a_student_of_the_teachers_wiring_starts_as_the_teacher() -> None:
    model = teacher("cyclegan affine")
    student = first_student(model, config(wiring="dense"))
    wanted = model.net.state_dict()
    assert all(torch.equal(t, wanted[n]) for n, t in student.net.state_dict().items())


@pytest.mark.parametrize("name", ["cyclegan affine", "cartoongan", "munit", "gaugan"])
def test_of_a_separable_student_only_the_separable_layers_are_fresh(name: str) -> None:
    model = teacher(name)
    torch.manual_seed(3)
    student = first_student(model, config())
    assert student.options["separable"] is True
    torch.manual_seed(4)
    other = first_student(model, config())
    theirs, state = model.net.state_dict(), student.net.state_dict()
    fresh = [n for n in state if n not in theirs]
    mobile = [n for n, m in student.net.named_modules() if "Separable" in type(m).__name__]
    assert mobile and fresh == [n for n in state if n.startswith(tuple(f"{m}." for m in mobile))]
    for n, t in state.items():
        if n in theirs:
            assert torch.equal(t, theirs[n]), n
    drawn = [n for n in fresh if not torch.equal(state[n], other.net.state_dict()[n])]
    assert all("pointwise" in n or "depthwise" in n for n in drawn) and drawn


def test_transfer_says_what_it_copied_and_leaves_the_rest() -> None:
    source, net = WIRINGS["cyclegan instance"].net(0), WIRINGS["cyclegan separable"].net(1)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    copied = transfer(source, net)
    assert copied == sorted(copied)
    assert set(copied) <= set(before)
    for n, t in net.state_dict().items():
        wanted = source.state_dict()[n] if n in copied else before[n]
        assert torch.equal(t, wanted), n
    assert not any(n.startswith("blocks") for n in copied)
    assert {n.split(".")[0] for n in copied} == {n.split(".")[0] for n in before} - {"blocks"}


def test_running_statistics_are_transferred_with_the_weights() -> None:
    source, net = WIRINGS["cyclegan batch"].net(0), WIRINGS["cyclegan batch"].net(1)
    copied = transfer(source, net)
    assert any(n.endswith("running_var") for n in copied)
    assert set(copied) == set(net.state_dict())


def test_modules_of_one_name_that_make_other_channels_are_not_copied() -> None:
    source = WIRINGS["cyclegan instance"].net(0)
    net = WIRINGS["cyclegan instance"].net(1, stem=6)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    copied = transfer(source, net)
    touched = [n for n, dims in axes(net).items() if any(d and d[0].group == "stem" for d in dims)]
    assert touched and not set(touched) & set(copied)
    assert all(torch.equal(net.state_dict()[n], before[n]) for n in touched)


def test_layers_of_one_shape_that_make_channels_of_other_groups_are_not_copied() -> None:
    def layer(group: str) -> torch.nn.Module:
        made = conv(Axis("read", 4), Axis(group, 6), 3)
        return torch.nn.Sequential(made)

    source, same, other = layer("a"), layer("a"), layer("b")
    assert transfer(source, same) == ["0.bias", "0.weight"]
    assert transfer(source, other) == []


def test_a_fresh_student_has_none_of_the_teachers_weights() -> None:
    model = teacher()
    torch.manual_seed(3)
    student = first_student(model, config(start="fresh", wiring="dense"))
    torch.manual_seed(3)
    wanted = model.family.build(model.widths, **model.options)
    assert all(torch.equal(t, wanted.state_dict()[n]) for n, t in student.net.state_dict().items())


@pytest.mark.parametrize("name", ["cyclegan instance", "pix2pix resize"])
def test_scales_that_a_student_is_given_change_nothing_at_first(name: str) -> None:
    model = teacher(name)
    student = first_student(model, config(affine=True, wiring="dense"))
    assert (model.options["affine"], student.options["affine"]) == (False, True)
    norms = [m for m in student.net.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert norms and all(m.weight is not None and m.bias is not None for m in norms)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(student(x), model(x))


def test_a_separable_student_can_be_given_scales() -> None:
    student = first_student(teacher(), config(affine=True))
    assert student.options["separable"] and student.options["affine"]


@pytest.mark.parametrize("name", ["cyclegan affine", "pix2pix", "sngan", "stylegan2"])
def test_a_narrower_start_keeps_the_most_important_channels(name: str) -> None:
    model = teacher(name)
    student = first_student(model, config(width_ratio=0.5, wiring="dense"))
    assert student.widths == {g: max(1, round(w * 0.5)) for g, w in model.widths.items()}
    scores = importance(model.net)
    tensors = {**dict(model.net.named_parameters()), **dict(model.net.named_buffers())}
    dims_of, own = axes(model.net), student.net.state_dict()
    for name, tensor in tensors.items():
        for d, dim in enumerate(dims_of.get(name, ())):
            if dim and len(dim) == 1 and not dim[0].fixed and dim[0].span == 1:
                g = dim[0].group
                best = sorted(range(len(scores[g])), key=lambda i: -float(scores[g][i]))
                kept = torch.tensor(sorted(best[: student.widths[g]]))  # in the teacher's order
                tensor = tensor.index_select(d, kept)
        if tensor.shape == own[name].shape:
            torch.testing.assert_close(own[name], tensor.detach(), rtol=0, atol=0)


def test_a_narrower_separable_start_keeps_the_teachers_most_important_channels() -> None:
    """Of groups that a fresh layer makes, that layer's own order."""
    model = teacher("cyclegan instance")
    student = first_student(model, config(width_ratio=0.5))
    best = importance(model.net)["stem"].argsort(descending=True)[: student.widths["stem"]]
    best = best.sort().values
    name = next(n for n, d in axes(model.net).items() if is_of(d, "stem", made=True))
    wanted = model.net.state_dict()[name][best]
    assert torch.equal(student.net.state_dict()[name], wanted)


def test_chosen_widths_are_those_of_the_student() -> None:
    model = teacher()
    chosen = {g: max(1, w // 3) for g, w in model.widths.items()}
    for start in ("teacher", "fresh"):
        assert first_student(model, config(start=start), chosen).widths == chosen


def test_full_widths_are_whole_multiples_where_there_are_as_many() -> None:
    model = teacher()
    assert full_widths(model, config(channel_multiple=4)) == model.widths  # ratio 1: as they are
    found = full_widths(model, config(width_ratio=0.5, channel_multiple=4))
    wanted = {"stem": 4, "down1": 4, "trunk": 4, "block0": 8, "block1": 3, "up1": 8, "up2": 8}
    assert found == wanted  # of 5, 7, 11, 13, 3, 17, 19


@pytest.mark.parametrize(
    ("name", "wiring", "separable"),
    [
        ("cyclegan instance", "auto", True),
        ("cyclegan instance", "separable", True),
        ("cyclegan instance", "dense", None),
        ("cyclegan separable", "dense", True),
        ("pix2pix", "auto", None),
        ("sngan", "separable", None),
    ],
)
def test_layers_are_separable_where_the_family_can_have_them(
    name: str, wiring: str, separable: bool | None
) -> None:
    model = teacher(name)
    found = options_of(model, config(wiring=wiring))
    assert found.get("separable") in ((separable,) if separable else (None, False))
    assert {n: v for n, v in found.items() if n != "separable"} == {
        n: v for n, v in model.options.items() if n != "separable"
    }


@every_wiring
def test_cutting_gives_the_network_of_the_first_channels(wiring: Wiring) -> None:
    model = wiring.model()
    chosen = {g: max(1, w // 2) for g, w in model.widths.items()}
    small = cut_to(model, chosen)
    assert small.widths == chosen and model.widths == wiring.widths
    for name, tensor in small.net.state_dict().items():
        dims = axes(small.net).get(name, ())
        if all(dim is None or (len(dim) == 1 and not dim[0].fixed) for dim in dims):
            corner = model.net.state_dict()[name][tuple(slice(n) for n in tensor.shape)]
            assert torch.equal(tensor, corner), name
