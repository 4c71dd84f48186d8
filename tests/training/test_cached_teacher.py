"""The cache of a teacher's pictures that runs share: whose pictures they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from nets import Wiring
from PIL import Image

from ganpress.data import open_images
from ganpress.models.checkpoint import Model
from ganpress.models.source import Source
from ganpress.quantisation.quantise import FakeQuantiser, quantise
from ganpress.training.shared_settings import DataSettings
from ganpress.training.teacher import cached_teacher


def test_teachers_of_the_same_weights_share_no_pictures_unless_all_else_is_the_same(
    tmp_path: Path,
) -> None:
    (tmp_path / "x").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "x" / "a.png")
    images, shared = open_images(tmp_path / "x"), tmp_path / "shared"
    data = DataSettings(size=32, cached_crops=1, teacher_cache=str(shared))

    def caches(model: Model) -> int:
        cached_teacher(Source(model, images), data, tmp_path, 32)
        return len(list(shared.iterdir()))

    plain, clamped = (Wiring("cyclegan", {"clamp": clamp}).model() for clamp in (False, True))
    assert [caches(plain), caches(plain), caches(clamped)] == [1, 1, 2]
    rounded = [Wiring("cyclegan").model() for _ in range(2)]
    for model, p in zip(rounded, (1.0, 2.0), strict=True):
        quantise(model.net, FakeQuantiser(p=p))
    assert [caches(model) for model in rounded] == [3, 4]


def test_runs_of_other_numbers_of_crops_share_no_files(tmp_path: Path) -> None:
    """The one that opens them second would empty the files that the first one reads."""
    (tmp_path / "x").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "x" / "a.png")
    images, model = open_images(tmp_path / "x"), Wiring("cyclegan").model()
    seen = []
    for crops in (1, 2, 1):
        data = DataSettings(size=32, cached_crops=crops, teacher_cache=str(tmp_path / "shared"))
        teacher = cached_teacher(Source(model, images), data, tmp_path, 32)
        seen.append(teacher)
        teacher((torch.zeros(1, 3, 32, 32),), torch.tensor([crops - 1]))
    assert [(t.computed, t.recalled) for t in seen] == [(1, 0), (1, 0), (0, 1)]
