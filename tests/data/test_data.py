"""Images in: every mode and shape decodes, bad input says what to do, batches are pure."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import CONTEXT
from numpy.typing import NDArray
from patience import PATIENCE_S
from PIL import Image
from thin import thinned

from ganpress.data import (
    Batch,
    Images,
    ImagesWarning,
    evaluation,
    open_images,
    read_rgb,
    sources,
    stream,
)
from ganpress.errors import ConfigError, ImagesError

SHARED = Path(os.environ.get("GANPRESS_DATA", "/nowhere"))
RED, WHITE = (255, 0, 0), (255, 255, 255)


def noise(seed: int, height: int = 20, width: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write(folder: Path, count: int, height: int = 20, width: int = 24, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(noise(start + i, height, width)).save(folder / f"{i:03d}.png")
    return folder


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(p.x, q.x)
        and torch.equal(p.ids, q.ids)
        and (p.y is None) == (q.y is None)
        and (p.y is None or q.y is None or torch.equal(p.y, q.y))
        for p, q in zip(a, b, strict=True)
    )


def drawn(images: Images, **changes: object) -> list[Batch]:
    settings: dict[str, object] = {
        "batch": 4, "size": 16, "seed": 3, "first": 0, "total": 6, "workers": 0,
    }  # fmt: skip
    return list(stream(images, **(settings | changes)))  # type: ignore[arg-type]


# --- decoding ------------------------------------------------------------------------------------


def palette(transparent: bool) -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    if transparent:
        image.info["transparency"] = b"\xff\x00"  # the second colour cannot be seen
    return image


MODES: dict[str, tuple[Callable[[], bytes], list[tuple[int, int, int]]]] = {
    "rgb": (lambda: encoded(Image.new("RGB", (2, 1), RED)), [RED, RED]),
    "grey": (lambda: encoded(Image.new("L", (2, 1), 77)), [(77,) * 3] * 2),
    "1-bit": (lambda: encoded(Image.new("1", (2, 1), 1)), [WHITE] * 2),
    "palette": (lambda: encoded(palette(False)), [RED, (0, 0, 255)]),
    "palette, transparent": (lambda: encoded(palette(True)), [RED, WHITE]),
    "RGBA": (lambda: encoded(Image.new("RGBA", (2, 1), (0, 0, 0, 51))), [(204,) * 3] * 2),
    "LA": (lambda: encoded(Image.new("LA", (2, 1), (0, 0))), [WHITE] * 2),
    "16-bit grey": (
        lambda: encoded(Image.fromarray(np.array([[0x4D4D, 0xFFFF]], np.uint16))),
        [(77,) * 3, WHITE],
    ),
    "16-bit grey TIFF": (
        lambda: encoded(Image.fromarray(np.array([[0, 0x8080]], np.uint16)), "TIFF"),
        [(0,) * 3, (128,) * 3],
    ),
    "CMYK": (lambda: encoded(Image.new("CMYK", (2, 1), (0, 255, 255, 0)), "TIFF"), [RED] * 2),
    "GIF": (lambda: encoded(Image.new("RGB", (2, 1), RED), "GIF"), [RED] * 2),
    "WebP": (lambda: encoded(Image.new("RGB", (2, 1), RED), "WEBP", lossless=True), [RED] * 2),
    "BMP": (lambda: encoded(Image.new("RGB", (2, 1), RED), "BMP"), [RED] * 2),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_an_image_of_any_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    make, want = MODES[mode]
    (tmp_path / "image.png").write_bytes(make())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        pixels = read_rgb(tmp_path / "image.png")
        opened = open_images(tmp_path)
    assert pixels.dtype == np.uint8 and pixels.shape == (1, 2, 3)
    assert [tuple(p) for p in pixels[0].tolist()] == want
    assert opened.sizes == ((1, 2),) and np.array_equal(opened.read(0)[0], pixels)
    assert not seen


def test_a_cmyk_jpeg_comes_close_to_its_colour() -> None:
    stored = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert np.abs(read_rgb(stored).astype(int) - np.array(RED)).max() <= 6


def test_a_phone_s_picture_of_many_frames_gives_its_first(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (16, 16), c) for c in (RED, (0, 0, 255)))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    pixels = open_images(tmp_path).read(0)[0]
    assert np.abs(pixels.astype(int) - np.array(RED)).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_turned_photo_stands_upright(orientation: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(Image.fromarray(noise(0, 16, 32)), "JPEG", quality=95, exif=exif)
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(stored))))
    assert np.array_equal(read_rgb(stored), want)
    (tmp_path / "a.jpg").write_bytes(stored)
    assert open_images(tmp_path).sizes == (want.shape[:2],)


def test_a_float_tiff_is_refused_because_its_range_is_unknown(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "depth.tiff")
    with pytest.raises(ImagesError, match=r"depth\.tiff: floating-point pixels .* 8 or 16 bits"):
        read_rgb(tmp_path / "depth.tiff")


def test_a_32_bit_image_out_of_range_is_refused() -> None:
    stored = encoded(Image.fromarray(np.full((2, 2), 70000, np.int32)), "TIFF")
    with pytest.raises(ImagesError, match="the image: 32-bit pixels beyond"):
        read_rgb(stored)


def test_reading_takes_a_path_bytes_or_an_open_file(tmp_path: Path) -> None:
    write(tmp_path, 1)
    path = tmp_path / "000.png"
    with path.open("rb") as file:
        assert np.array_equal(read_rgb(file, "it"), read_rgb(path.read_bytes()))
    with pytest.raises(ImagesError, match=r"Cannot read .*gone\.png: No such file"):
        read_rgb(tmp_path / "gone.png")


def test_a_very_large_image_decodes_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # 480 pixels: Pillow warns
    assert len(open_images(tmp_path).read(0)[0]) == len(read_rgb(tmp_path / "000.png")) == 20
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # more than twice: Pillow refuses
    with pytest.raises(ImagesError, match="pixels; make it smaller"):
        open_images(tmp_path)


# --- opening folders and packs -------------------------------------------------------------------


def test_folders_are_searched_to_the_bottom_in_name_order(tmp_path: Path) -> None:
    write(tmp_path / "b", 2)
    write(tmp_path / "a" / "deep", 1)
    Image.new("RGB", (8, 8)).save(tmp_path / "Z.JPG", "JPEG")
    write(tmp_path / ".hidden", 1)
    (tmp_path / "b" / "._000.png").write_bytes(b"left by a Mac")
    (tmp_path / "b" / "again").symlink_to(tmp_path)  # a loop
    (tmp_path / "notes.txt").write_text("not looked at")
    images = open_images(tmp_path)
    assert images.names == ("Z.JPG", "a/deep/000.png", "b/000.png", "b/001.png")
    assert images.sizes[0] == (8, 8) and not images.paired and len(images) == 4


def test_names_have_slashes_whatever_stands_between_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, of which the walk gives paths with its own separator."""
    paths = [(f"{tmp_path}{os.sep}a\\b.png", ())]
    monkeypatch.setattr(sources, "walk", lambda *_: paths)
    monkeypatch.setattr(sources.os, "sep", "\\")
    assert [*sources._folder(tmp_path, sources.Passed())] == ["a/b.png"]


def test_several_folders_join_under_their_names(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", 1), write(tmp_path / "two", 1, start=9)
    images = open_images([two, one])
    assert images.names == ("two/000.png", "one/000.png")
    assert np.array_equal(images.read(0)[0], noise(9))
    with pytest.raises(ImagesError, match="given twice"):
        open_images([one, one, one])


def test_a_folder_without_images_names_itself_and_the_endings(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(ImagesError) as caught:
        open_images(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert ".jpg .jpeg .png .webp .bmp .tif .tiff" in str(caught.value)


def test_a_missing_folder_offers_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "horses" / "trainA", 1)
    with pytest.raises(ImagesError, match=r"has no 'trainB' \(did you mean 'trainA'\?\)"):
        open_images(tmp_path / "horses" / "trainB")
    with pytest.raises(ImagesError, match=r"has no 'horse' \(did you mean 'horses'\?\)"):
        open_images(tmp_path / "horse" / "trainA")


def test_a_single_image_file_is_refused_with_its_folder(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(ImagesError, match=f"Give the folder: {tmp_path}"):
        open_images(tmp_path / "000.png")


def test_no_path_at_all_is_refused() -> None:
    with pytest.raises(ImagesError, match="at least one path"):
        open_images([])


def spoil(folder: Path) -> None:
    """A truncated JPEG and a text file named .jpg among the good ones."""
    whole = encoded(Image.fromarray(noise(5, 64, 64)), "JPEG")
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("404 not found\n" * 20)
    (folder / "empty.jpg").write_bytes(b"")


def test_bad_files_are_left_out_with_one_warning_that_names_them(tmp_path: Path) -> None:
    spoil(write(tmp_path, 3))
    with pytest.warns(ImagesWarning) as seen:
        images = open_images(tmp_path)
    assert images.names == ("000.png", "001.png", "002.png") and len(seen) == 1
    text = str(seen[0].message)
    assert text.startswith("Left out 3 of 6 images: ")
    assert f"{tmp_path}/cut.jpg: image file is truncated" in text
    assert f"{tmp_path}/text.jpg: it is a text ('404 not found'), not a picture" in text
    assert f"{tmp_path}/empty.jpg: it is empty (0 bytes), not a picture" in text
    assert seen[0].filename == __file__  # the warning points to the caller


def test_strict_refuses_a_folder_with_a_bad_file(tmp_path: Path) -> None:
    spoil(write(tmp_path, 3))
    with pytest.raises(ImagesError, match=r"cut\.jpg: image file is truncated.*Repair or remove"):
        open_images(tmp_path, strict=True)


def test_a_folder_of_only_bad_files_is_refused(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i:02d}.png").write_text("text")
    with pytest.raises(ImagesError, match=r"and 4 more\. Nothing is left to use"):
        open_images(tmp_path)


def test_a_truncated_png_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, 2)
    whole = (tmp_path / "001.png").read_bytes()
    (tmp_path / "001.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(ImagesWarning, match=r"001\.png"):
        assert open_images(tmp_path).names == ("000.png",)


def pack(path: Path, count: int = 5, **more: NDArray[np.generic]) -> Path:
    files = [encoded(Image.fromarray(noise(i, 16, 16))) for i in range(count)]
    offsets = np.cumsum([0, *(len(f) for f in files)])
    np.savez(path, jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets, **more)
    return path


def test_a_pack_of_encoded_files_opens(tmp_path: Path) -> None:
    images = open_images(pack(tmp_path / "a.npz"))
    assert images.names == ("00000", "00001", "00002", "00003", "00004")
    assert np.array_equal(images.read(3)[0], noise(3, 16, 16))
    named = open_images(pack(tmp_path / "b.npz", 2, names=np.array(["ada", "bob"])))
    assert named.names == ("ada", "bob")


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "C:/x", "a/../..", "..\\up", ".", ""])
def test_a_pack_whose_names_lead_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    """Pictures that are made of these are written under their names."""
    with pytest.raises(ImagesError, match="which is no path below a folder"):
        open_images(pack(tmp_path / "a.npz", 2, names=np.array([name, "b"])))


def test_names_of_a_pack_may_be_bytes_and_have_folders(tmp_path: Path) -> None:
    images = open_images(pack(tmp_path / "a.npz", 2, names=np.array([b"day/ada", b"bob"])))
    assert images.names == ("day/ada", "bob")
    more = {"labels": np.array([0, 1]), "classes": np.array([b"cat", b"dog"])}
    assert open_images(pack(tmp_path / "b.npz", 2, **more)).class_names == ("cat", "dog")


def test_a_pack_of_pixels_opens(tmp_path: Path) -> None:
    pixels = np.stack([noise(i, 16, 16) for i in range(3)])
    np.savez_compressed(tmp_path / "a.npz", images=pixels)
    images = open_images(tmp_path / "a.npz")
    assert len(images) == 3 and np.array_equal(images.read(2)[0], pixels[2])


def test_a_bad_member_of_a_pack_is_named_by_its_number(tmp_path: Path) -> None:
    files = [encoded(Image.fromarray(noise(1, 32, 32)), "JPEG") for _ in range(2)]
    files.insert(1, files[0][:300])
    offsets = np.cumsum([0, *(len(f) for f in files)])
    np.savez(tmp_path / "a.npz", jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=offsets)
    with pytest.warns(ImagesWarning, match=r"a\.npz\[1\]"):
        assert open_images(tmp_path / "a.npz").names == ("00000", "00002")


BAD_PACKS: dict[str, tuple[dict[str, NDArray[np.generic]], str]] = {
    "other keys": (
        {"features": np.zeros(3), "labels": np.zeros(3)},
        r"holds 'features', 'labels'; a pack needs 'jpeg' .* or 'images'",
    ),
    "no keys": ({}, "holds nothing; a pack needs"),
    "no images": ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "holds no images"),
    "no files": (
        {"jpeg": np.zeros(0, np.uint8), "offsets": np.zeros(1, np.int64)},
        "holds no images",
    ),
    "float pixels": ({"images": np.zeros((2, 4, 4, 3))}, r"is float64 \(2, 4, 4, 3\)"),
    "channels first": ({"images": np.zeros((2, 3, 8, 8), np.uint8)}, r"\(2, 3, 8, 8\); a pack"),
    "offsets beyond": (
        {"jpeg": np.zeros(9, np.uint8), "offsets": np.array([0, 5, 10])},
        "do not rise from 0 to at most 9",
    ),
    "offsets fall": (
        {"jpeg": np.zeros(9, np.uint8), "offsets": np.array([0, 5, 3])},
        "the pack is damaged",
    ),
    "offsets are real": (
        {"jpeg": np.zeros(9, np.uint8), "offsets": np.array([0.0, 5.0])},
        r"'offsets' float64 \(2,\)",
    ),
    "pickles": ({"images": np.array([{"a": 1}])}, "cannot be read as an .npz pack"),
}


@pytest.mark.parametrize("case", BAD_PACKS)
def test_a_bad_pack_is_refused(case: str, tmp_path: Path) -> None:
    arrays, message = BAD_PACKS[case]
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ImagesError, match=message):
        open_images(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (
            b"text",
            r"is a text \('text'\), not a folder of pictures, a \.zip or \.tar of them, or an",
        ),
        (b"PK\x03\x04 torn", "is a zip archive of 1 file, and cut short"),
        (bytes(range(128, 256)), r"cannot be read as an \.npz pack"),
    ],
)
def test_a_file_that_is_no_pack_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ImagesError, match=rf"a\.npz {message}"):
        open_images(tmp_path / "a.npz")


def test_the_digest_depends_on_names_and_sizes_only(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", 3), write(tmp_path / "two", 3)
    first = open_images(one).digest()
    assert len(first) == 64 and first == open_images(two).digest()
    (two / "000.png").rename(two / "zzz.png")
    assert open_images(two).digest() != first
    write(one, 1, height=21)
    assert open_images(one).digest() != first


def test_the_identity_tells_apart_what_a_digest_does_not(tmp_path: Path) -> None:
    for name, most in (("dark", 40), ("bright", 256)):
        some = np.random.default_rng(0).integers(0, most, (2, 8, 8, 3), np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=some)
        for i, pixels in enumerate(some):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.bmp")
    for end in ("", ".npz"):
        dark, bright = (open_images(tmp_path / f"{name}{end}") for name in ("dark", "bright"))
        assert dark.digest() == bright.digest() and dark.identity() != bright.identity()
        assert dark.identity() == open_images(tmp_path / f"dark{end}").identity()
        assert (dark.frames_digest() != bright.frames_digest()) == bool(end)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert dark.with_channels(1, 1).identity() != dark.identity()
    assert open_images(tmp_path / "dark").frames_digest() == ""


def test_a_file_whose_name_is_no_text_has_a_digest(tmp_path: Path) -> None:
    write(tmp_path, 1)
    os.rename(os.fsencode(tmp_path / "000.png"), os.fsencode(tmp_path) + b"/caf\xe9.png")
    images = open_images(tmp_path)
    assert len(images.digest()) == 64 and images.identity() != images.digest()


def test_two_thousand_small_jpegs_open_in_a_few_seconds(tmp_path: Path) -> None:
    smooth = Image.fromarray(noise(0, 8, 8)).resize((128, 128))
    stored = encoded(smooth, "JPEG")
    for i in range(2000):
        (tmp_path / f"{i}.jpg").write_bytes(stored)
    begin = time.process_time()
    assert len(open_images(tmp_path)) == 2000
    assert time.process_time() - begin < 5


# --- pairs ---------------------------------------------------------------------------------------


def test_folders_pair_by_name_whatever_the_ending(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 3), write(tmp_path / "b", 3, start=50)
    for path in list(b.iterdir()):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    images = open_images(a, pairs=b)
    x, y = images.read(1)
    assert images.paired and np.array_equal(x, noise(1)) and np.array_equal(y, noise(51))
    assert images.digest() != open_images(a).digest()


def test_a_pair_with_a_bad_half_is_left_out(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 3), write(tmp_path / "b", 3, start=50)
    (b / "001.png").write_text("text")
    with pytest.warns(ImagesWarning, match=r"Left out 1 of 3 images: .*b/001\.png"):
        images = open_images(a, pairs=b)
    assert images.names == ("000.png", "002.png")
    assert np.array_equal(images.read(1)[1], noise(52))


def test_pairs_that_differ_in_number_are_refused_by_name(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 3), write(tmp_path / "b", 2)
    with pytest.raises(ImagesError, match=r"a has 3 images and .*b 2, .*Only in .*a: 002"):
        open_images(a, pairs=b)


def test_pairs_that_differ_in_name_offer_the_nearest(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 2), write(tmp_path / "b", 2)
    (b / "001.png").rename(b / "001_.png")
    with pytest.raises(ImagesError, match=r"Only in .*a: 001 \(did you mean '001_'\?\)"):
        open_images(a, pairs=b)


def test_pairs_that_differ_in_size_are_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 2), write(tmp_path / "b", 2, height=22)
    with pytest.raises(ImagesError, match=r"\(24x20\) and .* \(24x22\) differ in size"):
        open_images(a, pairs=b)


def test_two_files_of_one_name_cannot_pair(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 2), write(tmp_path / "b", 2)
    Image.new("RGB", (4, 4)).save(a / "001.jpg")
    with pytest.raises(ImagesError, match="called '001'"):
        open_images(a, pairs=b)


@pytest.mark.parametrize("order", ["AB", "BA"])
def test_side_by_side_files_give_both_halves(order: str, tmp_path: Path) -> None:
    write(tmp_path, 2, height=16, width=32)
    images = open_images(tmp_path, side_by_side=order)
    halves = noise(1, 16, 32)[:, :16], noise(1, 16, 32)[:, 16:]
    x, y = images.read(1) if order == "AB" else images.read(1)[::-1]
    assert images.paired and images.sizes == ((16, 16), (16, 16))
    assert np.array_equal(x, halves[0]) and np.array_equal(y, halves[1])


def test_side_by_side_files_of_odd_width_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 1, width=25)
    with pytest.raises(ImagesError, match=r"000\.png is 25 pixels wide"):
        open_images(tmp_path, side_by_side="AB")


def test_contradicting_pair_settings_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with pytest.raises(ConfigError, match="side_by_side is 'ab'; use 'AB'"):
        open_images(tmp_path, side_by_side="ab")
    with pytest.raises(ConfigError, match="give only one"):
        open_images(tmp_path, side_by_side="AB", pairs=tmp_path)


# --- streaming -----------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return open_images(write(tmp_path / "set", 7))


def test_a_batch_is_float_rgb_in_minus_one_to_one(images: Images) -> None:
    (batch, *_) = drawn(images)
    assert batch.x.shape == (4, 3, 16, 16) and batch.x.dtype == torch.float32
    assert batch.x.is_contiguous() and batch.y is None
    assert batch.x.min() >= -1 and batch.x.max() <= 1
    assert batch.ids.dtype == torch.int64 and batch.ids.tolist() == [-1] * 4


def test_black_is_minus_one_white_is_one_and_channels_are_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (255, 0, 255)).save(tmp_path / "a.png")
    (batch,) = drawn(open_images(tmp_path), batch=1, total=1)
    assert batch.x[0].mean(dim=(1, 2)).tolist() == [1.0, -1.0, 1.0]


def test_a_batch_depends_on_seed_and_step_only(images: Images) -> None:
    whole = drawn(images)
    assert same(drawn(images, first=3), whole[3:])
    assert same(drawn(images), whole)
    assert not same(drawn(images, seed=4), whole)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_does_not_change_a_batch(images: Images, workers: int) -> None:
    alone = drawn(images, total=9, crops=3, load_size=18)
    assert same(drawn(images, total=9, crops=3, load_size=18, workers=workers), alone)


def test_every_image_is_seen_once_in_an_epoch(images: Images) -> None:
    ids = torch.cat([b.ids for b in drawn(images, batch=4, total=14, crops=1)])
    for epoch in range(8):
        assert sorted(ids[epoch * 7 : epoch * 7 + 7].tolist()) == list(range(7))
    assert ids[:7].tolist() != ids[7:14].tolist()


def test_a_batch_may_be_larger_than_the_set(images: Images) -> None:
    (batch,) = drawn(images, batch=20, total=1, crops=5)
    assert batch.x.shape[0] == 20
    assert sorted(batch.ids[:7].tolist()) == [5 * i for i in range(7)]


def test_with_limited_views_an_id_names_one_picture(images: Images) -> None:
    batches = drawn(images, batch=7, total=12, crops=3)
    seen: dict[int, torch.Tensor] = {}
    for batch in batches:
        for picture, name in zip(batch.x, batch.ids.tolist(), strict=True):
            assert torch.equal(seen.setdefault(name, picture), picture)
    assert sorted(seen) == list(range(21))
    again = drawn(images, batch=7, total=1, crops=3)[0]
    assert all(torch.equal(seen[i], p) for p, i in zip(again.x, again.ids.tolist(), strict=True))
    other = drawn(images, batch=7, total=1, crops=3, seed=4)[0]
    assert not torch.equal(other.ids, again.ids)  # the seed decides the order, not the pictures
    assert all(torch.equal(seen[i], p) for p, i in zip(other.x, other.ids.tolist(), strict=True))


def test_without_a_limit_views_change_from_epoch_to_epoch(tmp_path: Path) -> None:
    one = open_images(write(tmp_path, 1, 40, 40))
    pictures = torch.cat([b.x for b in drawn(one, batch=1, total=12, load_size=40)])
    assert len({p.numpy().tobytes() for p in pictures}) > 6


def test_flipping_is_half_the_time_and_can_be_off(tmp_path: Path) -> None:
    one = open_images(write(tmp_path, 1, 16, 16))
    plain = torch.from_numpy(noise(0, 16, 16)).permute(2, 0, 1).float() / 127.5 - 1
    pictures = torch.cat([b.x for b in drawn(one, batch=10, total=20)])
    upright = sum(bool(torch.equal(p, plain)) for p in pictures)
    mirrored = sum(bool(torch.equal(p, plain.flip(2))) for p in pictures)
    assert upright + mirrored == 200 and 70 < upright < 130
    assert all(torch.equal(p, plain) for b in drawn(one, batch=5, flip=False) for p in b.x)


def test_a_target_has_the_crop_and_flip_of_its_input(tmp_path: Path) -> None:
    a = write(tmp_path / "a", 4)
    (tmp_path / "b").mkdir()
    for path in a.iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(tmp_path / "b" / path.name)
    for batch in drawn(open_images(a, pairs=tmp_path / "b"), total=8, load_size=20):
        assert batch.y is not None and torch.allclose(batch.y, -batch.x, atol=1e-6)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (16, 16), (300, 20), (1, 1)])
def test_images_smaller_than_the_crop_are_enlarged(shape: tuple[int, int], tmp_path: Path) -> None:
    images = open_images(write(tmp_path, 2, *shape))
    assert drawn(images, total=1, size=16, load_size=18)[0].x.shape == (4, 3, 16, 16)
    assert next(evaluation(images, batch=2, size=16)).x.shape == (2, 3, 16, 16)


def test_an_image_of_the_right_shorter_side_is_cropped_without_resizing(tmp_path: Path) -> None:
    one = open_images(write(tmp_path, 1, 16, 40))
    whole = torch.from_numpy(noise(0, 16, 40)).permute(2, 0, 1).float() / 127.5 - 1
    windows = whole.unfold(2, 16, 1).permute(2, 0, 1, 3)
    for batch in drawn(one, batch=1, flip=False):
        assert any(torch.equal(batch.x[0], w) for w in windows)


def test_streaming_leaves_the_global_random_state_alone(images: Images) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    drawn(images, workers=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])


def test_a_full_cache_changes_no_batch(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(images, total=12)
    one = 3 * 16 * 19 * 2  # room for two pictures and no more
    monkeypatch.setattr("ganpress.data.batches.CACHE_BYTES", one)
    assert same(drawn(images, total=12), whole)


def test_a_second_epoch_reads_no_file(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    real = Images.read
    monkeypatch.setattr(Images, "read", lambda self, i: reads.append(i) or real(self, i))
    drawn(images, total=14)
    assert sorted(reads) == list(range(7))


def test_a_finished_stream_is_empty(images: Images) -> None:
    assert drawn(images, first=6, total=6, workers=2) == []
    assert drawn(images, first=9, total=6) == []


def test_opened_images_can_be_sent_to_another_process(images: Images, tmp_path: Path) -> None:
    packed = open_images(pack(tmp_path / "a.npz"))
    for sent in (images, packed):
        back = pickle.loads(pickle.dumps(sent))
        assert back.digest() == sent.digest() and same(drawn(back), drawn(sent))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch is 0; it must be at least 1"),
        ({"size": 0}, "size is 0"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"first": -1}, "first is -1"),
        ({"crops": -2}, "crops is -2"),
        ({"workers": -1}, "workers is -1"),
        ({"load_size": 8}, "load_size is 8, smaller than the crop of 16"),
        ({"size": (16, 32), "load_size": 20}, "load_size is 20, smaller than the crop of 16x32"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(
    images: Images, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        drawn(images, **changes)
    if set(changes) <= {"batch", "size"}:
        with pytest.raises(ConfigError, match=message):
            evaluation(images, **({"batch": 1, "size": 16} | changes))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_goes_away_during_training_is_named(
    images: Images, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "set" / "004.png").unlink()
    with pytest.raises(ImagesError) as caught:
        drawn(images, workers=workers)
    assert str(caught.value) == f"Cannot read {tmp_path}/set/004.png: No such file or directory."


def test_a_file_that_changes_its_size_during_training_is_named(
    images: Images, tmp_path: Path
) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "set" / "004.png")
    with pytest.raises(ImagesError, match=r"004\.png has changed its size"):
        drawn(images)


# --- worker processes ----------------------------------------------------------------------------


def children() -> set[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(pid) for pid in found}


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")


def gone(pids: set[int], seconds: float = PATIENCE_S) -> bool:
    for _ in range(int(seconds * 20)):
        if not pids & children():
            return True
        time.sleep(0.05)
    return False


@needs_proc
def test_closing_the_iterator_ends_its_workers(images: Images) -> None:
    before = children()
    batches = stream(images, batch=2, size=16, seed=0, first=0, total=10**6, workers=1)
    next(batches)
    started = children() - before
    assert len(started) == 1
    batches.close()  # type: ignore[attr-defined]
    assert not children() & started


@needs_proc
def test_interrupts_leave_the_workers_at_work(images: Images) -> None:
    before = children()
    batches = stream(images, batch=2, size=16, seed=0, first=0, total=400, workers=1)
    first = next(batches)
    (worker,) = children() - before
    os.kill(worker, signal.SIGINT)
    subprocess.run(["kill", "-TERM", str(worker)], check=True)  # as `timeout` does: not the parent
    rest = list(batches)
    assert len(rest) == 399 and first.x.shape[0] == 2
    assert gone({worker})


@needs_proc
def test_a_killed_worker_is_reported_with_what_to_do(images: Images) -> None:
    before = children()
    batches = stream(images, batch=2, size=16, seed=0, first=0, total=10**6, workers=1)
    next(batches)
    (worker,) = children() - before
    with pytest.raises((ImagesError, RuntimeError), match=r"decodes images died|DataLoader worker"):
        os.kill(worker, signal.SIGKILL)
        for _ in batches:
            pass


def decode_and_be_killed(folder: Path, told: Path, method: str) -> None:
    """A training whose worker has made its first batch."""
    multiprocessing.set_start_method(method, force=True)
    images = open_images(folder)
    batches = stream(images, batch=2, size=16, seed=0, first=0, total=10**6, workers=1)
    next(batches)
    [worker] = multiprocessing.active_children()
    told.write_text(str(worker.pid))
    os.kill(os.getpid(), signal.SIGKILL)


@needs_proc
@pytest.mark.parametrize("method", thinned(["fork", "forkserver", "spawn"], 2))
def test_a_worker_ends_with_a_training_that_is_killed(method: str, tmp_path: Path) -> None:
    """However Python starts processes: the parent of a worker need not be the training."""
    folder, told = write(tmp_path / "photos", 3), tmp_path / "worker"
    training = CONTEXT.Process(target=decode_and_be_killed, args=(folder, told, method))
    training.start()
    training.join(PATIENCE_S)
    assert training.exitcode == -signal.SIGKILL
    worker, deadline = Path("/proc", told.read_text()), time.monotonic() + PATIENCE_S
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not worker.exists()


def test_a_program_that_stops_in_the_middle_ends_by_itself(tmp_path: Path) -> None:
    write(tmp_path, 3)
    program = (
        "from pathlib import Path; from ganpress.data import open_images, stream\n"
        f"images = open_images(Path({str(tmp_path)!r}))\n"
        "batches = stream(images, batch=2, size=16, seed=0, first=0, total=10**6, workers=1)\n"
        "print(next(batches).x.shape)\n"
    )
    source = str(Path(__file__).parents[2] / "src")
    path = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stderr) == (0, "") and "[2, 3, 16, 16]" in done.stdout


# --- evaluation ----------------------------------------------------------------------------------


def test_evaluation_shows_every_image_once_in_order(images: Images) -> None:
    batches = list(evaluation(images, batch=3, size=20))
    assert [len(b.x) for b in batches] == [3, 3, 1]
    assert torch.cat([b.ids for b in batches]).tolist() == [-1] * 7
    shown = torch.cat([b.x for b in batches])
    for i, picture in enumerate(shown):  # 24 wide: the middle 20 columns
        want = torch.from_numpy(noise(i)[:, 2:22]).permute(2, 0, 1).float() / 127.5 - 1
        assert torch.equal(picture, want)


@pytest.mark.parametrize(
    ("shape", "size", "grown"),
    [
        ((20, 24), (20, 12), (20, 24)),  # as high already: only cropped
        ((20, 24), (10, 24), (20, 24)),  # as wide already
        ((20, 24), (40, 24), (40, 48)),
        ((20, 24), (10, 48), (40, 48)),
        ((60, 24), (20, 20), (50, 20)),
        ((20, 25), (20, 20), (20, 25)),  # of five columns too many two at the left, three right
        ((30, 34), (20, 20), (20, 23)),  # 22.67 columns
    ],
)
def test_evaluation_of_pictures_that_are_not_square_covers_and_crops(
    shape: tuple[int, int], size: tuple[int, int], grown: tuple[int, int], tmp_path: Path
) -> None:
    [batch] = evaluation(open_images(write(tmp_path, 1, *shape)), batch=1, size=size)
    whole = Image.fromarray(noise(0, *shape))
    if grown != shape:
        whole = whole.resize((grown[1], grown[0]), Image.Resampling.BICUBIC)
    top, left = ((g - s) // 2 for g, s in zip(grown, size, strict=True))
    want = np.asarray(whole)[top : top + size[0], left : left + size[1]]
    assert batch.x.shape == (1, 3, *size)
    assert torch.equal(batch.x[0], torch.from_numpy(want.copy()).permute(2, 0, 1) / 127.5 - 1)


def test_training_crops_need_not_be_square(tmp_path: Path) -> None:
    one = open_images(write(tmp_path, 1, 16, 40))
    whole = torch.from_numpy(noise(0, 16, 40)).permute(2, 0, 1).float() / 127.5 - 1
    windows = [whole[:, :, left : left + 24] for left in range(17)]
    seen = {
        next(i for i, w in enumerate(windows) if torch.equal(batch.x[0], w))
        for batch in drawn(one, batch=1, size=(16, 24), flip=False, total=40)
    }
    assert len(seen) > 8 and max(seen) > 12  # crops from everywhere


def test_crops_reach_all_edges(tmp_path: Path) -> None:
    one = open_images(write(tmp_path, 1, 18, 19))
    whole = torch.from_numpy(noise(0, 18, 19)).permute(2, 0, 1).float() / 127.5 - 1
    places = {(top, left): whole[:, top : top + 16, left : left + 16]
              for top in range(3) for left in range(4)}  # fmt: skip
    crops = torch.cat([b.x for b in drawn(one, batch=20, total=12, load_size=18, flip=False)])
    counts = [sum(torch.equal(crop, place) for crop in crops) for place in places.values()]
    assert sum(counts) == 240 and min(counts) > 5


def test_evaluation_shows_targets_beside_their_inputs(tmp_path: Path) -> None:
    write(tmp_path, 3, height=16, width=32)
    (batch,) = evaluation(open_images(tmp_path, side_by_side="BA"), batch=8, size=16)
    assert batch.y is not None
    want = torch.from_numpy(noise(2, 16, 32)[:, :16]).permute(2, 0, 1).float() / 127.5 - 1
    assert torch.equal(batch.y[2], want)


# --- real data -----------------------------------------------------------------------------------

REAL = {
    "facades/photo": 329,
    "cartoon": 268,
    "lfw128/test": 300,
    "horse2zebra_part/trainA": 55,
    "coco_stuff_samples/val_inst": 8,
    "celebamask_samples/test_img": 12,
    "cifar10/test.npz": 10_000,
    "lfw64/all.npz": 13_233,
}


@pytest.mark.shared_data
@pytest.mark.parametrize("path", REAL)
def test_real_sets_open_whole_and_stream(path: str) -> None:
    images = open_images(SHARED / path, strict=True)
    assert len(images) == REAL[path]
    batches = drawn(images, size=32, load_size=36, total=3)
    assert all(torch.isfinite(b.x).all() and b.x.std() > 0.01 for b in batches)
    assert same(drawn(images, size=32, load_size=36, total=3, workers=1), batches)


@pytest.mark.shared_data
def test_real_pairs_open() -> None:
    facades = open_images(SHARED / "facades/photo", pairs=SHARED / "facades/label")
    assert len(facades) == 329 and facades.paired
    maps = open_images(SHARED / "maps/val", side_by_side="BA")
    people = open_images(SHARED / "outline2people/val", side_by_side="AB")
    assert (len(maps), len(people)) == (80, 55)
    assert set(maps.sizes) == {(256, 256)} and {w for _, w in people.sizes} == {256}
    batch = drawn(people, size=64, total=1)[0]
    assert batch.y is not None and batch.y.shape == batch.x.shape


@pytest.mark.shared_data
def test_real_photos_and_masks_of_other_sizes_do_not_pair(tmp_path: Path) -> None:
    for kind, size in (("photo", 32), ("mask", 16)):
        (tmp_path / kind).mkdir()
        real = sorted((SHARED / "celebamask_samples/test_img").iterdir())[0]
        Image.open(real).resize((size, size)).save(tmp_path / kind / "a.png")
    with pytest.raises(ImagesError, match="differ in size"):
        open_images(tmp_path / "photo", pairs=tmp_path / "mask")
