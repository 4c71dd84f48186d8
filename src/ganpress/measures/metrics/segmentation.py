"""Mean intersection over union and pixel accuracy, from a confusion matrix that is summed up."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Over = Literal["union", "truth"]
IGNORED = -1
"""Class of pixels of the truth that are not counted."""


def confusion(truth: Tensor, found: Tensor, classes: int) -> Tensor:
    """(classes, classes) int64: pixels by true class (rows) and found class (columns).

    The sum over batches is that of all pictures; pixels whose true class is `IGNORED` are left out.

    Args: truth: class indices of any shape, or `IGNORED`. found: of the same shape, no `IGNORED`.
    Raises: ValueError for shapes that differ, or an index that is no class.

    >>> confusion(torch.tensor([0, 0, 1, -1]), torch.tensor([0, 1, 1, 0]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    if truth.shape != found.shape:
        raise ValueError(f"The truth is {tuple(truth.shape)}, what was found {tuple(found.shape)}.")
    counted = truth != IGNORED
    rows, columns = truth[counted].long(), found[counted].long()
    for indices in (rows, columns):
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < classes:
            raise ValueError(f"A class is not one of 0 to {classes - 1}.")
    return torch.bincount(rows * classes + columns, minlength=classes**2).view(classes, classes)


def intersection_over_union(matrix: Tensor) -> Tensor:
    """(classes,) float64, 0 to 1: of each class; NaN for one that is in neither truth nor found."""
    both = matrix.diagonal().double()
    return both / (matrix.sum(0) + matrix.sum(1) - both)


def mean_iou(matrix: Tensor, over: Over = "union") -> float:
    """The mean over classes, 0 to 1, larger is better; NaN where nothing was counted.

    Args:
        matrix: of `confusion`. over: "union": classes that are in the truth or were found, as
            Cityscapes is measured; "truth": those in the truth alone, as COCO-Stuff is.

    >>> matrix = torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    >>> round(mean_iou(matrix), 4)
    0.7083
    """
    each = intersection_over_union(matrix)
    present = matrix.sum(1) > 0
    if over == "union":
        present = present | (matrix.sum(0) > 0)
    return float(each[present].mean())


def pixel_accuracy(matrix: Tensor) -> float:
    """Pixels whose class was found over those that are counted, 0 to 1, larger is better.

    >>> round(pixel_accuracy(torch.tensor([[3, 1], [0, 2]])), 4)
    0.8333
    """
    return float(matrix.diagonal().sum().double() / matrix.sum())
