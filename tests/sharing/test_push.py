"""Push to a stand-in of the hub: what arrives, what is refused, what is never sent."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cli_runs import teacher_file
from hub_state import READER, WRITER, Hub
from patience import PATIENCE_S
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from shared_run import TERMS, a_run, push, same_picture

import ganpress
from ganpress.errors import HubError
from ganpress.formats.exporters.form import Form
from ganpress.models.checkpoint import fingerprint
from ganpress.sharing.contents import form_of
from ganpress.sharing.private import without_paths


@pytest.fixture(autouse=True)
def offline_afterwards(hub: Hub) -> None:
    """Every test has the stand-in: none could reach another host by mistake."""


def test_the_library_of_the_hub_imports_neither_torchvision_nor_torch() -> None:
    code = (
        "import sys; from huggingface_hub import HfApi, hf_hub_download, CommitOperationAdd; "
        "HfApi(); assert not {'torchvision', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr


def test_a_pushed_model_is_the_same_network_when_it_is_loaded_from_its_address(
    hub: Hub, tmp_path: Path
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    pushed = push(file)
    assert pushed.address == "hub:alice/toon"
    assert set(hub.files("alice/toon")) == {"README.md", "model.json", "model.safetensors"}
    loaded, own = ganpress.load("hub:alice/toon"), ganpress.load(file)
    assert fingerprint(loaded.net) == fingerprint(own.net)
    card = json.loads(hub.files("alice/toon")["model.json"])
    assert card["widths"] == own.widths and card["family"] == "cartoongan"


def test_a_second_load_fetches_no_byte_of_the_model_again(hub: Hub, tmp_path: Path) -> None:
    push(teacher_file(tmp_path / "t.safetensors"))
    ganpress.load("hub:alice/toon")
    assert len(hub.sent("GET", "/cdn/")) == 2  # its head, then all of it
    ganpress.load("hub:alice/toon")
    assert len(hub.sent("GET", "/cdn/")) == 2


def test_an_onnx_file_is_made_checked_and_pushed(hub: Hub, tmp_path: Path) -> None:
    model = ganpress.load(teacher_file(tmp_path / "t.safetensors"))
    model.provenance = {"source": "/home/ann-secret/t.pth"}
    file = ganpress.save(model, tmp_path / "t.safetensors")
    ganpress.push(file, "alice/toon", quiet=True, **TERMS)
    data = hub.files("alice/toon")["model.onnx"]
    assert b"ann-secret" not in data and b"t.pth" in data
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    shape = [d if isinstance(d, int) else 64 for d in session.get_inputs()[0].shape]
    x = torch.rand([1, *shape[1:]], generator=torch.Generator().manual_seed(0)) * 2 - 1
    (made,) = session.run(None, {"image": x.numpy()})
    want = ganpress.load(file)(x)
    assert (torch.from_numpy(made) - want).abs().max() < 1e-4
    assert "`model.onnx`" in hub.files("alice/toon")["README.md"].decode()


@pytest.mark.parametrize(
    ("dims", "form"),
    [
        ([1, 3, 32, 48], Form((32, 48))),
        ([4, 3, 32, 32], Form(32, batch=4)),
        (["batch", 3, 32, 32], Form(256, dynamic=True)),
        ([1, 3, "height", "width"], Form(256, dynamic=True)),
    ],
)
def test_a_runs_exported_file_is_shared_in_the_shapes_that_it_had(
    tmp_path: Path, dims: list[int | str], form: Form
) -> None:
    (tmp_path / "s.onnx").write_bytes(same_picture(dims))
    model = ganpress.load(teacher_file(tmp_path / "t.safetensors"))
    assert form_of(model, tmp_path / "s.onnx") == form


def test_the_onnx_file_of_a_run_that_is_not_its_students_is_not_shared(
    hub: Hub, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "run")
    (run / "student.onnx").write_bytes(b"\x08\x0ano network at all")
    with pytest.warns(UserWarning, match="No ONNX file is shared"):
        ganpress.push(run, "alice/toon", quiet=True, **TERMS)
    assert "model.onnx" not in hub.files("alice/toon")


def test_a_push_to_a_branch_leaves_main_as_it_was_and_loads_by_its_revision(
    hub: Hub, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    push(teacher_file(first))
    push(teacher_file(second, "cyclegan"), revision="v2", message="another family")
    assert ganpress.load("hub:alice/toon").family.name == "cartoongan"
    assert ganpress.load("hub:alice/toon@v2").family.name == "cyclegan"
    assert hub.repos["alice/toon"].messages[-1] == "another family"


def test_a_later_push_removes_what_an_earlier_one_left_and_no_file_of_the_owners(
    hub: Hub, tmp_path: Path
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    hub.add("alice/toon", {"model.onnx": b"old", "NOTES.md": b"mine", "model-A2B.json": b"{}"})
    push(file)
    there = set(hub.files("alice/toon"))
    assert there == {"NOTES.md", "README.md", "model.json", "model.safetensors"}


def test_a_private_push_makes_a_private_repository_and_no_public_one_takes_it(
    hub: Hub, tmp_path: Path
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    push(file, private=True)
    assert hub.repos["alice/toon"].private
    hub.add("alice/open", {"README.md": b"x"})
    with pytest.raises(HubError, match="everybody sees it: nothing was pushed"):
        push(file, "alice/open", private=True)
    with pytest.raises(HubError, match="nothing was pushed"):
        push(file, "alice/open", private=True, revision="v2")
    assert set(hub.files("alice/open")) == {"README.md"}
    assert set(hub.repos["alice/open"].refs) == {"main"}


def test_an_upload_that_breaks_off_leaves_nothing_and_goes_on_when_pushed_again(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda s: None, time=time.time))
    file, picture = teacher_file(tmp_path / "t.safetensors"), tmp_path / "p.png"
    Image.new("RGB", (8, 8)).save(picture)
    hub.add("alice/toon", {"README.md": b"before"})
    hub.break_uploads = 100
    with pytest.raises(HubError, match="cannot be reached"):
        push(file, picture=picture)
    assert hub.files("alice/toon") == {"README.md": b"before"}
    hub.break_uploads, hub.requests = 0, []
    push(file, picture=picture)
    hub.requests = []
    push(file, picture=picture, message="the same again")
    assert hub.sent("PUT", "/lfs/") == []


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "There is no token for .*hf auth login"),
        (READER, "it needs write access to 'alice'"),
        ("hf_expired", "the token is missing, invalid or expired"),
    ],
)
def test_a_push_without_the_right_token_says_which_is_needed_and_never_shows_it(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    file = teacher_file(tmp_path / "t.safetensors")
    with pytest.raises(HubError, match=said) as caught:
        push(file)
    assert not token or token not in str(caught.value)
    assert "alice/toon" not in hub.repos


def test_a_token_that_the_hub_sends_back_is_not_shown(hub: Hub, tmp_path: Path) -> None:
    from ganpress.run.hub.address import read_address
    from ganpress.run.hub.client import from_library

    error = ValueError(f"bad header Authorization: Bearer {WRITER}")
    said = str(from_library(error, read_address("alice/toon"), "pushing"))
    assert WRITER not in said and "Bearer (token)" in said


def test_no_token_is_in_anything_that_is_pushed_or_goes_to_another_host(
    hub: Hub, tmp_path: Path
) -> None:
    push(a_run(tmp_path / "run"))
    ganpress.load("hub:alice/toon")
    assert all(WRITER.encode() not in data for data in hub.files("alice/toon").values())
    assert {token for _, path, token in hub.requests if path.startswith("/cdn/")} == {None}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ann/photos/a.png", "a.png"),
        ("ganpress run m --images /home/ann/a -o ~/b/c", "ganpress run m --images a -o c"),
        ("C:\\Users\\Ann\\teacher.pth", "teacher.pth"),
        ("(see /tmp/a/b.json).", "(see b.json)."),
        ("https://openmoji.org/library", "https://openmoji.org/library"),
        ("L1 / 2 and and/or", "L1 / 2 and and/or"),
        ("runs/mine/student.safetensors", "runs/mine/student.safetensors"),
        ("hub:alice/toon", "hub:alice/toon"),
        ("/home/ann lee/photos/a.png", "a.png"),
        ("C:\\Users\\Ann Lee\\t.pth", "t.pth"),
        ("ganpress run m --images '/home/ann lee/a b' -o c", "ganpress run m --images 'a b' -o c"),
        ('in "/srv/ann lee/x", not here', 'in "x", not here'),
        ("photos of /home/ann lee/mine/a", "photos of a"),
        ("file:///home/ann/a.png", "a.png"),
        ("server:/home/ann/a.png", "server:a.png"),
        ("~ann/a and ../../ann/b", "a and b"),
        ("--images=/home/ann/a", "--images=a"),
        ("\\\\server\\ann\\a.png", "a.png"),
        ("/home/o'brien/a.png", "a.png"),
        ("/home/o'brien/my photos/a.png", "a.png"),
        ("/srv/ann's photos/mine/a.png", "a.png"),
        ("/srv/the james' photos/mine/a.png", "a.png"),
        ("ganpress run m --images /home/o'brien/a -o c", "ganpress run m --images a -o c"),
        ("in '/home/o'brien/x' and '/srv/y/z'", "in 'x' and 'z'"),
        ('in "/home/o\'brien/my own/x", not here', 'in "x", not here'),
        ("/srv/a is not in '/home/o/b', nor in '/c/d'", "a is not in 'b', nor in 'd'"),
        ("a 1:1 ratio, 3/4 of http://a.b/c d/e", "a 1:1 ratio, 3/4 of http://a.b/c d/e"),
    ],
)  # fmt: skip
def test_a_path_that_leads_out_of_the_folder_is_shared_by_its_last_part(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann lee")
    assert without_paths({text: [text]}) == {shown: [shown]}


def test_no_path_of_this_machine_is_in_anything_that_is_pushed(hub: Hub, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    model = ganpress.load(run / "student.safetensors")
    secret = "/home/ann-secret/photos"
    model.provenance = {"source": f"{secret}/t.pth", "settings": {"mask": {"source": secret}}}
    ganpress.save(model, run / "student.safetensors", half=True)
    results = json.loads((run / "results.json").read_text())
    results["evaluation"]["protocol"]["mask"] = secret
    (run / "results.json").write_text(json.dumps(results))
    push(run)
    there = hub.files("alice/toon")
    assert {"model.json", "model.safetensors", "results.json", "README.md"} < there.keys()
    assert [name for name, data in there.items() if b"ann-secret" in data] == []
    pushed, own = tmp_path / "p.safetensors", run / "student.safetensors"
    pushed.write_bytes(there["model.safetensors"])
    for (name, a), (other, b) in zip(tensors_of(pushed), tensors_of(own), strict=True):
        assert name == other and a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize(("name", "kept"), [("p.jpeg", "samples.jpg"), ("p.PNG", "samples.png")])
def test_a_picture_is_shared_upright_without_where_and_by_whom_it_was_taken(
    hub: Hub, tmp_path: Path, name: str, kept: str
) -> None:
    photo, exif = Image.new("RGB", (8, 4), (200, 0, 0)), Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "Ann Secret"  # turned by 90 degrees; the artist
    exif.get_ifd(0x8825)[1] = "N"
    comment = {"comment": b"Ann Secret"} if kept == "samples.jpg" else {}
    words = PngInfo()
    words.add_text("Author", "Ann Secret")
    photo.save(tmp_path / name, exif=exif, pnginfo=words, **comment)
    push(teacher_file(tmp_path / "t.safetensors"), picture=tmp_path / name)
    data = hub.files("alice/toon")[kept]
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.size == (4, 8) and not shown.getexif() and b"Secret" not in data
        assert np.abs(np.asarray(shown.convert("RGB"), float)[0, 0] - (200, 0, 0)).max() < 4


@pytest.mark.parametrize(
    ("mode", "space", "stays"),
    [("RGB", b"RGB ", True), ("CMYK", b"CMYK", False), ("L", b"GRAY", False)],
)
def test_a_colour_profile_is_shared_with_a_picture_of_its_colours_alone(
    hub: Hub, tmp_path: Path, mode: str, space: bytes, stays: bool
) -> None:
    profile = bytes(16) + space + bytes(108)
    Image.new(mode, (8, 4)).save(tmp_path / "p.jpg", icc_profile=profile)
    push(teacher_file(tmp_path / "t.safetensors"), picture=tmp_path / "p.jpg")
    with Image.open(io.BytesIO(hub.files("alice/toon")["samples.jpg"])) as shown:
        assert shown.mode == "RGB"
        assert shown.info.get("icc_profile") == (profile if stays else None)


def tensors_of(file: Path) -> list[tuple[str, torch.Tensor]]:
    from safetensors.torch import load_file

    return sorted(load_file(file).items())


def test_unknown_terms_are_a_warning_that_says_what_to_set(hub: Hub, tmp_path: Path) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    with pytest.warns(UserWarning, match=r"are not known. Say them: --licence .* --terms"):
        ganpress.push(file, "alice/toon", onnx=False, quiet=True)
    assert b"Not stated" in hub.files("alice/toon")["README.md"]


def test_a_pushed_run_has_its_results_its_samples_and_the_names_of_a_model(
    hub: Hub, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "run")
    push(run)
    there = hub.files("alice/toon")
    assert set(there) == {
        *("README.md", "model.json", "model.safetensors", "results.json", "samples.png")
    }
    assert json.loads(there["results.json"]) == json.loads((run / "results.json").read_text())
    (tmp_path / "s.png").write_bytes(there["samples.png"])
    with Image.open(tmp_path / "s.png") as shown:  # photo, teacher, student; two samples
        assert shown.size == (3 * 8 + 2 * 2, 2 * 8 + 2)
        assert shown.getpixel((0, 0)) == (10, 0, 0) and shown.getpixel((20, 10)) == (30, 1, 0)


def test_samples_with_alpha_are_shown_on_white(hub: Hub, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    for path in (run / "samples").glob("*.png"):
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(path)
    push(run)
    with Image.open(io.BytesIO(hub.files("alice/toon")["samples.png"])) as shown:
        assert shown.convert("RGB").getextrema() == ((255, 255),) * 3


def test_both_directions_of_a_training_are_pushed_and_load_by_their_names(
    hub: Hub, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    teachers = {}
    for way, family in {"A2B": "cyclegan", "B2A": "cartoongan"}.items():
        teacher_file(run / f"teacher-{way}.safetensors", family)
        teachers[way] = {"file": f"teacher-{way}.safetensors", "params": 5}
    (run / "config.json").write_text(json.dumps({"train": "cyclegan"}))
    (run / "results.json").write_text(json.dumps({"teachers": teachers}))
    made = push(run)
    assert made.address == "hub:alice/toon/model-A2B.safetensors"
    assert f'ganpress.load("{made.address}")' in hub.files("alice/toon")["README.md"].decode()
    first = ganpress.load(run / "teacher-A2B.safetensors")
    assert fingerprint(ganpress.load(made.address).net) == fingerprint(first.net)
    with pytest.raises(HubError, match="hub:alice/toon/model-A2B"):
        ganpress.load("hub:alice/toon")
    back = ganpress.load("hub:alice/toon/model-B2A.safetensors")
    own = ganpress.load(run / "teacher-B2A.safetensors")
    assert fingerprint(back.net) == fingerprint(own.net)


@pytest.mark.parametrize(
    ("repo", "how", "said"),
    [
        ("toon", {}, "no address of the hub"),
        ("a--b/toon", {}, "no repository's name"),
        ("alice/toon/model.onnx", {}, "names a file"),
        ("alice/toon@v1", {"revision": "v2"}, "give one of them"),
        ("alice/toon", {"revision": "0123456789abcdef"}, "is a commit"),
        ("alice/toon", {"licence": "CC BY 4.0"}, "identifier of the hub's list"),
        ("alice/toon", {"picture": "x.gif"}, "neither a .png nor a .jpg"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_anything_is_sent(
    hub: Hub, tmp_path: Path, repo: str, how: dict[str, str], said: str
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    with pytest.raises(ganpress.GanpressError, match=said):
        push(file, repo, **how)
    assert not hub.requests
