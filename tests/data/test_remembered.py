"""A folder that was opened before opens without decoding what has not changed since."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganpress.data import ImagesWarning, checking, open_images, remembered, sources
from ganpress.errors import ImagesError

LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, in which every opening is worth an entry."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checking, "WORTH_S", 0.0)
    return tmp_path / "cache/ganpress/listings"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The images that were decoded to check them since the last call, by their last names."""
    seen: list[str] = []
    for module, name in ((sources, "probe"), (sources, "decode_ids")):
        real = getattr(module, name)

        def spy(stored: bytes, where: str, real: Callable[..., object] = real) -> object:
            seen.append(where.rsplit("/", 1)[-1])
            return real(stored, where)

        monkeypatch.setattr(module, name, spy)

    def take() -> list[str]:
        taken = sorted(seen)
        seen.clear()
        return taken

    return take


def put(path: Path, shape: tuple[int, int] = (6, 8), seed: int = 0, top: int = 256) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.random.default_rng(seed).integers(0, top, shape, np.uint8)
    Image.fromarray(ids).save(path)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("a.png", "b.png", "sub/c.png")):
        put(tmp_path / "photos" / name, seed=index)
    return tmp_path / "photos"


def test_a_second_opening_decodes_nothing_and_finds_the_same(
    folder: Path, decoded: Callable[[], list[str]]
) -> None:
    first = open_images(folder)
    assert decoded() == ["a.png", "b.png", "c.png"]
    second = open_images(folder, strict=True)
    assert decoded() == []
    assert (second.names, second.sizes, second.digest()) == (
        first.names,
        first.sizes,
        first.digest(),
    )


def test_only_what_is_new_or_changed_is_decoded_and_what_is_gone_is_gone(
    folder: Path, decoded: Callable[[], list[str]]
) -> None:
    open_images(folder)
    decoded()
    put(folder / "a.png", (4, 4))
    put(folder / "new.png", (2, 2))
    (folder / "b.png").unlink()
    images = open_images(folder)
    assert decoded() == ["a.png", "new.png"]
    assert images.names == ("a.png", "new.png", "sub/c.png")
    assert images.sizes == ((4, 4), (2, 2), (6, 8))
    open_images(folder)
    assert decoded() == []


def test_a_file_of_the_same_time_and_size_is_told_from_the_one_before(
    folder: Path, decoded: Callable[[], list[str]]
) -> None:
    open_images(folder)
    decoded()
    before = (folder / "a.png").stat()
    (folder / "a.png").write_bytes(bytes(before.st_size))
    os.utime(folder / "a.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.warns(ImagesWarning, match=r"a\.png"):
        assert open_images(folder).names == ("b.png", "sub/c.png")


def test_a_file_that_was_just_written_is_not_trusted(
    folder: Path, decoded: Callable[[], list[str]]
) -> None:
    os.utime(folder / "a.png")
    open_images(folder)
    decoded()
    open_images(folder)
    assert decoded() == ["a.png"]


def test_a_bad_file_is_named_at_every_opening(folder: Path) -> None:
    (folder / "bad.png").write_text("no picture")
    os.utime(folder / "bad.png", (LONG_AGO, LONG_AGO))
    for _ in range(2):
        with pytest.warns(ImagesWarning, match=r"Left out 1 of 4 images: .*bad\.png"):
            open_images(folder)
    with pytest.raises(ImagesError, match=r"bad\.png"):
        open_images(folder, strict=True)


def test_label_maps_are_remembered_apart_from_photos_of_the_same_folder(
    folder: Path, tmp_path: Path, decoded: Callable[[], list[str]]
) -> None:
    for index, name in enumerate(("a.png", "b.png", "sub/c.png")):
        put(tmp_path / "maps" / name, seed=index, top=3 + index)
    maps = {"labels": tmp_path / "maps", "instances": tmp_path / "maps"}
    open_images(folder)
    open_images(tmp_path / "maps")
    first = open_images(folder, **maps)
    assert first.label_ids == (0, 1, 2, 3, 4)
    decoded()
    second = open_images(folder, **maps)
    assert decoded() == [] and second.label_ids == first.label_ids
    assert second.maps_with(4) == f"{tmp_path}/maps/sub/c.png"


def test_frames_are_spoken_of_also_when_they_are_remembered(folder: Path) -> None:
    frames = [Image.new("L", (8, 6), value) for value in (0, 99, 200)]
    frames[0].save(folder / "d.gif", save_all=True, append_images=frames[1:])
    os.utime(folder / "d.gif", (LONG_AGO, LONG_AGO))
    for _ in range(2):
        with pytest.warns(ImagesWarning, match=r"d\.gif \(3\)"):
            open_images(folder)


@pytest.mark.parametrize("what", ["empty", "cut", "flipped", "text", "other", "json"])
def test_a_damaged_or_foreign_entry_is_ignored_and_replaced(
    what: str, folder: Path, cache: Path, decoded: Callable[[], list[str]]
) -> None:
    open_images(folder)
    (entry,) = cache.glob("*.json")
    whole = entry.read_bytes()
    entry.write_bytes({
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "flipped": whole.replace(b",8,", b",9,"),
        "text": b"no json\nno json",
        "other": whole.replace(b"pillow", b"willow"),
        "json": whole.partition(b"\n")[0] + b"\n[1, 2]",
    }[what])  # fmt: skip
    assert entry.read_bytes() != whole
    decoded()
    assert open_images(folder).sizes == ((6, 8),) * 3
    assert decoded() == ["a.png", "b.png", "c.png"]
    assert entry.read_bytes() == whole


def test_another_pillow_checks_anew(
    folder: Path, decoded: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_images(folder)
    decoded()
    monkeypatch.setattr(remembered.PIL, "__version__", "99.0")
    open_images(folder)
    assert len(decoded()) == 3


def test_many_openings_at_once_leave_a_whole_entry(
    folder: Path, cache: Path, decoded: Callable[[], list[str]]
) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(open_images(folder)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3] * 8
    assert not list(cache.glob("*.tmp"))
    decoded()
    open_images(folder)
    assert decoded() == []


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, cache: Path) -> None:
    cache.parent.parent.write_text("in the way")
    assert len(open_images(folder)) == 3


def test_what_opens_quickly_is_not_worth_an_entry(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "WORTH_S", 1e9)
    open_images(folder)
    assert not cache.exists()


def test_entries_that_nobody_uses_are_cleared(folder: Path, tmp_path: Path, cache: Path) -> None:
    open_images(folder)
    (old,) = cache.glob("*.json")
    os.utime(old, (LONG_AGO, LONG_AGO))
    put(tmp_path / "others/a.png")
    open_images(tmp_path / "others")
    assert old not in list(cache.glob("*.json")) and len(list(cache.glob("*.json"))) == 1
    open_images(folder)
    (folder / "b.png").unlink()
    open_images(folder)
    assert len(list(cache.glob("*.json"))) == 2


def test_a_folder_under_another_name_is_the_same_folder(
    folder: Path, tmp_path: Path, decoded: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_images(folder)
    decoded()
    (tmp_path / "link").symlink_to(folder)
    open_images(tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    assert open_images(Path("photos")).names == ("a.png", "b.png", "sub/c.png")
    assert decoded() == []


def test_the_members_of_packs_and_archives_are_remembered(
    folder: Path, tmp_path: Path, decoded: Callable[[], list[str]]
) -> None:
    import zipfile

    stored = [path.read_bytes() for path in sorted(folder.glob("*.png"))]
    pack, archive = tmp_path / "p.npz", tmp_path / "p.zip"
    np.savez(pack, jpeg=np.frombuffer(b"".join(stored), np.uint8),
             offsets=np.cumsum([0, *map(len, stored)]))  # fmt: skip
    with zipfile.ZipFile(archive, "w") as out:
        for index, data in enumerate(stored):
            out.writestr(f"{index}.png", data)
    for path in (pack, archive):
        os.utime(path, (LONG_AGO, LONG_AGO))
        open_images(path)
        assert len(decoded()) == 2
        open_images(path)
        assert decoded() == []
        os.utime(path, (LONG_AGO + 5, LONG_AGO + 5))
        open_images(path)
        assert len(decoded()) == 2
