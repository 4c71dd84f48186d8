"""`ganpress push`, `pull` and `card`, and hub: addresses where a model's file is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import run_cli, teacher_file
from hub_state import WRITER, Hub

from ganpress.models.checkpoint import fingerprint, load
from ganpress.training.start import open_start


def test_a_model_goes_to_the_hub_and_comes_back(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    pushed = run_cli(
        capsys, "push", file, "alice/toon", "--no-onnx", "--private", "--message", "first",
        "--terms", "drawn, CC BY 4.0", "--dataset", "sketches",
    )  # fmt: skip
    assert pushed.code == 0, pushed.err
    assert (
        "--teacher hub:alice/toon" in pushed.out and f"{hub.url}/alice/toon/commit/" in pushed.out
    )
    assert "warning" not in pushed.err and WRITER not in pushed.out + pushed.err
    assert hub.repos["alice/toon"].private and hub.repos["alice/toon"].messages == ["first"]
    pulled = run_cli(capsys, "pull", "alice/toon", "-o", tmp_path / "back")
    assert pulled.code == 0, pulled.err
    there = hub.files("alice/toon")["model.safetensors"]
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == there
    assert pulled.err == ""


def test_unknown_terms_are_a_warning_on_the_command_line_and_no_refusal(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    said = run_cli(capsys, "push", file, "alice/toon", "--no-onnx")
    assert said.code == 0 and "warning: The terms of" in said.err and "--terms" in said.err


def test_an_address_stands_wherever_a_models_file_is_asked_for(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    hub.add("alice/toon", {"model.safetensors": file.read_bytes()})
    own = run_cli(capsys, "measure", file, "--json")
    there = run_cli(capsys, "measure", "hub:alice/toon", "--json")
    assert there.code == 0 and json.loads(there.out) == json.loads(own.out)
    start = open_start("slim", Path("hub:alice/toon"))
    assert fingerprint(start.models[""].net) == fingerprint(load(file).net)
    refused = run_cli(
        capsys, "compress", "slim", "--teacher", "hub:alice/other", "--run", tmp_path / "r",
        "--images", tmp_path,
    )  # fmt: skip
    assert refused.code == 2 and "there is no repository alice/other" in refused.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["push", "{0}/none.safetensors", "alice/toon"], "There is no model file"),
        (["push", "{0}/t.safetensors", "toon"], "give hub:owner/name"),
        (["push", "{0}", "alice/toon"], "not a run directory"),
        (["pull", "alice/nothing"], "there is no repository"),
        (["pull", "alice/toon", "--revision", "v3"], "has no revision 'v3'"),
        (["card", "{0}/t.safetensors", "-o", "{0}"], "is a folder: name the file"),
        (["card", "{0}/t.safetensors", "-o", "{0}/c.md", "--repo", "toon"], "owner/name"),
        (["run", "hub:alice/toon/model.pkl", "--images", "{0}", "-o", "{0}/o"], "is not fetched"),
    ],
)
def test_what_cannot_be_shared_or_fetched_is_one_sentence_and_code_2(
    hub: Hub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    said: str,
) -> None:
    data = teacher_file(tmp_path / "t.safetensors").read_bytes()
    hub.add("alice/toon", {"model.safetensors": data, "model.pkl": b"x"})
    told = run_cli(capsys, *(part.format(tmp_path) for part in command))
    assert told.code == 2 and said in told.err and told.err.count("error:") == 1


def test_without_the_extra_the_line_that_installs_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    told = run_cli(capsys, "pull", "alice/toon")
    assert told.code == 2 and "pip install 'ganpress[hub]'" in told.err


def test_a_card_is_written_and_says_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = teacher_file(tmp_path / "t.safetensors")
    told = run_cli(capsys, "card", file, "-o", tmp_path / "README.md")
    assert told.code == 0 and "are not known. Say them: --licence" in told.out
    assert "library_name" in (tmp_path / "README.md").read_text()
