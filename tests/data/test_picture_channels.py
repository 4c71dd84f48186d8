"""Grey pictures stay grey, alpha is kept or laid over white, and lost colours are said once."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import picture, write_pictures
from PIL import Image

from ganpress.data import evaluation, open_images, stream
from ganpress.data.colours import ColoursLost
from ganpress.data.decode import decode
from ganpress.data.images import Images

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def png(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def palette(*, clear: bool) -> tuple[bytes, Image.Image]:
    """A palette PNG, with a clear entry or not, and what it shows."""
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 3, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30] + [0] * 759)
    return png(image, **({"transparency": 1} if clear else {})), image


def seen(image: Image.Image, channels: int) -> np.ndarray:
    """Pillow's own picture of so many channels; without alpha it is laid over white."""
    whole = image.convert("RGBA")
    if channels in (1, 3):
        whole = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    pixels = np.asarray(whole.convert(MODES[channels]))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


@pytest.mark.parametrize("channels", MODES)
@pytest.mark.parametrize("stored", MODES)
def test_a_picture_is_decoded_to_the_channels_asked_for(stored: int, channels: int) -> None:
    image = picture(stored, seed=stored)
    found = decode(png(image), "a.png", channels)
    assert found.shape == (40, 40, channels) and found.dtype == np.uint8
    assert np.array_equal(found, seen(image, channels))
    if stored == channels:
        assert found.tobytes() == image.tobytes()
    if stored in (1, 3) and channels in (2, 4):
        assert (found[:, :, -1] == 255).all()


@pytest.mark.parametrize("channels", MODES)
def test_16_bit_grey_is_scaled_and_palettes_are_looked_up(channels: int) -> None:
    wide = np.array([[0, 127, 128, 257], [32896, 65406, 65407, 65535]], np.uint16)
    found = decode(png(Image.fromarray(wide)), "a.png", channels)
    narrow = np.round(wide / 65535 * 255).astype(np.uint8)
    colours = channels - (channels in (2, 4))
    assert np.array_equal(found[:, :, :colours], narrow[:, :, None].repeat(colours, 2))
    for clear in (False, True):
        stored, image = palette(clear=clear)
        if clear:
            image.info["transparency"] = 1
        assert np.array_equal(decode(stored, "a.png", channels), seen(image, channels))
    if channels in (2, 4):
        assert set(decode(palette(clear=True)[0], "a.png", channels)[:, :, -1].flat) == {0, 255}


@pytest.mark.parametrize("kind", ["CMYK JPEG", "1-bit PNG", "grey PNG with one clear level"])
def test_other_modes_follow(kind: str) -> None:
    if kind == "CMYK JPEG":
        stored = png(picture(3, seed=0).convert("CMYK"), "JPEG", quality=95)
    elif kind == "1-bit PNG":
        stored = png(picture(1, seed=0).convert("1"))
    else:
        stored = png(picture(1, seed=0), transparency=picture(1, seed=0).getpixel((0, 0)))
    image = Image.open(io.BytesIO(stored))
    for channels in MODES:
        assert np.array_equal(decode(stored, "a", channels), seen(image, channels))


@pytest.mark.parametrize("x", MODES)
@pytest.mark.parametrize("y", MODES)
@pytest.mark.filterwarnings("ignore::ganpress.data.colours.ColoursLost")
def test_pairs_and_halves_have_channels_of_their_own(tmp_path: Path, x: int, y: int) -> None:
    write_pictures(tmp_path / "x", 4, 2)
    write_pictures(tmp_path / "y", 3, 2)
    images = open_images(tmp_path / "x", pairs=tmp_path / "y").with_channels(x, y)
    batch = next(evaluation(images, batch=2, size=40))
    assert batch.y is not None
    assert (batch.x.shape, batch.y.shape) == ((2, x, 40, 40), (2, y, 40, 40))
    for index, picture_ in enumerate(batch.x):
        wanted = seen(Image.open(tmp_path / f"x/{index}.png"), x).transpose(2, 0, 1)
        assert torch.equal(picture_, torch.from_numpy(wanted.copy()).float() / 127.5 - 1)
    assert images.some([1]).channels == (x, y)
    whole = Image.new("RGBA", (80, 40))
    whole.paste(Image.open(tmp_path / "x/0.png"), (0, 0))
    whole.paste(Image.open(tmp_path / "y/0.png").convert("RGBA"), (40, 0))
    (tmp_path / "ab").mkdir()
    whole.save(tmp_path / "ab/0.png")
    for order, halves in {"AB": (0, 40), "BA": (40, 0)}.items():
        read = open_images(tmp_path / "ab", side_by_side=order).with_channels(x, y).read(0)
        for pixels, left, channels in zip(read, halves, (x, y), strict=True):
            half = whole.crop((left, 0, left + 40, 40))
            assert np.array_equal(pixels, seen(half, channels))


@pytest.mark.parametrize("channels", MODES)
@pytest.mark.filterwarnings("ignore::ganpress.data.colours.ColoursLost")
def test_batches_are_resized_as_pillow_resizes_each_mode(tmp_path: Path, channels: int) -> None:
    images = open_images(write_pictures(tmp_path, 4, 1)).with_channels(channels, 3)
    mode = Image.fromarray(seen(Image.open(tmp_path / "0.png"), channels).squeeze())
    wanted = np.atleast_3d(np.asarray(mode.resize((20, 20), Image.Resampling.BICUBIC)))
    [batch] = evaluation(images, batch=1, size=20)
    planes = torch.from_numpy(wanted.transpose(2, 0, 1).astype(np.float32))
    assert torch.equal(batch.x[0], planes / 127.5 - 1)
    drawn = next(stream(images, batch=1, size=16, seed=0, first=0, total=1, workers=0))
    assert drawn.x.shape == (1, channels, 16, 16)


@pytest.mark.parametrize("channels", MODES)
def test_packs_hold_pictures_of_any_channels(tmp_path: Path, channels: int) -> None:
    pixels = np.stack([np.asarray(picture(channels, seed=s)) for s in range(3)])
    np.savez(tmp_path / "a.npz", images=pixels)
    images = open_images(tmp_path / "a.npz")
    assert np.array_equal(images.read(1)[0], seen(picture(channels, seed=1), 3))
    own = images.with_channels(channels) if channels != 3 else images
    assert np.array_equal(own.read(1)[0].squeeze(), pixels[1])


def said(images: Images, x: int, y: int = 3) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        images.with_channels(x, y)
    assert all(w.category is ColoursLost for w in found)
    return [str(w.message) for w in found]


def test_colours_that_are_lost_are_said_once_with_a_picture_that_has_some(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "a", 1, 6)
    images = open_images(folder)
    assert said(images, 1) == said(images, 2) == said(images, 4) == []
    picture(3, seed=1).save(folder / "4.png")
    images = open_images(folder)
    assert said(images, 3) == said(images, 4) == []
    [line] = said(images, 1)
    assert "'4.png' does" in line and "1 channel for them (grey)" in line
    assert said(images, 1) == said(open_images(folder), 1) == []
    [line] = said(images, 2)
    assert "2 channels for them (grey and alpha)" in line


def test_grey_stored_as_rgb_or_jpeg_loses_nothing(tmp_path: Path) -> None:
    picture(1, seed=0).convert("RGB").save(tmp_path / "a.png")
    picture(1, seed=1).convert("RGB").save(tmp_path / "b.jpg", quality=60)
    picture(2, seed=2).convert("RGBA").save(tmp_path / "c.png")
    assert said(open_images(tmp_path), 1) == []


def test_targets_are_looked_at_apart_from_the_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path / "grey", 1)
    write_pictures(tmp_path / "colour", 3)
    images = open_images(tmp_path / "grey", pairs=tmp_path / "colour")
    assert said(images, 1, 3) == []
    [line] = said(images, 1, 1)
    assert line.startswith("The targets have colours")
    back = open_images(tmp_path / "colour", pairs=tmp_path / "grey")
    [line] = said(back, 1, 1)
    assert line.startswith("The pictures have colours")
