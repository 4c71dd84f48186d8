"""Picture files of every kind are read; what is not is named and counted, once."""

from __future__ import annotations

import importlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_runs import run_cli, teacher_file
from PIL import Image

from ganpress.data import EXTENSIONS, ImagesWarning, endings, open_images, read_rgb
from ganpress.data.prepare import prepare
from ganpress.errors import ImagesError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def put(folder: Path, *names: str) -> Path:
    """Pictures of one colour, in the format of their ending, or as PNG where Pillow knows none."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = Image.registered_extensions().get(path.suffix.lower(), "PNG")
        image = Image.new("RGB", (16, 16), RED)
        image.save(path, kind if kind in Image.SAVE else "PNG")
    return folder


def write(folder: Path, *names: str) -> Path:
    """Files that are no pictures."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no picture")
    return folder


def said(*paths: Path, **settings: object) -> list[str]:
    """What opening warned of."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        open_images(list(paths), **settings)  # type: ignore[arg-type]
    return [str(one.message) for one in seen if one.category is ImagesWarning]


# --- what is read ---------------------------------------------------------------------------------


def test_every_format_of_pillow_is_read_or_left_alone_on_purpose() -> None:
    kinds = set(Image.registered_extensions().values()) | set(Image.OPEN)
    placed = {*endings._SIGNED, *endings._BY_ENDING, *endings.NOT_READ, "HEIF"}
    assert not kinds - placed
    assert not {*endings._SIGNED, *endings._BY_ENDING} & {*endings.NOT_READ}


WRITABLE = sorted(
    ending
    for ending, kind in Image.registered_extensions().items()
    if ending in EXTENSIONS and kind in Image.SAVE and kind not in ("XBM", "MSP", "BLP", "HEIF")
)


@pytest.mark.parametrize("ending", [".JFIF", ".Jpe", *WRITABLE])
def test_a_picture_of_each_ending_is_read_without_a_word(ending: str, tmp_path: Path) -> None:
    put(tmp_path, f"a{ending}", "b.png")
    assert said(tmp_path, strict=True) == []
    images = open_images(tmp_path)
    assert images.names == (f"a{ending}", "b.png")
    for index in range(2):
        pixels = images.read(index)[0].astype(int)
        assert np.abs(pixels - np.array(RED)).max() <= 8, ending


def test_common_endings_are_among_those_that_are_read() -> None:
    wanted = {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
    assert wanted | {".avif", ".jp2", ".ppm", ".tga"} <= set(EXTENSIONS)
    assert not {".eps", ".ps", ".pdf", ".svg", ".mpg", ".fli", ".h5", ".txt"} & set(EXTENSIONS)


def test_text_under_the_ending_of_a_format_without_a_signature_is_no_picture(
    tmp_path: Path,
) -> None:
    write(put(tmp_path, "a.png"), *(f"b{ending}" for ending in (".tga", ".pcd", ".pcx", ".jpg")))
    assert len(open_images_quietly(tmp_path)) == 1


def open_images_quietly(path: Path) -> tuple[str, ...]:
    with pytest.warns(ImagesWarning):
        return open_images(path).names


def test_a_format_without_a_signature_is_tried_by_its_own_ending_only() -> None:
    stored = io.BytesIO()
    Image.new("RGB", (4, 4), RED).save(stored, "TGA")
    assert endings.formats_of(stored.getvalue(), "a/b.TGA")[-1] == "TGA"
    assert "TGA" not in endings.formats_of(stored.getvalue(), "a/b.png")
    assert not {"EPS", "WMF"} & set(endings.formats_of(b"%!PS-Adobe", "a.eps"))


# --- HEIC -----------------------------------------------------------------------------------------


def heic(path: Path) -> None:
    package = pytest.importorskip("pillow_heif")
    package.register_heif_opener()
    Image.new("RGB", (16, 24), RED).save(path, "HEIF", quality=95)


@pytest.fixture
def without_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is where the extra is not installed."""
    kinds = {e: kind for e, kind in endings._KINDS.items() if kind != "HEIF"}
    monkeypatch.setattr(endings, "_KINDS", kinds)
    looking = importlib.import_module("ganpress.sniff.look")  # the package has its function
    monkeypatch.setattr(looking, "has_heif", lambda: False)
    monkeypatch.setattr(endings, "_register_heif", lambda: False)


@pytest.mark.parametrize("name", ["a.heic", "A.HEIC", "a.heif", "a.hif", "a.jpg"])
def test_a_heic_picture_is_read_by_the_extra_whatever_its_ending(name: str, tmp_path: Path) -> None:
    heic(tmp_path / name)
    images = open_images(tmp_path, strict=True)
    assert images.sizes == ((24, 16),)
    assert np.abs(images.read(0)[0].astype(int) - np.array(RED)).max() <= 8


def test_without_the_extra_heic_files_are_counted_with_the_line_that_installs_it(
    without_heic: None, tmp_path: Path
) -> None:
    put(tmp_path, "a.png")
    write(tmp_path, *(f"{i}.heic" for i in range(10)), "a.txt", "b.txt", "sub/c.HEIC")
    assert said(tmp_path) == [
        f"13 files in {tmp_path} were not read: 11 .heic (pip install 'ganpress[heic]'), 2 .txt."
    ]


def test_without_the_extra_a_heic_picture_of_another_ending_names_it(
    without_heic: None, tmp_path: Path
) -> None:
    heic(put(tmp_path, "b.png") / "a.jpg")
    (text,) = said(tmp_path)
    assert "a.jpg: it is a HEIC picture, which is read after pip install 'ganpress[heic]'" in text


# --- what is not read -----------------------------------------------------------------------------

ADVICE = {
    "a.svg": "a drawing: save it as PNG",
    "a.eps": "a drawing",
    "a.mp4": "a film: save its frames",
    "a.mpg": "a film: save its frames",
    "a.CR2": "a camera's raw data",
    "a.jxl": "save it as PNG",
    "a.zip": "give each as a path of its own",
    "a.tar.gz": "give each as a path of its own",
    "a.npz": "give each as a path of its own",
    "a.7z": "an archive: unpack it",
    "photo": "give each the ending of its format",
    "a.xyz": "a.xyz",
    "a.jpg~": "a.jpg~",
}


@pytest.mark.parametrize("name", ADVICE)
def test_a_file_that_may_be_a_picture_is_named_with_what_to_do(name: str, tmp_path: Path) -> None:
    write(put(tmp_path, "a.png"), name)
    (text,) = said(tmp_path)
    kind = {"photo": "without an ending", "a.tar.gz": ".tar.gz"}.get(name, name[1:].lower())
    assert (
        text.startswith(f"1 file in {tmp_path} was not read: 1 {kind} (") and ADVICE[name] in text
    )
    with pytest.raises(ImagesError, match="was not read") as caught:
        open_images(tmp_path, strict=True)
    assert str(caught.value).startswith(text)
    assert "go without --strict" in str(caught.value)


def test_what_lies_beside_pictures_is_never_mentioned_alone(tmp_path: Path) -> None:
    put(tmp_path, "a.png", ".hidden.png", ".cache/b.png", "__MACOSX/._a.png", "@eaDir/a.png")
    write(tmp_path, "a.txt", "a.json", "README.md", "LICENSE", "labels.csv", "a.xmp")
    write(tmp_path, ".DS_Store", "Thumbs.db", "desktop.ini", ".xyz")
    assert said(tmp_path, strict=True) == []
    assert open_images(tmp_path).names == ("a.png",)


def test_one_warning_covers_all_the_paths_of_an_opening(tmp_path: Path) -> None:
    a, b, y = (put(tmp_path / name, "0.png") for name in ("a", "b", "y"))
    write(a, "0.xyz", "1.xyz")
    write(b, "0.svg", "0.txt", "2.xyz")
    (text,) = said(a, b)
    assert text.startswith(f"5 files in {a}, {b} were not read: 3 .xyz ({a}/0.xyz for one), 1 .svg")
    assert text.endswith("1 .txt.")
    write(y, "0.svg")
    (text,) = said(a, pairs=y)
    assert text.startswith(f"3 files in {a}, {y} were not read:")


def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path, "a.mp4", "b.mp4", "c.txt")
    with pytest.raises(ImagesError, match=r"only 2 \.mp4 \(a film.*\), 1 \.txt: looked for \.jpg"):
        open_images(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_does_not_stop_the_opening(tmp_path: Path) -> None:
    os.mkfifo(put(tmp_path, "a.png") / "b.png")
    (text,) = said(tmp_path)
    assert f"1 pipe, socket or device ({tmp_path}/b.png)" in text


def test_a_folder_that_cannot_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.png", "closed/b.png")
    scan = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (text,) = said(tmp_path)
    assert f"1 folder that cannot be opened (Permission denied) ({tmp_path}/closed)" in text


def test_a_link_in_a_circle_is_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "sub/b.png")
    (tmp_path / "sub/up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    names = open_images_quietly(tmp_path)
    assert names == ("a.png", "sub/b.png")


# --- several frames -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_the_first_frame_of_an_animation_is_used_and_that_is_said_once(
    kind: str, tmp_path: Path
) -> None:
    first, *rest = (Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE, (0, 255, 0)))
    for name in ("a", "b"):
        path = tmp_path / f"{name}.{kind.lower()}"
        first.save(path, kind, save_all=True, append_images=rest, **LOSSLESS.get(kind, {}))
    first.save(tmp_path / f"c.{kind.lower()}", kind)
    where = ", ".join(f"{tmp_path}/{name}.{kind.lower()} (3)" for name in "ab")
    expected = f"2 files have several frames, of which the first is used: {where}."
    assert said(tmp_path) == [expected] == said(tmp_path, strict=True)
    with pytest.warns(ImagesWarning):
        pixels = open_images(tmp_path).read(0)[0].astype(int)
    assert np.abs(pixels - np.array(RED)).max() <= 8


LOSSLESS: dict[str, dict[str, object]] = {"WEBP": {"lossless": True}}


# --- maps of ids ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["0.jp2", "0.jpe", "0.tga", "0.pgm"])
def test_a_format_that_may_change_ids_is_no_label_map(name: str, tmp_path: Path) -> None:
    put(tmp_path / "x", "0.png")
    (tmp_path / "m").mkdir()
    Image.new("L", (16, 16), 3).save(tmp_path / "m" / name)
    with pytest.raises(ImagesError, match=r"changes ids|may not keep ids"):
        open_images(tmp_path / "x", labels=tmp_path / "m")


def test_a_tiff_that_holds_a_jpeg_is_no_label_map(tmp_path: Path) -> None:
    put(tmp_path / "x", "0.png")
    (tmp_path / "m").mkdir()
    Image.new("L", (16, 16), 3).save(tmp_path / "m/0.tif", compression="jpeg")
    with pytest.raises(ImagesError, match="JPEG, whose compression changes ids"):
        open_images(tmp_path / "x", labels=tmp_path / "m")


def test_ids_in_a_tiff_of_four_bits_are_read_as_they_are_stored(tmp_path: Path) -> None:
    entries = [(256, 3, 4), (257, 3, 1), (258, 3, 4), (259, 3, 1), (262, 3, 1), (273, 4, 8),
               (278, 3, 1), (279, 4, 2)]  # fmt: skip
    fields = b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + b"\1\0\0\0"
        + v.to_bytes(4, "little")
        for tag, kind, v in entries
    )
    count = len(entries).to_bytes(2, "little")
    tiff = b"II*\0\x0c\0\0\0" + b"\x01\x2f\0\0" + count + fields + bytes(4)
    put(tmp_path / "x", "0.png")
    Image.new("RGB", (4, 1), RED).save(tmp_path / "x/0.png")
    (tmp_path / "m").mkdir()
    (tmp_path / "m/0.tif").write_bytes(tiff)
    images = open_images(tmp_path / "x", labels=tmp_path / "m")
    assert images.label_ids == (0, 1, 2, 15) and images.read(0)[1].tolist() == [[0, 1, 2, 15]]


def test_the_first_map_with_an_id_is_named_and_the_others_counted(tmp_path: Path) -> None:
    put(tmp_path / "x", "0.png", "1.png", "2.png")
    (tmp_path / "m").mkdir()
    for index, label in enumerate([1, 7, 7]):
        Image.new("L", (16, 16), label).save(tmp_path / f"m/{index}.png")
    images = open_images(tmp_path / "x", labels=tmp_path / "m")
    assert images.maps_with(7) == f"{tmp_path}/m/1.png (and 1 more)"
    assert images.maps_with(1) == f"{tmp_path}/m/0.png" and images.maps_with(3) == "none"


# --- through the command line ---------------------------------------------------------------------


def test_the_command_line_names_what_it_did_not_read_and_strict_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = teacher_file(tmp_path / "m.safetensors")
    write(put(tmp_path / "a", "0.jfif", "1.gif"), "2.svg", "3.txt")
    line = ["evaluate", model, "--teacher", model, "--images", tmp_path / "a", "--size", 16,
            "--features", "tiny"]  # fmt: skip
    done = run_cli(capsys, *line)
    assert done.code == 0 and ", 2 pictures)" in done.out
    assert done.err.count("warning:") == 1
    assert "2 files in" in done.err and "1 .svg (a drawing: save it as PNG), 1 .txt." in done.err
    refused = run_cli(capsys, *line, "--strict")
    assert refused.code == 2 and "1 .svg" in refused.err and not refused.out
    (tmp_path / "a/2.svg").unlink()
    done = run_cli(capsys, *line, "--strict")
    assert done.code == 0 and not done.err


def test_faces_are_prepared_of_every_kind_of_picture_and_the_rest_is_named(tmp_path: Path) -> None:
    write(put(tmp_path / "raw", "a.jfif", "b.gif", "c.png"), "d.svg", "e.txt")
    with pytest.warns(ImagesWarning, match=r"2 files in .*raw were not read: 1 \.svg"):
        folder = prepare("ffhq", tmp_path / "raw", tmp_path / "out", side=8)
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png", "c.png"]
    assert read_rgb(folder / "b.png").shape == (8, 8, 3)
