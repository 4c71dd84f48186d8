"""The truth of a batch: the real pictures of what its inputs show."""

from __future__ import annotations

from torch import Tensor, nn

from ganpress.data import Batch, Images
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise, reads


def has_truth(teacher: Model, images: Images | None) -> bool:
    """Whether the images hold the real picture of each input: the photo of a label map, the target
    of a pair."""
    if "semantics" in reads(teacher):
        return True
    return bool(images and images.paired and not from_noise(teacher))


def truth_in(of: Model | nn.Module, batch: Batch, *, is_paired: bool) -> Tensor | None:
    """The real pictures of what a batch shows a generator, (n, c, h, w); None where there are none.

    Args: is_paired: the batch's targets are those of its inputs (`has_truth`), not just pictures of
        the target domain.
    """
    if "semantics" in reads(of):
        return batch.x
    return batch.y if is_paired else None
