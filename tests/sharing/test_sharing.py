"""Push and pull against a stand-in of the hub: what arrives, is refused, is never sent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cli_runs import teacher_file
from hub_server import READER, WRITER, Hub
from patience import PATIENCE_S
from PIL import Image
from shared_run import a_run

import ganpress
from ganpress.errors import ConfigError, HubError
from ganpress.models.checkpoint import fingerprint
from ganpress.run.hub import fetch

TERMS = {"terms": "drawn for this test, CC BY 4.0"}


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


def push(path: Path, repo: str = "alice/toon", **how: object) -> ganpress.sharing.push.Pushed:
    return ganpress.push(path, repo, onnx=False, quiet=True, **{**TERMS, **how})


def test_a_pushed_model_is_the_same_network_when_it_is_loaded_from_its_address(
    hub: Hub, tmp_path: Path
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    pushed = push(file)
    assert pushed.address == "hub:alice/toon"
    assert set(hub.files("alice/toon")) == {"README.md", "model.json", "model.safetensors"}
    assert hub.files("alice/toon")["model.safetensors"] == file.read_bytes()
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
    file = teacher_file(tmp_path / "t.safetensors")
    ganpress.push(file, "alice/toon", quiet=True, **TERMS)
    data = hub.files("alice/toon")["model.onnx"]
    (tmp_path / "m.onnx").write_bytes(data)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    shape = [d if isinstance(d, int) else 64 for d in session.get_inputs()[0].shape]
    x = torch.rand([1, *shape[1:]], generator=torch.Generator().manual_seed(0)) * 2 - 1
    (made,) = session.run(None, {"image": x.numpy()})
    want = ganpress.load(file)(x)
    assert (torch.from_numpy(made) - want).abs().max() < 1e-4
    assert "`model.onnx`" in hub.files("alice/toon")["README.md"].decode()


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
    assert set(hub.files("alice/open")) == {"README.md"}


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
    assert hub.files("alice/toon")["model.safetensors"] == file.read_bytes()
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
    push(run)
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


# --- pull ---------------------------------------------------------------------------------------


def test_a_pull_brings_every_file_that_cannot_run_code_and_names_the_others(
    hub: Hub, tmp_path: Path
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    push(file)
    files = {**hub.files("alice/toon"), "train.py": b"import os", "w.bin": b"x", "d/a.pkl": b"x"}
    commit = hub.add("alice/toon", files)
    found = ganpress.pull("alice/toon", tmp_path / "out", quiet=True)
    assert found.commit == commit
    assert sorted(found.left) == ["d/a.pkl", "train.py", "w.bin"]
    pulled = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")}
    assert pulled == {"README.md", "model.json", "model.safetensors"}
    assert not [p for _, p, _ in hub.requests if p.endswith((".pkl", ".py", ".bin"))]


def test_a_pull_leaves_other_files_of_the_same_name_unless_it_may_overwrite(
    hub: Hub, tmp_path: Path
) -> None:
    push(teacher_file(tmp_path / "t.safetensors"))
    mine = tmp_path / "out" / "README.md"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite"):
        ganpress.pull("alice/toon", tmp_path / "out", quiet=True)
    assert [p.name for p in mine.parent.iterdir()] == ["README.md"] and mine.read_text() == "mine"
    ganpress.pull("alice/toon", tmp_path / "out", overwrite=True, quiet=True)
    assert mine.read_bytes() == hub.files("alice/toon")["README.md"]
    ganpress.pull("alice/toon", tmp_path / "out", quiet=True)  # the same files are no obstacle


def test_one_file_of_a_revision_is_pulled_alone(hub: Hub, tmp_path: Path) -> None:
    hub.add("alice/toon", {"model.onnx": b"first"})
    hub.add("alice/toon", {"model.onnx": b"second"}, branch="v2")
    found = ganpress.pull("alice/toon@v2/model.onnx", tmp_path / "out", quiet=True)
    assert [p.read_bytes() for p in found.files] == [b"second"]


# --- what cannot be fetched ---------------------------------------------------------------------


def test_a_repository_of_another_tool_is_refused_before_its_weights_are_fetched(
    hub: Hub, tmp_path: Path
) -> None:
    from safetensors.numpy import save as numpy_save

    foreign = numpy_save({"w": torch.zeros(300_000).numpy()})
    hub.add("bob/bert", {"config.json": b"{}", "model.safetensors": foreign})
    with pytest.raises(HubError, match=r"no ganpress card. It has config.json, model.safetensors"):
        ganpress.load("hub:bob/bert")
    hub.add("bob/old", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(HubError, match=r"no .safetensors file. It has config.json, pytorch_model"):
        ganpress.pull("bob/old", tmp_path / "out", quiet=True)
    hub.add("bob/odd", {"model.safetensors": b"\xff" * 40})
    with pytest.raises(HubError, match="is not a whole safetensors file"):
        ganpress.load("hub:bob/odd")
    assert not (tmp_path / "hub-cache").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hub:alice/nothing", "there is no repository alice/nothing"),
        ("hub:alice/toon@v9", r"no revision 'v9'.* Branches and tags: main"),
        ("hub:alice/toon/modle.onnx", r"did you mean 'model.onnx'"),
        ("hub:alice/toon/weights.pkl", "is not fetched: only .safetensors"),
        ("hub:alice/gated", "is gated. Ask for access"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest_name(
    hub: Hub, tmp_path: Path, address: str, said: str
) -> None:
    data = teacher_file(tmp_path / "t.safetensors").read_bytes()
    hub.add("alice/toon", {"model.safetensors": data, "model.onnx": b"x", "weights.pkl": b"x"})
    hub.add("alice/gated", {"model.safetensors": data}, gated=True)
    with pytest.raises(HubError, match=said):
        ganpress.load(address)


def test_a_private_repository_is_not_there_without_a_token(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = teacher_file(tmp_path / "t.safetensors").read_bytes()
    hub.add("alice/toon", {"model.safetensors": data}, private=True)
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(HubError, match=r"it may be private\. Log in"):
        ganpress.load("hub:alice/toon")
    monkeypatch.setenv("HF_TOKEN", READER)
    assert ganpress.load("hub:alice/toon").family.name == "cartoongan"


@pytest.mark.parametrize("file", ["model.onnx", "notes.md"])
def test_a_file_with_another_hash_than_listed_is_removed(
    hub: Hub, tmp_path: Path, file: str
) -> None:
    """Of a large file that of git-lfs, of a small one git's own."""
    hub.add("alice/toon", {file: b"listed bytes"})
    hub.lie = lambda data: b"other  bytes"
    with pytest.raises(HubError, match="not received as the hub lists it"):
        ganpress.pull(f"alice/toon/{file}", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()
    assert not [p for p in (tmp_path / "hub-cache").rglob("*") if p.name == file]
    hub.lie = lambda data: data
    ganpress.pull(f"alice/toon/{file}", tmp_path / "out", quiet=True)
    assert (tmp_path / "out" / file).read_bytes() == b"listed bytes"


def test_more_bytes_than_are_listed_end_the_download(hub: Hub, tmp_path: Path) -> None:
    hub.add("alice/toon", {"model.onnx": b"listed"})
    hub.lie = lambda data: b"x" * 60_000_000  # several of the pieces that are read at a time
    with pytest.raises(HubError, match="more than the 6 bytes that it lists"):
        ganpress.pull("alice/toon/model.onnx", tmp_path / "out", quiet=True)


def test_a_file_too_large_for_its_kind_is_refused_by_its_listing(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_MODEL_BYTES", 5)
    hub.add("alice/toon", {"model.onnx": b"six by"})
    with pytest.raises(HubError, match="Fetch it by yourself"):
        ganpress.pull("alice/toon/model.onnx", tmp_path / "out", quiet=True)
    assert not hub.sent("GET", "/resolve/") and not hub.sent("HEAD", "/resolve/")


def test_a_listing_that_leads_out_of_the_folder_is_passed_over(hub: Hub, tmp_path: Path) -> None:
    data = teacher_file(tmp_path / "t.safetensors").read_bytes()
    hub.add("alice/toon", {"model.safetensors": data, "../evil.md": b"x", "/etc/evil.md": b"x"})
    ganpress.pull("alice/toon", tmp_path / "out", quiet=True)
    assert [p.name for p in (tmp_path / "out").rglob("*")] == ["model.safetensors"]
    assert not (tmp_path / "evil.md").exists()
    with pytest.raises(ConfigError, match="outside of the repository"):
        ganpress.pull("alice/toon/../evil.md", tmp_path / "out", quiet=True)


def test_without_a_connection_the_copy_of_before_is_read_with_a_warning(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    push(teacher_file(tmp_path / "t.safetensors"))
    before = ganpress.load("hub:alice/toon")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.warns(UserWarning, match="is not reached: hub:alice/toon is read from what was"):
        again = ganpress.load("hub:alice/toon")
    assert fingerprint(again.net) == fingerprint(before.net)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        ganpress.load("hub:alice/other")


def test_a_hub_that_does_not_answer_or_fails_is_a_sentence(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.answer = lambda method, path: 503
    with pytest.raises(HubError, match="answered 503"):
        ganpress.load("hub:alice/toon")
    hub.answer = lambda method, path: 429
    with pytest.raises(HubError, match="too many requests"):
        ganpress.load("hub:alice/toon")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"127.0.0.1:9 cannot be reached. Check the connection"):
        ganpress.load("hub:alice/toon")
