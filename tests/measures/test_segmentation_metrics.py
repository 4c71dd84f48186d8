"""Mean IoU and pixel accuracy, against cases counted by hand and torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from ganpress.measures.metrics.segmentation import (
    IGNORED,
    confusion,
    intersection_over_union,
    mean_iou,
    pixel_accuracy,
)

TRUTH = torch.tensor([[0, 0, 1, 1], [0, 2, 1, IGNORED]])
FOUND = torch.tensor([[0, 1, 1, 1], [0, 2, 2, 0]])


def maps(classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (6, 9, 7), generator=draw)
    found = torch.where(
        torch.rand(truth.shape, generator=draw) < 0.6,
        truth,
        torch.randint(0, classes, truth.shape, generator=draw),
    )
    truth[torch.rand(truth.shape, generator=draw) < 0.1] = IGNORED
    return truth, found


def test_pixels_are_counted_by_true_and_found_class() -> None:
    matrix = confusion(TRUTH, FOUND, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 1]]
    assert matrix.dtype == torch.int64


def test_the_ratios_are_those_counted_by_hand() -> None:
    matrix = confusion(TRUTH, FOUND, 3)
    assert intersection_over_union(matrix).tolist() == [2 / 3, 2 / 4, 1 / 2]
    assert mean_iou(matrix) == pytest.approx((2 / 3 + 1 / 2 + 1 / 2) / 3)
    assert pixel_accuracy(matrix) == pytest.approx(5 / 7)


def test_a_class_that_nobody_names_is_not_in_the_mean() -> None:
    matrix = confusion(TRUTH, FOUND, 5)
    assert intersection_over_union(matrix).isnan().tolist() == [False, False, False, True, True]
    assert mean_iou(matrix) == mean_iou(confusion(TRUTH, FOUND, 3))


def test_a_class_found_where_none_is_true_counts_over_the_union_alone() -> None:
    matrix = confusion(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 1]), 3)
    assert mean_iou(matrix, "union") == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert mean_iou(matrix, "truth") == pytest.approx((1 / 2 + 1) / 2)


def test_a_class_that_is_missed_counts_nought_either_way() -> None:
    matrix = confusion(torch.tensor([0, 1]), torch.tensor([0, 0]), 2)
    assert mean_iou(matrix, "truth") == mean_iou(matrix, "union") == pytest.approx(1 / 4)


def test_nothing_counted_is_not_a_number() -> None:
    matrix = confusion(torch.full((3,), IGNORED), torch.zeros(3), 2)
    assert math.isnan(mean_iou(matrix)) and math.isnan(pixel_accuracy(matrix))


@pytest.mark.parametrize("classes", [2, 5, 19])
def test_they_agree_with_torchmetrics(classes: int) -> None:
    truth, found = maps(classes)
    matrix = confusion(truth, found, classes)
    iou = MulticlassJaccardIndex(classes, average="macro", ignore_index=IGNORED)
    accuracy = MulticlassAccuracy(classes, average="micro", ignore_index=IGNORED)
    assert mean_iou(matrix) == pytest.approx(float(iou(found, truth)), abs=1e-6)
    assert pixel_accuracy(matrix) == pytest.approx(float(accuracy(found, truth)), abs=1e-6)


def test_the_sum_over_batches_is_that_of_all_pictures() -> None:
    truth, found = maps(4)
    parts = [confusion(t, f, 4) for t, f in zip(truth.split(2), found.split(2), strict=True)]
    assert torch.equal(sum(parts), confusion(truth, found, 4))  # type: ignore[arg-type]


def test_a_count_beyond_the_precision_of_float32_is_exact() -> None:
    many = torch.full((2, 2), 2**24 + 1, dtype=torch.int64)
    assert pixel_accuracy(many) == 0.5 and mean_iou(many) == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "found"), [([0, 3], [0, 1]), ([0, 1], [0, 3]), ([0, -2], [0, 0]), ([0], [-1])]
)
def test_an_index_that_is_no_class_is_refused(truth: list[int], found: list[int]) -> None:
    with pytest.raises(ValueError, match="0 to 2"):
        confusion(torch.tensor(truth), torch.tensor(found), 3)


def test_maps_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="found"):
        confusion(torch.zeros(2, 2), torch.zeros(2, 3), 2)
