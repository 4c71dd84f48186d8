"""The terms between pictures of OMGD and DCD, against the authors' numbers and written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch.nn.functional as F
from interop_files import largest, reference
from nets import photos
from torch import Tensor

from ganpress.errors import ConfigError
from ganpress.losses.features import load_features
from ganpress.losses.structure import gram_l1, ssim, total_variation
from ganpress.losses.terms import gram
from ganpress.methods.once_for_all.omgd import (
    DCD,
    OMGD,
    PictureLoss,
    PictureWeights,
    picture_loss,
    weights_on,
)

ONE = {"ssim": 0.0, "gram": 0.0, "feature": 0.0, "total_variation": 0.0}


def stand_in() -> Callable[[Tensor], dict[str, Tensor]]:
    """The file's network in place of VGG-16: ReLU of three convolutions on pictures in [0, 1]."""
    given = reference("content_aware").input

    def maps(x: Tensor) -> dict[str, Tensor]:
        hidden, found = (x + 1) / 2, {}
        for j, stride in enumerate((1, 2, 2)):
            weight, bias = (given[f"omgd_conv_{j}.{part}"] for part in ("weight", "bias"))
            hidden = F.conv2d(hidden, weight.to(x), bias.to(x), stride, padding=1).relu()
            found[f"tap{j}"] = hidden
        return found

    return maps


def close_to_the_file(name: str, value: Tensor, *grads: tuple[str, Tensor | None]) -> None:
    """Values to 1e-5 of them, gradients to 2e-5 of their largest entry."""
    wanted = reference("content_aware").output
    assert float(value.detach()) == pytest.approx(float(wanted[name]), rel=1e-5)
    for key, grad in grads:
        assert grad is not None
        assert largest(grad, wanted[key]) <= 2e-5 * float(wanted[key].abs().max())


@pytest.mark.shared_interop
@pytest.mark.parametrize(
    ("name", "weight"),
    [("ssim", "ssim"), ("gram", "gram"), ("feature", "feature"), ("tv", "total_variation")],
)
def test_each_term_and_its_gradient_equal_the_authors(name: str, weight: str) -> None:
    given = reference("content_aware").input
    student = given["omgd_student"].clone().requires_grad_()
    loss = PictureLoss(stand_in(), PictureWeights(**{**ONE, weight: getattr(OMGD, weight)}))
    value = loss(student, given["omgd_teacher_0"])
    value.backward()
    close_to_the_file(f"omgd_{name}", value, (f"omgd_{name}_grad", student.grad))


@pytest.mark.shared_interop
@pytest.mark.parametrize(("name", "teachers"), [("total", 1), ("total_two_teachers", 2)])
def test_the_sum_over_terms_and_teachers_equals_the_authors(name: str, teachers: int) -> None:
    given = reference("content_aware").input
    student = given["omgd_student"].clone().requires_grad_()
    value = PictureLoss(stand_in())(student, *(given[f"omgd_teacher_{k}"] for k in range(teachers)))
    value.backward()
    close_to_the_file(f"omgd_{name}", value, (f"omgd_{name}_grad", student.grad))


@pytest.mark.shared_interop
def test_the_gram_matrices_and_their_gradient_equal_the_authors() -> None:
    file = reference("content_aware")
    a, b = (
        {f"tap{j}": file.input[f"omgd_{of}_feature_{j}"].clone() for j in range(3)}
        for of in ("student", "teacher")
    )
    for j, maps in enumerate(a.values()):
        wanted = file.output[f"omgd_gram_student_{j}"]
        assert largest(gram(maps), wanted) <= 1e-5 * float(wanted.abs().max())
        maps.requires_grad_()
    (OMGD.gram * gram_l1(a, b)).backward()
    for j, maps in enumerate(a.values()):
        wanted = file.output[f"omgd_gram_feature_grad_{j}"]
        assert maps.grad is not None
        assert largest(maps.grad, wanted) <= 1e-5 * float(wanted.abs().max())


def test_dcd_compares_gram_matrices_and_the_second_tap_alone() -> None:
    a, b = photos(2), photos(2, seed=5)
    net = load_features("tiny")
    u, v = net(a), net(b)
    second = net.taps[1]
    wanted = {"gram": 1e4 * gram_l1(u, v), "feature": 10 * (u[second] - v[second]).abs().mean()}
    found = PictureLoss(net, DCD).terms(a, b)
    assert found.keys() == wanted.keys()
    for name, term in wanted.items():
        assert float(found[name]) == pytest.approx(float(term), rel=1e-5)
    assert float(PictureLoss(net, DCD)(a, b)) == pytest.approx(float(sum(wanted.values())))


def test_the_terms_are_logged_by_name_with_their_weights() -> None:
    a, b, c = photos(2), photos(2, seed=5), photos(2, seed=6)
    weights = PictureWeights(ssim=3.0, gram=0.0, feature=0.0, total_variation=0.5)
    found = PictureLoss(None, weights).terms(a, b, c)
    assert list(found) == ["ssim", "tv"]
    assert float(found["ssim"]) == pytest.approx(float(3 * (1 - ssim(a, b) + 1 - ssim(a, c))))
    assert float(found["tv"]) == pytest.approx(float(total_variation(a)))  # of two teachers


def test_the_teachers_pictures_get_no_gradient() -> None:
    student, teacher = photos(2).requires_grad_(), photos(2, seed=5).requires_grad_()
    PictureLoss(load_features("tiny"))(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_weights_of_zero_are_no_loss_and_need_no_network() -> None:
    loss = picture_loss("vgg16", PictureWeights(**ONE))
    assert loss.features is None
    assert float(loss(photos(1), photos(1, seed=5))) == 0
    with pytest.raises(ConfigError, match="feature network, and there is none"):
        PictureLoss(None)


def test_another_network_has_weights_by_the_scale_of_its_maps() -> None:
    """As GAN Slimming's d has it: L1 of maps 0.01 to 1, squared Gram differences 0.002 to 1e5."""
    assert weights_on("vgg16") == weights_on("tiny") == OMGD
    squeezed = weights_on("squeezenet")
    assert squeezed.feature == pytest.approx(0.1)
    assert squeezed.gram == pytest.approx(1e4 * (2e-8) ** 0.5)
    assert (squeezed.ssim, squeezed.total_variation) == (10.0, 1e-5)
    loss = picture_loss("tiny", DCD)
    assert loss.weights == DCD
    assert tuple(loss.features.taps) == load_features("tiny").taps  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="squeezenet"):
        picture_loss("sqeezenet")
    with pytest.raises(ConfigError, match="features"):
        weights_on("efficientnet-lite0")
