"""A .zip or .tar of pictures is a folder of them, and nothing in it leads out of it."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run_cli, teacher_file
from PIL import Image

from ganpress.data import Images, ImagesWarning, open_images, stream
from ganpress.errors import ImagesError

TARS = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}
ZIPS = {"zip": zipfile.ZIP_STORED, "ZIP": zipfile.ZIP_DEFLATED, "bz.zip": zipfile.ZIP_BZIP2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/ganpress"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos, and their label maps beside them in another folder, by the same names."""
    rng = np.random.default_rng(0)
    for kind in ("photo", "label"):
        (tmp_path / "set" / kind / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "c"):
        shape = (20, 24)
        photo = Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8))
        photo.save(tmp_path / f"set/photo/{name}.png")
        ids = Image.fromarray(rng.integers(0, 5, shape, np.uint8))
        ids.save(tmp_path / f"set/label/{name}.png")
    (tmp_path / "set/photo/notes.txt").write_text("notes")
    return tmp_path / "set"


def packed(folder: Path, kind: str, top: str = "") -> Path:
    """The folder in an archive of this ending, below the folder ``top`` in it."""
    archive = folder.parent / f"{folder.name}.{kind}"
    inside = {str(Path(top) / p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    if kind in ZIPS:
        with zipfile.ZipFile(archive, "w", ZIPS[kind]) as out:
            for name, path in inside.items():
                out.write(path, name)
    else:
        with tarfile.open(archive, TARS[kind]) as tar:
            for name, path in inside.items():
                tar.add(path, name)
    return archive


def equal(a: Images, b: Images) -> bool:
    rows = zip(map(a.read, range(len(a))), map(b.read, range(len(b))), strict=True)
    return all(np.array_equal(p, q) for one, two in rows for p, q in zip(one, two, strict=True))


@pytest.mark.parametrize("kind", [*ZIPS, *TARS])
def test_an_archive_is_the_folder_that_was_packed(kind: str, folder: Path) -> None:
    plain = open_images(folder / "photo")
    found = open_images(packed(folder / "photo", kind, top="data/photo"), strict=True)
    assert found.names == plain.names == ("a.png", "c.png", "sub/b.png")
    assert found.sizes == plain.sizes and found.digest() == plain.digest()
    assert equal(found, plain)


@pytest.mark.parametrize(("one", "other"), [("zip", "tar.gz"), ("tar", "ZIP")])
def test_maps_and_targets_may_lie_in_archives(one: str, other: str, folder: Path) -> None:
    photo, label = folder / "photo", folder / "label"
    plain = open_images(photo, pairs=photo, labels=label, instances=label)
    x = packed(photo, one, top="photo")
    y = packed(label, other, top="label")
    for given in (x, photo):
        found = open_images(given, pairs=x, labels=y, instances=y)
        assert found.columns == ("x", "y", "labels", "instances")
        assert found.digest() == plain.digest() and equal(found, plain)


def test_an_archive_is_known_by_its_first_bytes(folder: Path, tmp_path: Path) -> None:
    for kind in ("zip", "tar", "tgz"):
        bare = tmp_path / f"bare-{kind}"
        packed(folder / "photo", kind).rename(bare)
        assert len(open_images(bare)) == 3


def test_archives_join_with_folders_and_stream_in_a_worker(folder: Path) -> None:
    both = [packed(folder / "photo", "ZIP"), folder / "label"]
    images = open_images(both)
    assert images.names[0] == "photo/a.png" and len(images) == 6
    images = pickle.loads(pickle.dumps(images))
    given = {"batch": 3, "size": 16, "seed": 0, "first": 0, "total": 2}
    here, there = (list(stream(images, workers=n, **given)) for n in (0, 1))  # type: ignore[arg-type]
    assert all(p.x.equal(q.x) for p, q in zip(here, there, strict=True))


def test_what_an_archive_holds_besides_is_named(folder: Path) -> None:
    (folder / "photo/film.mp4").write_text("film")
    for kind in ("zip", "tar"):
        archive = packed(folder / "photo", kind)
        with pytest.warns(ImagesWarning, match=r"2 files in .* 1 \.mp4 \(a film.*, 1 \.txt"):
            open_images(archive)
        with pytest.raises(ImagesError, match=r"1 \.mp4"):
            open_images(archive, strict=True)


# --- nothing leads out ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png", "..\\a.png", "C:\\a.png"])
@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_a_path_that_leads_out_is_refused(
    name: str, kind: str, folder: Path, tmp_path: Path
) -> None:
    before = {path for path in tmp_path.rglob("*.png")}
    archive = tmp_path / f"evil.{kind}"
    picture = folder / "photo/a.png"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as out:
            out.write(picture, "b.png")
            out.writestr(zipfile.ZipInfo(name), picture.read_bytes())
    else:
        with tarfile.open(archive, TARS[kind]) as tar:
            tar.add(picture, "b.png")
            entry = tarfile.TarInfo(name)
            entry.size = picture.stat().st_size
            tar.addfile(entry, io.BytesIO(picture.read_bytes()))
    with pytest.raises(ImagesError, match="leads out of the archive"):
        open_images(archive)
    assert before == {path for path in tmp_path.rglob("*.png")}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_link_is_never_followed(kind: str, folder: Path, tmp_path: Path) -> None:
    archive = packed(folder / "photo", kind)
    if kind == "zip":
        with zipfile.ZipFile(archive, "a") as out:
            entry = zipfile.ZipInfo("link.png")
            entry.external_attr = 0o120777 << 16
            out.writestr(entry, str(folder / "label/a.png"))
    else:
        with tarfile.open(archive, "a") as tar:
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, str(folder / "label/a.png")
            tar.addfile(link)
    with pytest.warns(ImagesWarning, match=r"1 link in an archive \(.*/link\.png\)"):
        assert open_images(archive).names == ("a.png", "c.png", "sub/b.png")


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "tar.xz", "tar.bz2"])
def test_a_torn_archive_never_opens_as_a_smaller_one(kind: str, folder: Path) -> None:
    archive = packed(folder / "photo", kind)
    whole = archive.read_bytes()
    end = len(whole.rstrip(b"\0")) if kind == "tar" else len(whole)
    for length in [*range(1, end, max(1, end // 23)), end - 1]:
        archive.write_bytes(whole[:length])
        with pytest.raises(
            ImagesError, match=r"damaged|no whole zip or tar|Cannot read|not an archive|cut short"
        ):
            open_images(archive)


def test_a_spoilt_picture_in_a_zip_is_left_out_and_named(folder: Path) -> None:
    archive = packed(folder / "photo", "zip")
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as listed:
        entry = listed.getinfo("c.png")
    data[entry.header_offset + 30 + len("c.png") + 60] ^= 255
    archive.write_bytes(bytes(data))
    with pytest.warns(ImagesWarning, match=r"Left out 1 of 3 images: Cannot read .*zip/c\.png"):
        assert open_images(archive).names == ("a.png", "sub/b.png")


def test_a_member_that_unpacks_to_more_than_it_says_is_not_unpacked_whole(folder: Path) -> None:
    archive = folder.parent / "bomb.zip"
    huge = 1 << 25
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.write(folder / "photo/a.png", "a.png")
        out.writestr("b.png", bytes(huge))
    data = archive.read_bytes()
    size = huge.to_bytes(4, "little")
    archive.write_bytes(data.replace(size, (1000).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.warns(ImagesWarning, match=r"b\.png: its bytes in the archive are damaged"):
        assert open_images(archive).names == ("a.png",)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < huge / 4


OTHERS = {
    "page.zip": (b"<html>", "is an HTML page, not an archive"),
    "x.7z": (b"7z\xbc\xaf'\x1c", "is a 7z archive"),
    "x.rar": (b"Rar!\x1a\x07", "is a RAR archive"),
    "x.tar.zst": (b"(\xb5/\xfd", "Unpack it, and give the folder"),
    "x.jpg.gz": (gzip.compress(b"a picture"), "is a gzip archive"),
    "x.txt": (b"hello", "is a text ('hello'), not a folder of pictures, a .zip or .tar"),
    "empty.zip": (b"PK\x05\x06" + bytes(18), "No images in"),
    "empty.tar": (bytes(10240), "No images in"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_kind_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    content, expected = OTHERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImagesError) as caught:
        open_images(tmp_path / name)
    assert expected in str(caught.value) and str(tmp_path / name) in str(caught.value)
    assert "folder: ." not in str(caught.value)


def test_an_encrypted_archive_is_refused(folder: Path) -> None:
    archive = packed(folder / "photo", "zip")
    data = bytearray(archive.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1
    archive.write_bytes(bytes(data))
    with pytest.raises(
        ImagesError, match=r"is encrypted\. Unpack the archive, and give the folder"
    ):
        open_images(archive)


# --- the unpacked copy of a compressed tar --------------------------------------------------------


def test_a_compressed_tar_is_unpacked_once_and_again_when_it_changes(
    folder: Path, cache: Path
) -> None:
    archive = packed(folder / "photo", "tar.gz")
    assert len(open_images(archive)) == 3
    (copy,) = (cache / "archives").glob("*.tar")
    when = copy.stat().st_ino
    assert len(open_images(archive)) == 3
    assert [c.stat().st_ino for c in (cache / "archives").glob("*.tar")] == [when]
    (folder / "photo/c.png").unlink()
    packed(folder / "photo", "tar.gz")
    assert open_images(archive).names == ("a.png", "sub/b.png")


def test_a_cache_that_cannot_be_written_says_to_unpack(folder: Path, cache: Path) -> None:
    cache.parent.write_text("in the way")
    with pytest.raises(ImagesError, match=r"unpacked first\. .* Or unpack it yourself and give"):
        open_images(packed(folder / "photo", "tgz"))
    assert len(open_images(packed(folder / "photo", "tar"))) == 3


def test_the_command_line_takes_archives(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = teacher_file(tmp_path / "m.safetensors")
    line = ["evaluate", model, "--teacher", model, "--size", 16, "--features", "tiny", "--images"]
    photo = folder / "photo"
    paths = [photo, packed(photo, "zip"), packed(photo, "tgz")]
    told = [run_cli(capsys, *line, path) for path in paths]
    assert all(one.code == 0 and one.out == told[0].out and not one.err for one in told)
    (tmp_path / "page.zip").write_text("<html>")
    refused = run_cli(capsys, *line, tmp_path / "page.zip")
    assert refused.code == 2 and "is an HTML page" in refused.err
