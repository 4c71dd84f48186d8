"""Folders of mask files, one for each photo, and what identifies a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mask_files import red_network
from picture_files import write_pictures
from PIL import Image

from ganpress.data import Images, evaluation, open_images, stream
from ganpress.errors import ConfigError, ImagesError
from ganpress.measures.interest.interest import Counted, masked_images, resolved_mask
from ganpress.measures.interest.settings import MaskSettings


def masks_of(folder: Path) -> MaskSettings:
    return MaskSettings(source=str(folder))


def half(mode: str = "L", size: int = 40, white: int = 255) -> Image.Image:
    """White in its left half."""
    pixels = np.zeros((size, size), np.uint8)
    pixels[:, : size // 2] = white
    return Image.fromarray(pixels).convert(mode)


def folders(root: Path, *masks: Image.Image) -> tuple[Images, MaskSettings]:
    """Photos 0.png, 1.png, ... and the masks of the same names."""
    (root / "masks").mkdir(parents=True)
    for number, mask in enumerate(masks):
        mask.save(root / "masks" / f"{number}.png")
    images = open_images(write_pictures(root / "photos", 3, count=len(masks)))
    return images, masks_of(root / "masks")


def shown(images: Images, size: int = 40) -> torch.Tensor:
    [batch] = evaluation(images, batch=len(images), size=size)
    assert batch.masks is not None
    return batch.masks


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P"])
def test_white_is_of_interest_in_every_kind_of_picture(tmp_path: Path, mode: str) -> None:
    images, mask = folders(tmp_path, half(mode))
    found = shown(masked_images(images, mask))
    assert found.shape == (1, 1, 40, 40)
    assert found[..., :20].min() == 1 and found[..., 20:].max() == 0


def test_what_is_clear_is_of_no_interest(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    clear.paste((255, 255, 255, 255), (0, 0, 20, 40))
    images, mask = folders(tmp_path, clear)
    found = shown(masked_images(images, mask))
    assert found[..., :20].min() == 1 and found[..., 20:].max() == 0


def test_masks_of_0_and_1_are_understood(tmp_path: Path) -> None:
    images, mask = folders(tmp_path, half(white=1), Image.new("L", (40, 40)))
    found = shown(masked_images(images, mask))
    assert found[0, ..., :20].min() == 1 and found[1].max() == 0


def test_masks_may_be_of_another_size_of_the_same_proportions(tmp_path: Path) -> None:
    images, mask = folders(tmp_path, half(size=80))
    found = shown(masked_images(images, mask))
    assert found[..., :19].min() == 1 and found[..., 21:].max() == 0


def test_masks_follow_the_crop_and_flip_of_their_photos_also_where_crops_are_cached(
    tmp_path: Path,
) -> None:
    """Photos that are their own masks."""
    pictures = [
        Image.fromarray(np.kron(cells, np.full((8, 8), 255)).astype(np.uint8))
        for cells in np.random.default_rng(0).integers(0, 2, (3, 5, 5))
    ]
    _, mask = folders(tmp_path, *pictures)
    images = masked_images(open_images(tmp_path / "masks"), mask)
    for crops in (0, 2):
        kept = {}
        for batch in stream(
            images, batch=2, size=32, seed=1, first=0, total=9, load_size=40, crops=crops
        ):
            assert batch.masks is not None
            assert torch.allclose(batch.masks, (batch.x[:, :1] + 1) / 2, atol=1e-6)
            for crop, one in zip(batch.ids.tolist(), batch.masks, strict=True):
                assert crops == 0 or torch.equal(kept.setdefault(crop, one), one)


def test_masks_change_neither_the_data_hash_nor_a_selection_of_images(tmp_path: Path) -> None:
    images, mask = folders(tmp_path, half(), Image.new("L", (40, 40)))
    masked = masked_images(images, mask)
    assert masked.digest() == images.digest() and "masks" not in images.columns
    assert shown(masked.some([1])).max() == 0 < shown(masked.some([0])).max()
    assert shown(masked.with_channels(4, 4)).shape == (2, 1, 40, 40)


def test_photos_of_several_folders_find_their_masks_by_file_name(tmp_path: Path) -> None:
    folders(tmp_path, half(), half())
    write_pictures(tmp_path / "more", 3, count=1).joinpath("0.png").rename(tmp_path / "more/1.png")
    (tmp_path / "photos" / "1.png").unlink()
    images = open_images([tmp_path / "photos", tmp_path / "more"])
    assert len(shown(masked_images(images, masks_of(tmp_path / "masks")))) == 2
    (tmp_path / "masks" / "sub").mkdir()
    half().save(tmp_path / "masks" / "sub" / "1.png")
    with pytest.raises(ConfigError, match=r"'more/1.png' fits 1, sub/1 in"):
        masked_images(images, masks_of(tmp_path / "masks"))


def test_photos_without_a_mask_are_refused_by_name(tmp_path: Path) -> None:
    images, mask = folders(tmp_path, half(), half(), half())
    (tmp_path / "masks" / "1.png").rename(tmp_path / "masks" / "1b.png")
    with pytest.raises(ConfigError, match=r"no mask for 1 of 3 photos: 1\.png \(did you"):
        masked_images(images, mask)


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (Image.new("L", (40, 20), 255), "is 40x20 and its photo 40x40: resize the mask"),
        (Image.new("L", (40, 40), 18), "brightest pixel of the masks in .* is 18 of 255"),
    ],
)
def test_files_that_are_no_masks_of_the_photos_are_refused(
    tmp_path: Path, mask: Image.Image, why: str
) -> None:
    images, given = folders(tmp_path, mask)
    with pytest.raises(ImagesError, match=why):
        masked_images(images, given)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("face.onx", r"There is no mask .*face\.onx \(did you mean 'face\.onnx'\?\)"),
        ("notes.txt", "is no source of masks: give a network"),
    ],
)
def test_what_is_no_source_of_masks_is_refused(tmp_path: Path, source: str, why: str) -> None:
    (tmp_path / "face.onnx").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=why):
        resolved_mask(MaskSettings(source=str(tmp_path / source)))


def test_a_card_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"give its mask\.source"):
        resolved_mask(MaskSettings(card="bisenet"))
    _, mask = folders(tmp_path, half())
    with pytest.raises(ConfigError, match=r"mask\.card is of a network"):
        resolved_mask(mask.model_copy(update={"card": "bisenet"}))


def test_the_digest_is_of_the_files_contents_and_of_what_the_card_says(tmp_path: Path) -> None:
    _, mask = folders(tmp_path, half())
    first = resolved_mask(mask)
    assert first.digest and resolved_mask(first) == first
    half(size=80).save(tmp_path / "masks" / "0.png")
    assert resolved_mask(mask).digest != first.digest
    with pytest.raises(ConfigError, match=r"mask\.digest is [0-9a-f]{12}, and"):
        resolved_mask(first)
    network = red_network(tmp_path / "net")
    net = MaskSettings(source=str(network))
    before = resolved_mask(net).digest
    network.with_suffix(".toml").write_text(
        '# said otherwise\nclasses=["red","green","blue"]\nkeep=["red"]'
    )
    assert resolved_mask(net).digest == before
    network.with_suffix(".toml").write_text("classes = 3\nkeep = [1]\n")
    assert resolved_mask(net).digest != before


def test_ones_are_no_mask_at_all() -> None:
    assert resolved_mask(MaskSettings(source="ones")) == MaskSettings()


@pytest.mark.parametrize("side", [17, 48, 50])
def test_a_mask_that_is_resized_stays_within_its_range(side: int) -> None:
    """The weights of a resize sum to 1 but for rounding, and scores refuse what is beyond 1."""
    mask = Counted("masks", None)((), torch.zeros(1, 3, side, side), torch.ones(1, 1, 64, 64))
    assert float(mask.max()) <= 1
