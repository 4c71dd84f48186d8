"""Pull and load from a stand-in of the hub: what is fetched, and what never is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_runs import teacher_file
from hub_state import READER, Hub
from shared_run import push, same_picture

import ganpress
from ganpress.errors import CheckpointError, ConfigError, HubError
from ganpress.formats.runtimes import open_file
from ganpress.generation.program import open_program
from ganpress.measures.timing.bench import named
from ganpress.models.checkpoint import fingerprint
from ganpress.run.hub import fetch


@pytest.fixture(autouse=True)
def offline_afterwards(hub: Hub) -> None:
    """Every test has the stand-in: none could reach another host by mistake."""


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


def test_an_exported_file_is_opened_by_its_address(hub: Hub) -> None:
    hub.add("alice/toon", {"model.onnx": b"no network"})
    with pytest.raises(CheckpointError):
        open_file("hub:alice/toon/model.onnx")
    assert hub.sent("HEAD", "model.onnx")
    with pytest.raises(CheckpointError, match="onnxruntime"):
        open_program("hub:alice/toon/model.onnx")
    hub.add("alice/toon", {"model.onnx": same_picture([1, 3, 8, 8])})
    assert ganpress.measure_file("hub:alice/toon/model.onnx").macs == 0
    (path,) = named([Path("hub:alice/toon/model.onnx")]).values()
    assert path.read_bytes() == same_picture([1, 3, 8, 8])


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
