"""Public data sets: fetched whole or not at all, unpacked safely, laid out for training.

The server is on 127.0.0.1; it breaks off, restarts, and sends wrong files.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE, Popen
from sys import executable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from ganpress.cli import app as cli
from ganpress.data import fetch, open_images, unpack
from ganpress.data.decode import decode_ids
from ganpress.data.fetch import RECORD, get_public
from ganpress.data.prepare import THINGS, instance_map, prepare
from ganpress.data.public import PUBLIC
from ganpress.errors import ConfigError, DiskFull, ImagesError
from ganpress.run.settings import read_config
from ganpress.training.train import trainer

ZIP = "/cyclegan/datasets/horse2zebra.zip"
TAR = "/pix2pix/datasets/facades.tar.gz"


def png(seed: int, height: int = 8, width: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return encoded(pixels)


def encoded(pixels: NDArray[np.generic], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return buffer.getvalue()


def horses(**more: bytes) -> bytes:
    parts = ("trainA", "trainB", "testA", "testB")
    files = {f"horse2zebra/{part}/{i}.png": png(i) for part in parts for i in range(3)}
    return zipped(files | more)


def facades() -> bytes:
    names = ("train/1", "train/2", "val/1", "test/1")
    return tarred({f"facades/{n}.png": png(i, 8, 16) for i, n in enumerate(names)})


class Server:
    """What the test's server sends by path, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.break_after: list[int] = []  # bytes sent before each early end
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.state.asked.append((self.path, asked))
        content = self.state.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(asked[len("bytes=") : -1]) if asked else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.state.break_after.pop(0) if self.state.break_after else None
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Server()
    handler = type("Bound", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{listening.server_port}"
        monkeypatch.setenv("GANPRESS_MIRROR", state.url)
        state.files = {ZIP: horses(), TAR: facades()}
        yield state
        listening.shutdown()
        thread.join()


def seen(folder: Path) -> set[str]:
    """Names below a folder that are no locks."""
    return {p.name for p in folder.iterdir() if not p.name.endswith(".lock")}


# --- fetching ------------------------------------------------------------------------------------


def test_an_unpaired_set_is_laid_out_for_training(server: Server, tmp_path: Path) -> None:
    folder = get_public("horse2zebra", tmp_path)
    assert folder == tmp_path / "horse2zebra"
    assert seen(folder) == {"trainA", "trainB", "testA", "testB"}
    assert len(open_images(folder / "trainB")) == 3
    assert seen(tmp_path) == {"horse2zebra", RECORD}  # the archive has gone
    assert get_public("horse2zebra", tmp_path) == folder
    assert server.asked == [(ZIP, None)]  # once is enough


def test_a_paired_set_is_laid_out_for_training(server: Server, tmp_path: Path) -> None:
    folder = get_public("facades", tmp_path)
    assert seen(folder) == {"train", "val", "test"}
    images = open_images(folder / "train", side_by_side="BA")
    assert len(images) == 2 and images.sizes[0] == (8, 8)


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.break_after = [1000, 500]
    get_public("horse2zebra", tmp_path)
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-", "bytes=1500-"]


def test_a_later_command_goes_on_where_an_earlier_one_gave_up(
    server: Server, tmp_path: Path
) -> None:
    server.break_after = [1000] + [0] * 10
    with pytest.raises(ImagesError, match=r"closed early.*what has arrived is kept.*put it at"):
        get_public("horse2zebra", tmp_path)
    assert (tmp_path / "horse2zebra.zip.part").stat().st_size == 1000
    server.break_after.clear()
    get_public("horse2zebra", tmp_path)
    assert server.asked[-1] == (ZIP, "bytes=1000-")


@pytest.mark.parametrize("name", ["horse2zebra", "facades"])
def test_a_login_page_is_no_archive(name: str, server: Server, tmp_path: Path) -> None:
    server.files = dict.fromkeys((ZIP, TAR), b"<html>Please log in</html>")
    with pytest.raises(ImagesError, match=r"no (g?zip) archive, but an HTML page"):
        get_public(name, tmp_path)
    assert seen(tmp_path) == set()


def test_a_missing_page_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    server.files = {}
    with pytest.raises(ImagesError, match="answered 404"):
        get_public("horse2zebra", tmp_path)
    assert len(server.asked) == 1 and seen(tmp_path) == set()


def test_no_server_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="Fetch it by other means, put it at"):
        get_public("horse2zebra", tmp_path, mirror="http://127.0.0.1:9")


def test_an_archive_put_there_by_hand_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "horse2zebra.zip").write_bytes(horses())
    get_public("horse2zebra", tmp_path)
    assert server.asked == []


def test_the_hash_of_the_first_download_is_recorded_and_checked(
    server: Server, tmp_path: Path
) -> None:
    folder = get_public("horse2zebra", tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())["horse2zebra.zip"]
    assert record["sha256"] == hashlib.sha256(server.files[ZIP]).hexdigest()
    assert record["bytes"] == len(server.files[ZIP]) and record["url"].endswith(ZIP)
    shutil.rmtree(folder)
    first, server.files[ZIP] = server.files[ZIP], horses(other=b"changed")
    with pytest.raises(ImagesError, match="has recorded at the first download"):
        get_public("horse2zebra", tmp_path)
    assert seen(tmp_path) == {RECORD}
    server.files[ZIP] = first
    assert get_public("horse2zebra", tmp_path) == folder


def test_a_record_that_is_none_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text('{"horse2zebra.zip": {}}')
    with pytest.raises(ConfigError, match="not a record of downloads"):
        get_public("horse2zebra", tmp_path)


def test_an_archive_of_something_else_is_refused(server: Server, tmp_path: Path) -> None:
    server.files[ZIP] = zipped({"horse2zebra/trainA/1.png": png(1)})
    with pytest.raises(ImagesError, match=r"has no images in trainB, testA, testB.*was removed"):
        get_public("horse2zebra", tmp_path)
    assert seen(tmp_path) == set()


def test_two_commands_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(get_public("horse2zebra", tmp_path)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "horse2zebra"] * 3 and len(server.asked) == 1


def test_a_folder_of_the_user_s_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "facades").mkdir()
    (tmp_path / "facades/mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there, but is not facades"):
        get_public("facades", tmp_path)
    assert (tmp_path / "facades/mine.txt").exists() and server.asked == []


# --- unpacking -----------------------------------------------------------------------------------


def linked(kind: bytes) -> bytes:
    info = tarfile.TarInfo("facades/train/link.png")
    info.type, info.linkname = kind, "/etc/passwd"
    return tarred({"facades/train/1.png": png(0)}, info)


def zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("horse2zebra/trainA/link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


UNSAFE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zip, up": ("horse2zebra", lambda: horses(**{"../../evil.png": b"x"})),
    "zip, absolute": ("horse2zebra", lambda: horses(**{"/tmp/evil.png": b"x"})),
    "zip, Windows": ("horse2zebra", lambda: horses(**{"C:\\evil.png": b"x"})),
    "zip, link": ("horse2zebra", zip_link),
    "tar, up": ("facades", lambda: tarred({"facades/../../evil.png": b"x"})),
    "tar, absolute": ("facades", lambda: tarred({"/tmp/evil.png": b"x"})),
    "tar, symbolic link": ("facades", lambda: linked(tarfile.SYMTYPE)),
    "tar, hard link": ("facades", lambda: linked(tarfile.LNKTYPE)),
    "tar, device": ("facades", lambda: linked(tarfile.CHRTYPE)),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_an_archive_may_not_reach_out_of_itself(case: str, server: Server, tmp_path: Path) -> None:
    name, content = UNSAFE[case]
    server.files = dict.fromkeys((ZIP, TAR), content())
    with pytest.raises(ImagesError, match=r"a link, a device or a path that leads out"):
        get_public(name, tmp_path / "data")
    assert seen(tmp_path / "data") == set() and {p.name for p in tmp_path.iterdir()} == {"data"}


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


@pytest.mark.parametrize("name", ["horse2zebra", "facades"])
def test_a_damaged_archive_is_removed(name: str, server: Server, tmp_path: Path) -> None:
    tar = flipped(gzip.compress(gzip.decompress(facades()), 0), -6)  # the checksum
    server.files = {ZIP: flipped(horses(), 200), TAR: tar}
    with pytest.raises(ImagesError, match=r"is damaged.*removed: run the same command again"):
        get_public(name, tmp_path)
    assert seen(tmp_path) == set()


def test_a_truncated_tar_is_removed(server: Server, tmp_path: Path) -> None:
    server.files[TAR] = facades()[:-500]
    with pytest.raises(ImagesError, match="is damaged"):
        get_public("facades", tmp_path)


def test_a_full_disk_leaves_nothing_half_and_keeps_the_archive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(unpack.shutil, "copyfileobj", full)
        with pytest.raises(DiskFull, match="No space left"):
            get_public("horse2zebra", tmp_path)
    assert seen(tmp_path) == {"horse2zebra.zip"}
    get_public("horse2zebra", tmp_path)
    assert len(server.asked) == 1


def test_a_killed_unpacking_is_done_anew(server: Server, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from ganpress.data import fetch, unpack\n"
        "copy = unpack.shutil.copyfileobj\n"
        "def slow(*a):\n    copy(*a); print('one', flush=True); time.sleep(60)\n"
        "unpack.shutil.copyfileobj = slow\n"
        "fetch.get_public('horse2zebra', Path(sys.argv[1]))\n"
    )
    with Popen([executable, "-c", script, str(tmp_path)], stdout=PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"one\n"
        process.kill()
    assert seen(tmp_path) == {".horse2zebra.part", "horse2zebra.zip"}
    folder = get_public("horse2zebra", tmp_path)
    assert seen(tmp_path) == {"horse2zebra", RECORD} and len(open_images(folder / "testB")) == 3


# --- CIFAR-10 ------------------------------------------------------------------------------------


def cifar() -> bytes:
    random = np.random.default_rng(0)
    files = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile\nbird\n\n"}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        rows = random.integers(0, 256, (4, 3073), np.uint8)
        rows[:, 0] = [0, 1, 2, 1]
        rows[0, 1:1025] = 77  # the red plane of the first
        files[f"cifar-10-batches-bin/{name}.bin"] = rows.tobytes()
    return tarred(files)


@pytest.fixture
def cifar_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    content = cifar()
    server.files["/~kriz/cifar-10-binary.tar.gz"] = content
    entry = replace(PUBLIC["cifar10"], md5=hashlib.md5(content).hexdigest())
    monkeypatch.setitem(PUBLIC, "cifar10", entry)
    return server


def test_cifar_becomes_packs_with_classes(cifar_server: Server, tmp_path: Path) -> None:
    folder = get_public("cifar10", tmp_path)
    train, test = (open_images(folder / f"{part}.npz") for part in ("train", "test"))
    assert (len(train), len(test)) == (20, 4) and seen(folder) == {"train.npz", "test.npz"}
    assert train.class_names == ("airplane", "automobile", "bird")
    assert test.classes is not None and test.classes.tolist() == [0, 1, 2, 1]
    assert (test.read(0)[0][:, :, 0] == 77).all() and test.sizes[0] == (32, 32)
    assert get_public("cifar10", tmp_path) == folder


def test_cifar_must_have_the_published_hash(
    cifar_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PUBLIC, "cifar10", replace(PUBLIC["cifar10"], md5="0" * 32))
    with pytest.raises(ImagesError, match="MD5 is not the published 0000"):
        get_public("cifar10", tmp_path)
    assert seen(tmp_path) == set()


# --- sets that the user brings -------------------------------------------------------------------


def cityscapes() -> dict[str, dict[str, bytes]]:
    zips: dict[str, dict[str, bytes]] = {"leftImg8bit": {"license.txt": b""}, "gtFine": {}}
    for split, city in (("train", "aachen"), ("train", "bonn"), ("val", "ulm"), ("test", "x")):
        stem = f"{city}_000000_000019"
        left = f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png"
        zips["leftImg8bit"][left] = png(1, 8, 16)
        fine = f"gtFine/{split}/{city}/{stem}_gtFine"
        labels = np.arange(128).reshape(8, 16) % 35
        zips["gtFine"][f"{fine}_labelIds.png"] = encoded(labels.astype(np.uint8))
        zips["gtFine"][f"{fine}_instanceIds.png"] = encoded((labels * 1000).astype(np.uint16))
        zips["gtFine"][f"{fine}_color.png"] = png(2, 8, 16)
    return zips


@pytest.mark.parametrize("zips", [True, False])
def test_cityscapes_is_prepared_from_zips_or_folders(zips: bool, tmp_path: Path) -> None:
    source = tmp_path / "from"
    source.mkdir()
    for name, files in cityscapes().items():
        if zips:
            (source / f"{name}_trainvaltest.zip").write_bytes(zipped(files))
            continue
        for path, content in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(content)
    folder = prepare("cityscapes", source, tmp_path / "data")
    assert seen(folder) == {"train", "val"}
    train = folder / "train"
    images = open_images(
        train / "photo", labels=train / "label", instances=train / "instance", strict=True
    )
    assert len(images) == 2 and images.label_range() == (0, 34)
    assert int(images.read(0)[2].max()) == 34_000


def test_cityscapes_without_its_labels_names_what_to_bring(tmp_path: Path) -> None:
    (tmp_path / "left.zip").write_bytes(zipped(cityscapes()["leftImg8bit"]))
    with pytest.raises(ImagesError, match=r"3 photos have no label, 'aachen.*gtFine_trainval"):
        prepare("cityscapes", tmp_path, tmp_path / "data")
    assert seen(tmp_path / "data") == set()


def coco(root: Path) -> Path:
    labels = np.full((12, 16), 150, np.uint8)
    labels[0, 0] = 255
    box = [3.0, 3.0, 7.0, 3.0, 7.0, 7.0, 3.0, 7.0]
    things = [
        {"image_id": 7, "segmentation": [box, [11.0, 3.0, 14.0, 3.0, 14.0, 9.0]]},
        {"image_id": 7, "segmentation": {"counts": [1, 2], "size": [12, 16]}, "iscrowd": 1},
        {"image_id": 7, "segmentation": [[v + 2 for v in box]]},
    ]
    root.mkdir()
    for split in ("train", "val"):
        photo = {f"{split}2017/000000000007.jpg": encoded(np.zeros((12, 16, 3), np.uint8), "JPEG")}
        (root / f"{split}2017.zip").write_bytes(zipped(photo))
    stuff = {f"{split}2017/000000000007.png": encoded(labels) for split in ("train", "val")}
    (root / "stuffthingmaps_trainval2017.zip").write_bytes(zipped(stuff))
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        path = root / f"annotations/instances_{split}2017.json"
        path.write_text(json.dumps({"annotations": things}))
    return root


def test_coco_stuff_gets_instance_maps(tmp_path: Path) -> None:
    folder = prepare("coco_stuff", coco(tmp_path / "from"), tmp_path / "data")
    val = folder / "val"
    images = open_images(val / "photo", labels=val / "label", instances=val / "instance")
    assert images.names == ("000000000007.jpg",) and images.label_ids == (150, 255)
    things = images.read(0)[2]
    assert set(np.unique(things)) == {150, 255, THINGS, THINGS + 1}
    assert things[3, 3] == THINGS and things[5, 5] == THINGS + 1  # the later is drawn over
    assert things[3, 12] == THINGS  # the second piece of the first thing
    assert things[11, 0] == 150 and things[0, 0] == 255


def test_coco_stuff_without_annotations_names_them(tmp_path: Path) -> None:
    source = coco(tmp_path / "from")
    (source / "annotations/instances_val2017.json").unlink()
    with pytest.raises(ImagesError, match=r"no instances_val2017\.json"):
        prepare("coco_stuff", source, tmp_path / "data")
    (source / "annotations/instances_val2017.json").write_text("[]")
    with pytest.raises(ImagesError, match="not COCO's"):
        prepare("coco_stuff", source, tmp_path / "data")


@pytest.mark.shared_data
def test_real_coco_labels_are_kept_where_there_is_no_thing() -> None:
    home = Path(os.environ["GANPRESS_DATA"]) / "coco_stuff_samples/val_label"
    labels = decode_ids((home / "000000000139.png").read_bytes(), "139")
    drawn = instance_map(labels, [[[100.0, 100.0, 200.0, 100.0, 200.0, 200.0, 100.0, 200.0]]])
    assert (drawn[120:180, 120:180] == THINGS).all()
    assert (drawn[300:] == labels[300:]).all() and drawn.dtype == np.uint16


@pytest.mark.parametrize("packed", [True, False])
def test_faces_are_cropped_about_the_centre(packed: bool, tmp_path: Path) -> None:
    face = np.zeros((218, 178, 3), np.uint8)
    face[20:198] = (0, 200, 0)  # the central square
    files = {f"img_align_celeba/{i:06d}.png": encoded(face) for i in range(3)}
    (tmp_path / "@eaDir").mkdir()  # of a file server: previews of the same names
    Image.fromarray(face).save(tmp_path / "@eaDir" / "000001.png")
    files["__MACOSX/img_align_celeba/._000001.png"] = b"not a picture"
    (tmp_path / "img_align_celeba.zip").write_bytes(zipped(files))
    folder = prepare("celeba", tmp_path, tmp_path / "data", side=16, pack=packed)
    assert folder.name == "celeba16"
    images = open_images(folder / "faces.npz" if packed else folder)
    assert len(images) == 3 and images.sizes[0] == (16, 16)
    assert (images.read(2)[0] == (0, 200, 0)).all()


def test_preparing_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    for name, error in {
        "horse2zebra": "needs no preparation",
        "cityscape": "did you mean 'cityscapes'",
        "ffhq": "There is no folder",
    }.items():
        with pytest.raises(ConfigError, match=error):
            prepare(name, tmp_path / "nothing", tmp_path)
    with pytest.raises(ImagesError, match="no pictures"):
        prepare("ffhq", tmp_path, tmp_path / "data")
    (tmp_path / "bad.zip").write_bytes(b"bad")
    with pytest.raises(ImagesError, match=r"bad\.zip is a text \('bad'\), not an archive"):
        prepare("ffhq", tmp_path, tmp_path / "data")


# --- the command line ----------------------------------------------------------------------------


def test_the_list_names_every_set_and_how_to_train_with_it() -> None:
    result = CliRunner().invoke(cli.app, ["data", "list"])
    assert result.exit_code == 0
    for name in PUBLIC:
        assert name in result.output
    assert "ganpress data prepare coco_stuff --from FOLDER" in result.output
    assert "--set options.dontcare=true" in result.output


def test_get_prints_the_command_that_trains(server: Server, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["data", "get", "facades", "--to", str(tmp_path)])
    assert result.exit_code == 0
    command = result.output.splitlines()[-1]
    where = tmp_path / "facades/train"
    assert (
        command == f"ganpress train pix2pix --images {where} --side-by-side BA --run runs/facades"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "horse2zebr"], "did you mean 'horse2zebra'"),
        (["get", "cityscapes"], "Get leftImg8bit_trainvaltest.zip"),
        (["get", "maps"], "answered 404"),
        (["prepare", "celeba", "--from", "/nowhere"], "It should hold img_align_celeba.zip"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    words: list[str],
    message: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["ganpress", "data", *words, "--to", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", PUBLIC)
def test_the_printed_command_has_settings_of_its_family(name: str) -> None:
    family, *words = PUBLIC[name].train.format("X", 128).split()
    sets = [value for flag, value in pairwise(words) if flag == "--set"]
    settings = read_config(trainer(family).config, None, sets)
    assert "128" not in " ".join(words) or settings.data.size == 128


def test_every_set_says_how_to_train() -> None:
    for name, entry in PUBLIC.items():
        assert entry.train.format("X", 64).count("X/") + entry.train.count("{0} ") >= 1, name
        assert (entry.url is None) == bool(entry.page and entry.files), name
        assert entry.md5 is None or name == "cifar10"  # the only one that is published
    assert fetch._address("http://host/a/b.zip", "http://mirror/x/") == "http://mirror/x/a/b.zip"
