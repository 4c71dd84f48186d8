"""Label maps, instance maps and classes: read as ids, under the photo's own geometry."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ganpress.data import Batch, Images, ImagesWarning, evaluation, open_images, stream
from ganpress.errors import ConfigError, ImagesError

SHARED = Path(os.environ.get("GANPRESS_DATA", "/nowhere"))
SIZE = 24


def put(path: Path, pixels: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def grey(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """A photo whose brightness says the id, so that geometry can be compared."""
    return np.repeat((ids * 20).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Five photos with the ids 0..11 of their label maps as brightness, instances id + 1000."""
    random = np.random.default_rng(0)
    for i in range(5):
        ids = random.integers(0, 12, (SIZE, SIZE + 6))
        put(tmp_path / f"photo/{i}.png", grey(ids))
        put(tmp_path / f"label/{i}.png", ids.astype(np.uint8))
        put(tmp_path / f"inst/{i}.png", (ids + 1000).astype(np.uint16))
    return tmp_path


def opened(home: Path, **more: object) -> Images:
    given = {"labels": home / "label", "instances": home / "inst"} | more
    return open_images(home / "photo", **given)  # type: ignore[arg-type]


def drawn(images: Images, **changes: object) -> list[Batch]:
    settings = {"batch": 4, "size": 16, "seed": 3, "first": 0, "total": 6, "workers": 0}
    return list(stream(images, **(settings | changes)))  # type: ignore[arg-type]


def brightness(batch: Batch) -> torch.Tensor:
    return ((batch.x[:, 0] + 1) * 127.5 / 20).round().long()


@pytest.mark.parametrize("workers", [0, 1])
def test_maps_have_the_crop_and_flip_of_their_photo(home: Path, workers: int) -> None:
    for batch in drawn(opened(home), load_size=SIZE, workers=workers):
        assert batch.labels is not None and batch.instances is not None
        assert batch.labels.dtype == batch.instances.dtype == torch.int64
        assert batch.labels.shape == (4, 16, 16)
        assert torch.equal(batch.labels, brightness(batch))
        assert torch.equal(batch.instances, batch.labels + 1000)


def test_maps_do_not_change_which_pictures_are_drawn(home: Path) -> None:
    plain = drawn(open_images(home / "photo"))
    assert all(torch.equal(a.x, b.x) for a, b in zip(plain, drawn(opened(home)), strict=True))
    assert plain[0].labels is plain[0].instances is plain[0].classes is None


def test_resized_ids_are_never_mixed(tmp_path: Path) -> None:
    halves = np.zeros((40, 40), np.uint8)
    halves[:, 20:] = 200
    put(tmp_path / "photo/a.png", grey(halves // 20))
    put(tmp_path / "label/a.png", halves)
    images = open_images(tmp_path / "photo", labels=tmp_path / "label")
    for load in (16, 30, 64):
        labels = drawn(images, load_size=load, total=2)[0].labels
        assert labels is not None and set(labels.unique().tolist()) <= {0, 200}
    (whole,) = evaluation(images, batch=1, size=10)
    assert whole.labels is not None
    assert torch.equal(whole.labels[0, 0], torch.tensor([0] * 5 + [200] * 5))


def test_evaluation_carries_maps(home: Path) -> None:
    first, second = evaluation(opened(home), batch=4, size=SIZE)
    for batch in (first, second):
        assert batch.labels is not None and torch.equal(batch.labels, brightness(batch))
        assert batch.instances is not None and len(batch.instances) == len(batch.x)


def test_parts_of_ranks_make_the_batch_of_one_process(home: Path) -> None:
    for whole, *parts in zip(
        drawn(opened(home)), *(drawn(opened(home), rank=r, world=2) for r in (0, 1)), strict=True
    ):
        joined = torch.cat([p.labels for p in parts if p.labels is not None])
        assert whole.labels is not None and torch.equal(joined, whole.labels)


def indexed(ids: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(ids).convert("P")
    image.putpalette([v for i in range(256) for v in (255 - i, i // 2, 7)])
    image.putdata(ids.ravel().tolist())
    return image


@pytest.mark.parametrize("kind", ["palette", "4-bit", "2-bit", "1-bit", "16-bit", "32-bit", "gif"])
def test_ids_are_read_as_they_are_stored(kind: str, tmp_path: Path) -> None:
    top = {"2-bit": 4, "1-bit": 2}.get(kind, 12)
    ids = np.random.default_rng(1).integers(0, top, (SIZE, SIZE)).astype(np.uint8)
    want = ids.astype(np.int64)
    put(tmp_path / "photo/a.png", grey(ids))
    (tmp_path / "label").mkdir()
    path = tmp_path / "label/a.png"
    if kind in ("palette", "gif"):
        indexed(ids).save(path, "GIF" if kind == "gif" else "PNG", optimize=False)
    elif kind in ("4-bit", "2-bit"):
        path.write_bytes(low_grey_png(ids, int(kind[0])))
    elif kind == "1-bit":
        Image.fromarray(ids.astype(bool)).save(path)
    elif kind == "16-bit":
        want = want + 26_000
        put(path, want.astype(np.uint16))
    else:
        want = want + 26_000_000
        Image.fromarray(want.astype(np.int32)).save(path.with_suffix(".tif"))
    images = open_images(tmp_path / "photo", labels=tmp_path / "label")
    assert np.array_equal(images.read(0)[1], want)
    assert images.label_range() == (want.min(), want.max())
    (batch,) = evaluation(images, batch=1, size=SIZE)
    assert batch.labels is not None and np.array_equal(batch.labels[0].numpy(), want)


def low_grey_png(ids: NDArray[np.uint8], bits: int) -> bytes:
    """A grey PNG of 2 or 4 bits, which Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    spread = (ids[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(spread.reshape(len(ids), -1).astype(np.uint8), axis=1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", ids.shape[1], len(ids), bits, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(body)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_a_label_map_of_colours_is_refused_even_when_files_may_be_left_out(home: Path) -> None:
    put(home / "label/2.png", np.zeros((SIZE, SIZE + 6, 3), np.uint8))
    with pytest.raises(ImagesError, match=r"2\.png holds colours \(RGB\), not ids"):
        opened(home)


def test_a_jpeg_is_no_label_map(home: Path) -> None:
    (home / "label/2.png").unlink()
    put(home / "label/2.jpg", np.zeros((SIZE, SIZE + 6), np.uint8))
    with pytest.raises(ImagesError, match="JPEG, whose compression changes ids"):
        opened(home)


def test_a_pack_of_colours_is_no_label_map(home: Path) -> None:
    np.savez(
        home / "five.npz", images=np.zeros((5, SIZE, SIZE + 6, 3), np.uint8), names=list("01234")
    )
    with pytest.raises(ImagesError, match="colours, not ids"):
        opened(home, labels=home / "five.npz")


def test_a_label_map_of_another_size_is_refused(home: Path) -> None:
    put(home / "label/3.png", np.zeros((SIZE, SIZE), np.uint8))
    with pytest.raises(
        ImagesError, match=r"3\.png \(30x24\) and .*3\.png \(24x24\) differ in size"
    ):
        opened(home)


def test_maps_that_do_not_pair_are_refused_by_name(home: Path) -> None:
    (home / "inst/4.png").unlink()
    with pytest.raises(
        ImagesError, match=r"5 images and .*inst 4.*do not pair.*Only in .*photo: 4"
    ):
        opened(home)


def test_a_truncated_map_is_left_out_with_its_photo(home: Path) -> None:
    path = home / "label/1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.warns(ImagesWarning, match=r"Left out 1 of 5 images: .*label/1\.png"):
        images = opened(home)
    assert images.names == ("0.png", "2.png", "3.png", "4.png")
    assert all(
        torch.equal(b.labels, brightness(b))
        for b in evaluation(images, batch=4, size=SIZE)
        if b.labels is not None
    )
    with pytest.raises(ImagesError, match="Unusable images"):
        opened(home, strict=True)


def test_images_say_which_labels_occur(home: Path) -> None:
    images = opened(home)
    assert images.has_labels and images.has_instances
    assert images.label_range() == (0, 11) and images.label_ids == tuple(range(12))
    plain = open_images(home / "photo")
    assert not plain.has_labels and plain.label_ids == ()
    with pytest.raises(ConfigError, match="no label maps"):
        plain.label_range()


def test_the_digest_covers_maps(home: Path) -> None:
    seen = {opened(home).digest(), open_images(home / "photo").digest()}
    seen.add(open_images(home / "photo", labels=home / "label").digest())
    seen.add(open_images(home / "photo", pairs=home / "label").digest())
    put(home / "label/0.png", np.zeros((SIZE, SIZE + 6), np.uint8))  # fewer bytes
    seen.add(opened(home).digest())
    assert len(seen) == 5


def test_side_by_side_photos_take_maps_of_half_their_width(tmp_path: Path) -> None:
    put(tmp_path / "photo/a.png", grey(np.ones((16, 32), np.int64)))
    put(tmp_path / "label/a.png", np.ones((16, 16), np.uint8))
    images = open_images(tmp_path / "photo", side_by_side="AB", labels=tmp_path / "label")
    assert images.columns == ("x", "y", "labels")
    (batch,) = evaluation(images, batch=1, size=16)
    assert batch.y is not None and batch.labels is not None and batch.labels.shape == (1, 16, 16)


# --- classes -------------------------------------------------------------------------------------


def pack(path: Path, labels: NDArray[np.generic], names: list[str] | None = None) -> Path:
    pixels = np.zeros((len(labels), 16, 16, 3), np.uint8)
    pixels += np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    more = {} if names is None else {"classes": np.array(names)}
    np.savez(path, images=pixels, labels=labels, **more)
    return path


def test_a_pack_s_labels_are_the_classes_of_its_images(tmp_path: Path) -> None:
    labels = np.array([2, 0, 1, 2], np.uint8)
    images = open_images(pack(tmp_path / "a.npz", labels, ["a", "b", "c"]))
    assert images.class_count == 3 and images.class_names == ("a", "b", "c")
    for batch in [*drawn(images), *evaluation(images, batch=3, size=16)]:
        number = ((batch.x[:, 0, 0, 0] + 1) * 127.5).round().long()
        assert batch.classes is not None and batch.classes.dtype == torch.int64
        assert torch.equal(batch.classes, torch.from_numpy(labels)[number].long())


def test_classes_without_names_are_counted(tmp_path: Path) -> None:
    images = open_images(pack(tmp_path / "a.npz", np.array([4, 0])))
    assert images.class_count == 5 and images.class_names == ()


def test_packs_of_the_same_classes_join_and_others_have_none(tmp_path: Path) -> None:
    a = pack(tmp_path / "a.npz", np.array([0, 1]), ["x", "y"])
    b = pack(tmp_path / "b.npz", np.array([1, 1, 0]), ["x", "y"])
    c = pack(tmp_path / "c.npz", np.array([0]), ["z"])
    joined = open_images([a, b])
    assert joined.classes is not None and joined.classes.tolist() == [0, 1, 1, 1, 0]
    assert open_images([a, c]).classes is None
    put(tmp_path / "d/a.png", np.zeros((16, 16, 3), np.uint8))
    assert open_images([a, tmp_path / "d"]).class_count == 0


def test_the_class_of_a_bad_image_goes_with_it(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    files = [buffer.getvalue(), b"bad", buffer.getvalue()]
    ends = np.cumsum([0] + [len(f) for f in files])
    data = np.frombuffer(b"".join(files), np.uint8)
    np.savez(tmp_path / "a.npz", jpeg=data, offsets=ends, labels=np.array([5, 6, 7]))
    with pytest.warns(ImagesWarning):
        images = open_images(tmp_path / "a.npz")
    assert images.classes is not None and images.classes.tolist() == [5, 7]


@pytest.mark.parametrize("labels", [[0.0, 1.0], [-1, 0], [0, 3], [[0, 1]] * 2])
def test_labels_that_are_no_classes_are_refused(labels: list[object], tmp_path: Path) -> None:
    path = pack(tmp_path / "a.npz", np.array(labels), ["x", "y"])
    with pytest.raises(ImagesError, match="must be 2 integers from 0 to 1, one for each name"):
        open_images(path)


def test_images_with_maps_and_classes_can_be_sent_to_another_process(home: Path) -> None:
    images = opened(home)
    assert pickle.loads(pickle.dumps(images)).digest() == images.digest()


# --- real data -----------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_facades_have_the_labels_1_to_12() -> None:
    facades = open_images(SHARED / "facades/photo", labels=SHARED / "facades/label", strict=True)
    assert len(facades) == 329 and facades.label_range() == (1, 12)
    batch = drawn(facades, size=128, load_size=143, total=1)[0]
    assert batch.labels is not None and batch.labels.shape == (4, 128, 128)


@pytest.mark.shared_data
@pytest.mark.parametrize(("part", "count"), [("train", 13), ("val", 8)])
def test_coco_samples_have_labels_to_181_and_255(part: str, count: int) -> None:
    home = SHARED / "coco_stuff_samples"
    images = open_images(
        home / f"{part}_img", labels=home / f"{part}_label", instances=home / f"{part}_inst"
    )
    ids = images.label_ids
    assert len(images) == count and set(ids) <= {*range(182), 255}
    (batch,) = evaluation(images, batch=count, size=64)
    assert batch.labels is not None and set(batch.labels.unique().tolist()) <= set(ids)
    assert batch.instances is not None and len(batch.instances.unique()) > 10


@pytest.mark.shared_data
def test_cifar_has_its_ten_classes() -> None:
    images = open_images(SHARED / "cifar10/test.npz")
    assert images.class_count == 10 and images.class_names[:2] == ("airplane", "automobile")
    assert images.classes is not None and np.bincount(images.classes).tolist() == [1000] * 10
