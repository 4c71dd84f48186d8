"""Files that are not what they say: every reader says what the file is and what to do."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import WIRINGS
from odd_files import LFS, ODD, Odd
from PIL import Image

from ganpress.cli import app as cli
from ganpress.data import open_images
from ganpress.data.decode import decode_ids, probe, read_rgb
from ganpress.data.prepare import _members
from ganpress.editing.direction_file import load_directions
from ganpress.errors import CheckpointError, GanpressError, ImagesError
from ganpress.formats.importers import cyclegan, import_model
from ganpress.losses.features import load_features
from ganpress.losses.weights import read_weights
from ganpress.measures.metrics.classifier import load_classifier
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import load, save
from ganpress.models.discriminator_file import load_discriminator
from ganpress.report.pictures import open_picture
from ganpress.run.files import read_json
from ganpress.run.settings import read_config
from ganpress.run.snapshot import read_state
from ganpress.sniff import folder_of, look, misplaced

READERS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "model": ("model", ".safetensors", load),
    "model by another name": ("model", ".pth", load),
    "discriminator": ("model", ".safetensors", load_discriminator),
    "directions": ("directions", ".safetensors", load_directions),
    "checkpoint .pth": ("checkpoint", ".pth", lambda p: import_model("auto", p)),
    "checkpoint .pkl": ("checkpoint", ".pkl", lambda p: import_model("stylegan2-nvlabs", p)),
    "checkpoint .safetensors": ("checkpoint", ".safetensors", lambda p: import_model("auto", p)),
    "weights": ("weights", ".pth", read_weights),
    "feature network": ("weights", ".safetensors", lambda p: load_features("vgg16", weights=p)),
    "classifier": ("weights", ".pth", lambda p: load_classifier(weights=p)),
    "picture": ("picture", ".png", read_rgb),
    "picture of a folder": ("picture", ".jpg", lambda p: probe(p.read_bytes(), str(p))),
    "folder": ("picture", ".jpg", lambda p: open_images(p.parent, strict=True)),
    "label map": ("picture", ".png", lambda p: decode_ids(p.read_bytes(), str(p))),
    "pack": ("pack", ".npz", open_images),
    "images": ("archive", ".zip", open_images),
    "picture of a run": ("picture", ".png", open_picture),
    "training state": ("state", ".pt", read_state),
    "settings": ("settings", ".toml", lambda p: read_config(SlimConfig, p)),
    "json": ("json", ".json", read_json),
    "prepared zip": ("archive", ".zip", lambda p: _members(p.parent)),
}
looking = importlib.import_module("ganpress.sniff.look")  # the package has its function
FORBIDDEN = re.compile(r"allow_pickle|weights_only|Traceback|codec can't|HeaderToo|UTF-8|\.\.$")


def is_read(reader: str, wanted: str, odd: Odd, name: str) -> bool:
    """Whether the reader may take the file, or fail on it in its own words."""
    archive = wanted == "archive" and "archive" in odd.words and "half" not in name
    document = wanted == "archive" and odd.words.startswith(("a Keras", "a TorchScript"))
    zips = wanted == "archive" and name in ("torch", "npz", "zeros")  # zeros are an empty tar
    pillow = wanted == "picture" and name == "pnm" and reader == "picture of a run"
    return wanted in odd.good_for or archive or document or zips or pillow


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_says_what_a_misplaced_file_is_and_what_to_do(reader: str, tmp_path: Path) -> None:
    wanted, suffix, read = READERS[reader]
    path = tmp_path / "folder" / f"file{suffix}"
    path.parent.mkdir()
    wrong = []
    for name, odd in ODD.items():
        if is_read(reader, wanted, odd, name):
            continue
        path.write_bytes(odd.make())
        with pytest.raises(GanpressError) as caught:
            read(path)
        said = str(caught.value)
        advises = re.search(r"\. [A-Z'].{10,}", said.partition(odd.words)[2])
        if not (odd.words in said and str(path) in said and advises) or FORBIDDEN.search(said):
            wrong.append(f"{name}: {said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ODD)
def test_a_file_is_known_by_its_bytes_under_any_name(name: str, tmp_path: Path) -> None:
    data = ODD[name].make()
    for suffix in (".pth", ".jpg", ".npz", ".zip", ""):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(data)
        assert ODD[name].words.removeprefix("a ").removeprefix("an ") in look(path).what
    assert look(path) == look(data)


@pytest.mark.parametrize("name", [n for n, odd in ODD.items() if odd.good_for])
def test_a_file_in_its_place_is_never_called_misplaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "has_heif", lambda: True)
    monkeypatch.setattr(looking, "_has_avif", lambda: True)
    path = tmp_path / "x"
    path.write_bytes(ODD[name].make())
    for wanted in ODD[name].good_for:
        assert misplaced(path, wanted) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "reader"), [("heic", "has_heif"), ("avif", "_has_avif")])
def test_a_picture_that_an_extra_reads_is_a_picture_and_the_extra_is_named(
    name: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, reader, lambda: False)
    odd, extra = ODD[name], "pip install 'ganpress[heic]'"
    data = odd.make()
    assert look(data).group == "picture" and look(data).needs == extra
    assert misplaced(data, "picture") == f"is {odd.words}, which is read after {extra}"
    assert misplaced(data, "model").startswith(f"is {odd.words}, not a ganpress model")
    for file in ("a.jpg", "a.png"):
        (tmp_path / file).write_bytes(data)
        with pytest.raises(ImagesError) as caught:
            read_rgb(tmp_path / file)
        assert str(caught.value).endswith(f"it is {odd.words}, which is read after {extra}.")
    monkeypatch.setattr(looking, reader, lambda: True)
    assert look(data).needs == "" and misplaced(data, "picture") == ""


def test_random_bytes_are_no_kind_of_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for size in (1, 7, 100, 70_000):
        for _ in range(50):
            data = draw.integers(128, 256, size, np.uint8).tobytes()
            assert look(data).group == "unknown", data[:16]


def test_half_a_download_is_named_as_one(tmp_path: Path) -> None:
    whole = ODD["torch"].make()
    part = tmp_path / "net.pth.crdownload"
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"an unfinished download .* Let it finish"):
        import_model("auto", part)
    preallocated = tmp_path / "net.pth"
    preallocated.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    (tmp_path / "net.pth.aria2").write_bytes(b"\0\1")
    with pytest.raises(CheckpointError, match="an unfinished download"):
        import_model("auto", preallocated)
    part.write_bytes(whole)  # whole after all: the name alone is no reason
    assert misplaced(part, "checkpoint") == ""


def test_how_much_of_a_safetensors_file_is_missing_is_said(tmp_path: Path) -> None:
    whole = ODD["safetensors"].make()
    (tmp_path / "a.safetensors").write_bytes(whole[:-5])
    with pytest.raises(CheckpointError, match=rf"it has {len(whole) - 5:,} of its {len(whole):,}"):
        import_model("auto", tmp_path / "a.safetensors")


def test_a_dead_link_is_named_with_what_it_leads_to(tmp_path: Path) -> None:
    link = tmp_path / "net.pth"
    link.symlink_to(".git/annex/objects/a/b/SHA256E-s9--c.pth")
    for read in (lambda p: import_model("auto", p), load):
        with pytest.raises(CheckpointError, match=r"is a link to .*annex.*git annex get"):
            read(link)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(ImagesError, match=r"a\.jpg: it is a link to .*gone\.jpg, which is not"):
        open_images(photos)
    (tmp_path / "pack.npz").symlink_to("gone.npz")
    with pytest.raises(ImagesError, match=r"is a link to gone\.npz"):
        open_images(tmp_path / "pack.npz")


def test_commands_in_advice_name_the_whole_path(tmp_path: Path) -> None:
    folder = tmp_path / "my models"
    (folder / "net").mkdir(parents=True)
    path = folder / "net.pth"
    path.write_bytes(ODD["torch"].make())
    assert f"ganpress import auto '{path}' -o" in misplaced(path, "model")
    spaced = folder / "my net"
    (spaced / "data").mkdir(parents=True)
    (spaced / "data.pkl").write_bytes(b"\x80\x02")
    assert f"(cd '{folder}' && zip -0 -r 'my net.pth' 'my net')" in folder_of(spaced)


FOLDERS: dict[str, tuple[tuple[str, ...], str]] = {
    "unpacked": (("data.pkl", "data/0", "version"), "a torch checkpoint that was unpacked"),
    "distributed": ((".metadata", "__0_0.distcp"), "a distributed checkpoint"),
    "saved": (("saved_model.pb", "variables/variables.index"), "a TensorFlow SavedModel"),
    "m.mlpackage": (("Manifest.json", "Data/a.mlmodel"), "a Core ML package"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_in_place_of_a_checkpoint_is_named_as_what_it_is(
    name: str, tmp_path: Path
) -> None:
    files, words = FOLDERS[name]
    for file in files:
        (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / file).write_bytes(b"\x08")
    with pytest.raises(CheckpointError, match=rf"{name} is {words}\. \w"):
        import_model("auto", tmp_path / name)


def test_an_unpacked_checkpoint_is_read_again_when_packed_as_the_message_says(
    tmp_path: Path,
) -> None:
    model = WIRINGS["cyclegan instance"].model()
    torch.save(cyclegan.state_of(model), tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as archive:
        archive.extractall(tmp_path / "out")
    inner = next((tmp_path / "out").rglob("data.pkl"))
    with pytest.raises(CheckpointError, match=r"was unpacked.*zip -0 -r net\.pth net\)"):
        import_model("auto", inner)
    with zipfile.ZipFile(tmp_path / "again.pth", "w", zipfile.ZIP_STORED) as packed:
        for file in sorted(inner.parent.rglob("*")):
            packed.write(file, file.relative_to(inner.parent.parent))
    assert import_model("auto", tmp_path / "again.pth").widths == model.widths


PATHS = {
    "https://example.com/net_G.pth": "Download it",
    "file:///data/net_G.pth": "Give the path: /data/net_G.pth",
    "hub:owner/name": "ganpress pull",
    "*.pth": "is a pattern that matches nothing here",
    "model.ckpt-100": "a TensorFlow checkpoint's files",
}


@pytest.mark.parametrize("given", PATHS)
def test_a_path_that_is_none_is_named_as_what_it_is(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.ckpt-100.index").write_bytes(b"\0")
    Path("model.ckpt-100.meta").write_bytes(b"\0")
    with pytest.raises(CheckpointError, match=re.escape(PATHS[given])):
        import_model("auto", given)
    with pytest.raises(ImagesError, match=re.escape(PATHS[given])):
        open_images(Path(given))


def test_a_part_of_a_distributed_checkpoint_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "__0_0.distcp").write_bytes(ODD["torch"].make())
    with pytest.raises(CheckpointError, match=r"a part of a distributed checkpoint.*dcp_to_torch"):
        import_model("auto", tmp_path / "__0_0.distcp")


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error":"Access to model x is restricted. You must be authenticated to access it."}',
        b"Invalid username or password.",
        b"404: Not Found",
        b"Entry not found",
    ],
)
def test_what_a_server_answered_in_place_of_a_file_says_to_download_again(
    answer: bytes, tmp_path: Path
) -> None:
    (tmp_path / "g.safetensors").write_bytes(answer)
    assert "The download was answered with a page" in misplaced(
        tmp_path / "g.safetensors", "checkpoint"
    )
    (tmp_path / "t.txt").write_bytes(b"photo.png\n404.png\n")
    assert "answered" not in misplaced(tmp_path / "t.txt", "checkpoint")


def test_python_objects_in_a_pack_are_refused_without_advice_to_unpickle(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ImagesError, match="it holds Python objects") as caught:
        open_images(tmp_path / "a.npz")
    assert "allow_pickle" not in str(caught.value)


def test_one_bad_picture_of_a_folder_is_left_out_by_what_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "good.png")
    for name in ("safetensors", "git-lfs pointer", "html page"):
        (tmp_path / f"{name}.jpg").write_bytes(ODD[name].make())
    with pytest.warns(UserWarning, match="Left out 3 of 4") as caught:
        assert len(open_images(tmp_path)) == 1
    said = str(caught[0].message)
    assert all(ODD[n].words in said for n in ("safetensors", "git-lfs pointer", "html page"))


def test_published_weights_that_are_a_pointer_are_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "vgg16-397923af.pth").write_bytes(LFS)
    with pytest.raises(GanpressError, match=r"VGG-16.* is a git-lfs pointer.*git lfs pull"):
        load_features("vgg16", weights=tmp_path)


# --- the advice is taken --------------------------------------------------------------------------

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def ganpress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process: arguments -> exit code and all it said."""

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ganpress", *map(str, arguments)])
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            with pytest.raises(SystemExit) as end:
                cli.main()
        out = capsys.readouterr()
        return int(end.value.code or 0), out.out + out.err

    return command


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A CycleGAN generator as junyanz's code saves it."""
    path = tmp_path / "net_G.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(cyclegan.state_of(WIRINGS["cyclegan instance"].model()), path)
    return path


def test_the_advice_to_import_a_checkpoint_is_accepted(
    checkpoint: Path, ganpress: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    code, said = ganpress("export", checkpoint.name, "-o", "x.onnx")
    assert code == 2
    line = re.search(r"'ganpress (import .*?)'", said)
    assert line is not None, said
    assert ganpress(*line[1].split())[0] == 0
    assert load(line[1].split()[-1]).family.name == "cyclegan"


def test_the_advice_to_unpack_an_archive_names_the_file_that_is_then_accepted(
    checkpoint: Path, tmp_path: Path, ganpress: Run
) -> None:
    packed = tmp_path / "weights.pth"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("read.me", "x")
        archive.write(checkpoint, "nets/net_G.pth")
    code, said = ganpress("import", "auto", packed, "-o", tmp_path / "out.safetensors")
    inside = re.search(r"[Gg]ive (\S+) from it", said)
    assert code == 2 and inside is not None, said
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path)
    code, _ = ganpress("import", "auto", tmp_path / inside[1], "-o", tmp_path / "out.safetensors")
    assert code == 0


def test_the_advice_on_settings_and_on_single_pictures_is_accepted(
    tmp_path: Path, ganpress: Run
) -> None:
    (tmp_path / "bad.toml").write_bytes(ODD["onnx"].make())
    with pytest.raises(GanpressError, match="'ganpress settings' prints it"):
        read_config(SlimConfig, tmp_path / "bad.toml")
    (tmp_path / "good.toml").write_text(ganpress("settings", "slim")[1])
    assert read_config(SlimConfig, tmp_path / "good.toml") == SlimConfig()
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "photos" / "a.png")
    with pytest.raises(ImagesError) as caught:
        open_images(tmp_path / "photos" / "a.png")
    folder = re.search(r"Give the folder: (\S+)$", str(caught.value))
    assert folder is not None and len(open_images(Path(folder[1]))) == 1


@pytest.mark.parametrize(
    ("name", "file", "advice"),
    [
        ("zip of a checkpoint", "a.zip", "No images in .* Check the path"),
        ("JPEG", "a.npz", "Name it so, and give its folder"),
        ("lmdb", "data.mdb", "Write its pictures to a folder as PNG"),
        ("half a torch", "a.npz", "Give the folder that the pictures lie in"),
    ],
)
def test_the_advice_fits_what_was_found_in_place_of_pictures(
    name: str, file: str, advice: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_bytes(ODD[name].make())
    with pytest.raises(ImagesError, match=advice):
        open_images(tmp_path / file)


def test_an_archive_of_pictures_is_not_offered_as_one_of_weights(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(ODD["zip of pictures"].make())
    with pytest.raises(CheckpointError, match=r"zip archive of 2 pictures.* Give the network's"):
        import_model("auto", tmp_path / "net.pth")


def test_a_damaged_discriminator_of_a_finished_stage_says_how_to_go_on(tmp_path: Path) -> None:
    from ganpress.training.discriminator import DiscriminatorWithLoss
    from ganpress.training.settings import RunSettings
    from ganpress.training.setup import take_up

    save(WIRINGS["cyclegan instance"].model(), tmp_path / "student.safetensors")
    discriminator = DiscriminatorWithLoss(own=WIRINGS["cyclegan instance"].discriminator())
    for data in (LFS, b"", ODD["torch"].make()[:300], ODD["torch"].make()):
        (tmp_path / "discriminator.pt").write_bytes(data)
        with pytest.raises(CheckpointError, match=re.escape(str(tmp_path))) as caught:
            take_up(tmp_path, discriminator, RunSettings())
        assert "again" in str(caught.value) or "start in another" in str(caught.value)


def test_whole_files_of_one_s_own_are_still_read(tmp_path: Path) -> None:
    torch.save({"step": 3, "elapsed_s": 1.0, "of": {}}, tmp_path / "state.pt")
    assert read_state(tmp_path / "state.pt")["step"] == 3
    weights = {"a": torch.ones(2)}
    for legacy in (True, False):
        torch.save(
            {"state_dict": weights}, tmp_path / "w.bin", _use_new_zipfile_serialization=legacy
        )
        assert torch.equal(read_weights(tmp_path / "w.bin")["a"], weights["a"])
    (tmp_path / "w.pth").write_bytes(ODD["safetensors"].make())
    assert set(read_weights(tmp_path / "w.pth")) == {"model.1.weight", "model.1.bias"}
