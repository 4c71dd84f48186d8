"""Boxes of interest: of every picture, and photo by photo."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import write_pictures

from ganpress.data import evaluation, open_images, stream
from ganpress.errors import ConfigError
from ganpress.measures.interest.interest import interest_for, is_by_photo, masked_images
from ganpress.measures.interest.settings import MaskSettings


def write(folder: Path, text: str, name: str = "boxes.toml") -> MaskSettings:
    (folder / name).write_text(text)
    return MaskSettings(source=str(folder / name))


@pytest.mark.parametrize("shape", [(8, 8), (16, 64), (4, 4)], ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_boxes_in_fractions_are_of_every_picture_whatever_its_size(
    tmp_path: Path, shape: tuple[int, int], count: int
) -> None:
    mask = write(tmp_path, "boxes = [[0.25, 0.5, 0.75, 1.0], [0, 0, 0.25, 0.25]]")
    find = interest_for(mask)
    assert find is not None and not is_by_photo(mask)
    found = find((), torch.zeros(count, 3, *shape))
    wanted, (h, w) = torch.zeros(count, 1, *shape), shape
    wanted[..., h // 2 :, w // 4 : 3 * w // 4] = 1
    wanted[..., : h // 4, : w // 4] = 1
    assert torch.equal(found, wanted)


def test_boxes_cover_their_area_of_pixels_at_their_edges(tmp_path: Path) -> None:
    text = json.dumps({"boxes": [[1, 0.5, 2.25, 2]], "unit": "pixel", "size": "4x8"})
    find = interest_for(write(tmp_path, text, "boxes.json"))
    assert find is not None
    found = find((), torch.zeros(1, 3, 4, 8))[0, 0]
    rows, columns = torch.tensor([0.5, 1, 0, 0]), torch.tensor([0, 1, 0.25, 0, 0, 0, 0, 0])
    assert torch.allclose(found, rows[:, None] * columns)
    assert find((), torch.zeros(1, 3, 8, 16)).sum() == pytest.approx(4 * float(found.sum()))


def test_boxes_by_file_name_follow_their_photos_crop_and_flip(tmp_path: Path) -> None:
    """The mask is the box of what is painted white in each photo."""
    folder = write_pictures(tmp_path / "photos", 3, count=3)
    lines = ['unit = "pixel"', "[photos]"]
    from PIL import Image

    for number in range(3):
        pixels = np.zeros((40, 40, 3), np.uint8)
        left, top = 4 * number + 3, 20 - 5 * number
        pixels[top : top + 12, left : left + 9] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f'"{number}.png" = [[{left}, {top}, {left + 9}, {top + 12}]]')
    mask = write(tmp_path, "\n".join(lines))
    images = masked_images(open_images(folder), mask)
    batches = stream(images, batch=2, size=32, seed=1, first=0, total=6, load_size=40, workers=0)
    flipped = 0
    for batch in batches:
        assert batch.masks is not None
        assert torch.equal(batch.masks, (batch.x[:, :1] + 1) / 2)
        flipped += int(batch.masks.sum())
    assert flipped > 0
    [whole] = evaluation(images, batch=3, size=40)
    assert whole.masks is not None
    assert [int(m.sum()) for m in whole.masks] == [108, 108, 108]
    find = interest_for(mask)
    assert find is not None and is_by_photo(mask)
    assert torch.equal(find((whole.x,), whole.x, whole.masks), whole.masks)
    with pytest.raises(ConfigError, match="belong to photos, and there are none"):
        find((), whole.x)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "give either boxes of every picture"),
        ("boxes = []\n[photos]", "give either boxes of every picture"),
        ("box = [[0, 0, 1, 1]]", r"line 1: there is no setting 'box' \(did you mean 'boxes'\?\)"),
        ("boxes = [[0, 0, 1]]", "boxes is "),
        ("boxes = [[0.5, 0, 0.5, 1]]", "has no area"),
        ("boxes = [[-0.1, 0, 0.5, 1]]", "has no area"),
        ("boxes = [[0, 0, 32, 1]]", 'beyond 1: of pixels, add unit = "pixel"'),
        ('boxes = [[0, 0, 32, 8]]\nunit = "pixel"', "of which size are the pixels"),
        ('boxes = [[0, 0, 32, 8]]\nunit = "pixel"\nsize = 16', "beyond the size of 16 x 16"),
        ("boxes = [[0, 0, 1, 1]]\nsize = 16", "'size' is of boxes of every picture in pixels"),
    ],
)
def test_boxes_that_are_wrong_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        interest_for(write(tmp_path, text))


def test_a_photo_without_its_boxes_or_with_a_box_beyond_it_is_refused(tmp_path: Path) -> None:
    images = open_images(write_pictures(tmp_path / "photos", 3, count=2))
    lacks = write(tmp_path, '[photos]\n"0.png" = [[0, 0, 1, 1]]')
    with pytest.raises(ConfigError, match=r"no mask for 1 of 2 photos: 1\.png"):
        masked_images(images, lacks)
    boxes = '"0" = [[0, 0, 4, 4]]\n"1.jpg" = [[0, 0, 41, 4]]'
    beyond = write(tmp_path, f'unit = "pixel"\n[photos]\n{boxes}')
    with pytest.raises(ConfigError, match=r"of '1\.png' is beyond the photo, which is 40x40"):
        masked_images(images, beyond)


def test_a_photo_whose_list_of_boxes_is_empty_is_compared_whole(tmp_path: Path) -> None:
    images = open_images(write_pictures(tmp_path / "photos", 3, count=1))
    mask = write(tmp_path, '[photos]\n"0.png" = []')
    find = interest_for(mask)
    [batch] = evaluation(masked_images(images, mask), batch=1, size=32)
    assert find is not None and batch.masks is not None
    assert find((batch.x,), batch.x, batch.masks).min() == 1 and find.empty == 1
