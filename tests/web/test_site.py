"""The page as a folder: the models' files, what is said of them, samples, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exports import LEAST
from nets import Wiring
from page_files import saved, stand_in
from PIL import Image
from thin import thinned

from ganpress.errors import CheckpointError, ConfigError, ExportError
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.losses.weights import zoo_path
from ganpress.models.checkpoint import Model, fingerprint, load, save
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import reads
from ganpress.types import Inputs
from ganpress.web import entries, site
from ganpress.web.building import STATIC
from ganpress.web.given import open_given
from ganpress.web.runtime import WASM, WEBGPU
from ganpress.web.server import POLICY

SMALL = LEAST["pix2pix"]
ROOT = Path(__file__).resolve().parents[2]


FILES: dict[tuple[str, Form], bytes] = {}
"""Exports of the tests' few networks, which take a second each."""


@pytest.fixture(autouse=True)
def with_a_stand_in_and_each_network_exported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, tmp_path)

    def kept(model: Model, form: Form) -> bytes:
        key = fingerprint(model.net), form
        if key not in FILES:
            FILES[key] = to_bytes(model, form)
        return FILES[key]

    monkeypatch.setattr(entries, "to_bytes", kept)


def listed(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "models.json").read_text())
    return found


def made(folder: Path, entry: dict[str, Any], inputs: Inputs) -> np.ndarray:
    """What onnxruntime makes of a model of the page; edits that are not given change nothing."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / entry["file"])
    still = {"mix": 0.0, "psi": 1.0, "amounts": 0.0, "other": 0.0}
    feeds = {n: np.full(p["dims"], still[n], np.float32) for n, p in entry["inputs"].items()
             if n in still}  # fmt: skip
    names = [name for name in entry["inputs"] if name not in still]
    feeds |= {n: t.numpy() for n, t in zip(names, inputs, strict=True)}
    found: np.ndarray = session.run([entry["output"]], feeds)[0]
    return found


@pytest.mark.parametrize("name", thinned(LEAST, ("pix2pix", "gaugan", "stylegan2").__contains__))
def test_every_familys_file_makes_torchs_picture_of_the_inputs_that_are_listed(
    tmp_path: Path, name: str
) -> None:
    path, model = saved(tmp_path / "net.safetensors", LEAST[name])
    size = None if model.is_fixed else LEAST[name].pixels
    written = site(path, tmp_path / "page", size=size)
    (entry,) = listed(tmp_path / "page")["models"]
    drawn = draw_inputs(model.net, 1, entry["size"][0], torch.Generator().manual_seed(7))
    found = made(tmp_path / "page", entry, drawn)
    np.testing.assert_allclose(found, model(*drawn).numpy(), atol=1e-4)
    own = {n: list(t.shape) for n, t in zip(reads(model), drawn, strict=True)}
    assert {n: p["dims"] for n, p in entry["inputs"].items() if n in own} == own
    assert list(found.shape[2:]) == entry["size"]
    assert entry["bytes"] == (tmp_path / "page" / entry["file"]).stat().st_size
    assert entry["input"] == {"munit": "photo", "gaugan": "labels", "pix2pix": "photo",
                              "cartoongan": "photo"}.get(name, "latent")  # fmt: skip
    assert written.models == [entry]
    assert ("latent" in entry) == (name in ("munit", "sngan", "stylegan2"))
    assert entry["metadata"]["family"] == entry["family"] == name


def run_folder(root: Path, **told: Any) -> tuple[Path, Model, Model]:
    """A run as compression leaves it, and its teacher's file, `root`/teachers/big.safetensors."""
    (root / "teachers").mkdir(parents=True)
    _, teacher = saved(root / "teachers" / "big.safetensors", SMALL)
    run = root / "runs" / "first"
    (run / "samples").mkdir(parents=True)
    _, student = saved(run / "student.safetensors", SMALL, seed=1)
    command = "ganpress compress --method x --teacher teachers/big.safetensors --run runs/first"
    card = {"command": command, "teacher": fingerprint(teacher.net), **told}
    (run / "card.json").write_text(json.dumps(card))
    (run / "config.json").write_text(json.dumps({"data": {"size": 16}}))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    for k, picture in enumerate(pixels):
        Image.fromarray(picture).save(run / "samples" / f"{k:05d}_photo.png")
        Image.fromarray(255 - picture).save(run / "samples" / f"{k:05d}_teacher.png")
    return run, teacher, student


def test_a_runs_teacher_and_student_are_side_by_side_at_the_size_of_the_run(tmp_path: Path) -> None:
    run, teacher, student = run_folder(tmp_path)
    written = site(run, tmp_path / "page")
    one, other = listed(tmp_path / "page")["models"]
    assert [(m["title"], m["role"]) for m in (one, other)] == [
        ("big", "teacher"), ("first", "student"),
    ]  # fmt: skip
    assert one["size"] == other["size"] == [16, 16]
    drawn = draw_inputs(teacher.net, 1, 16, torch.Generator().manual_seed(0))
    for entry, model in ((one, teacher), (other, student)):
        found = made(tmp_path / "page", entry, drawn)
        np.testing.assert_allclose(found, model(*drawn).numpy(), atol=1e-4)
    assert written.notes == []


def test_a_runs_photos_are_samples_without_loss(tmp_path: Path) -> None:
    run, _, _ = run_folder(tmp_path)
    site(run, tmp_path / "page")
    shown = listed(tmp_path / "page")["samples"]
    assert [s["name"] for s in shown] == ["00000", "00001"]
    for sample in shown:
        photo = Image.open(run / "samples" / f"{sample['name']}_photo.png")
        ours = Image.open(tmp_path / "page" / sample["file"])
        assert np.array_equal(np.asarray(ours), np.asarray(photo))


@pytest.mark.parametrize("gone", ["file", "other weights", "no command"])
def test_a_run_without_its_teacher_shows_the_student_and_says_so(tmp_path: Path, gone: str) -> None:
    run, _, _ = run_folder(tmp_path, **({"command": "'"} if gone == "no command" else {}))
    if gone == "file":
        (tmp_path / "teachers" / "big.safetensors").unlink()
    if gone == "other weights":
        saved(tmp_path / "teachers" / "big.safetensors", SMALL, seed=2)
    written = site(run, tmp_path / "page")
    assert [m["role"] for m in written.models] == ["student"]
    assert "give the teacher's file as well" in written.notes[0]


def test_a_run_that_names_no_teacher_has_the_one_of_the_zoo_whose_weights_it_began_with(
    tmp_path: Path,
) -> None:
    run, _, _ = run_folder(tmp_path, command="ganpress demo")
    card = json.loads((run / "card.json").read_text())
    teacher = fingerprint(load(zoo_path("demo_teacher.safetensors")).net)
    (run / "card.json").write_text(json.dumps({**card, "teacher": teacher}))
    found = open_given([run])
    assert [one.role for one in found] == ["teacher", "student"]
    assert found[0].title == "demo_teacher"


def test_another_programs_json_beside_a_model_is_not_read_as_its_card(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    saved(path, SMALL)
    for content, wanted in (
        ('{"input": "photo", "labels": ["a", "b"]}', set()),
        ('{"input": ', set()),
        (
            '{"family": "pix2pix", "widths": {}, "labels": "facades"}',
            {"family", "widths", "labels"},
        ),
    ):
        path.with_suffix(".json").write_text(content)
        assert set(open_given([path])[0].card) == wanted


def test_a_teacher_that_is_given_beside_its_run_is_there_once(tmp_path: Path) -> None:
    run, _, _ = run_folder(tmp_path)
    written = site([tmp_path / "teachers" / "big.safetensors", run], tmp_path / "page")
    assert [m["title"] for m in written.models] == ["big", "first"]


def test_the_teachers_of_a_training_are_shown(tmp_path: Path) -> None:
    run = tmp_path / "trained"
    run.mkdir()
    (run / "config.json").write_text("{}")
    for k, way in enumerate(("A2B", "B2A")):
        saved(run / f"teacher-{way}.safetensors", SMALL, seed=k)
    written = site(run, tmp_path / "page", size=16)
    assert [m["id"] for m in written.models] == ["teacher-a2b", "teacher-b2a"]


def test_models_of_one_name_have_ids_and_files_of_their_own(tmp_path: Path) -> None:
    for k, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        saved(tmp_path / folder / "net.safetensors", SMALL, seed=k)
    paths = [tmp_path / folder / "net.safetensors" for folder in ("a", "b")]
    written = site(paths, tmp_path / "page", size=16)
    assert [m["id"] for m in written.models] == ["net", "net-2"]
    assert len({m["file"] for m in written.models}) == 2


def test_an_exported_file_is_shown_as_it_is(tmp_path: Path) -> None:
    _, model = saved(tmp_path / "net.safetensors", SMALL)
    (tmp_path / "net.onnx").write_bytes(entries.to_bytes(model, Form(16)))
    written = site(tmp_path / "net.onnx", tmp_path / "page", size=16)
    (entry,) = written.models
    data = (tmp_path / "page" / entry["file"]).read_bytes()
    assert data == (tmp_path / "net.onnx").read_bytes()


def test_a_file_that_reads_bytes_is_listed_as_the_picture_it_reads(tmp_path: Path) -> None:
    _, model = saved(tmp_path / "net.safetensors", SMALL)
    (tmp_path / "net.onnx").write_bytes(to_bytes(model, Form((16, 24), bytes_io=True)))
    (entry,) = site(tmp_path / "net.onnx", tmp_path / "page", size=(16, 24)).models
    assert entry["inputs"] == {
        "image": {"dims": [1, 3, 16, 24], "dtype": "uint8", "layout": "NHWC"}
    }


def test_a_dynamic_page_says_which_sizes_it_takes(tmp_path: Path) -> None:
    path, model = saved(tmp_path / "net.safetensors", SMALL)
    (entry,) = site(path, tmp_path / "page", size=16, dynamic=True).models
    assert entry["inputs"]["image"]["dims"] == [None, 3, None, None]
    assert (entry["fixed"], entry["multiple"]) == (False, model.multiple)
    drawn = draw_inputs(model.net, 1, (24, 32), torch.Generator().manual_seed(0))
    found = made(tmp_path / "page", entry, drawn)
    np.testing.assert_allclose(found, model(*drawn).numpy(), atol=1e-4)


def test_pictures_of_ones_own_are_resized_and_cropped_for_the_model(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "net.safetensors", SMALL)
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 64, 3), np.uint8))
    (tmp_path / "photos").mkdir()
    photo.save(tmp_path / "photos" / "one.png")
    site(path, tmp_path / "page", size=16, images=[tmp_path / "photos"])
    wanted = photo.resize((26, 16), Image.Resampling.BICUBIC).crop((5, 0, 21, 16))
    (sample,) = listed(tmp_path / "page")["samples"]
    assert sample["name"] == "one"
    found = Image.open(tmp_path / "page" / sample["file"])
    assert np.array_equal(np.asarray(found), np.asarray(wanted))


def test_the_half_that_the_model_reads_is_the_sample(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "net.safetensors", SMALL)
    both = np.random.default_rng(1).integers(0, 256, (16, 32, 3), np.uint8)
    Image.fromarray(both).save(tmp_path / "pair.png")
    for way, half in (("AB", both[:, :16]), ("BA", both[:, 16:])):
        site(path, tmp_path / way, size=16, images=[tmp_path / "pair.png"], side_by_side=way)
        (sample,) = listed(tmp_path / way)["samples"]
        assert np.array_equal(np.asarray(Image.open(tmp_path / way / sample["file"])), half)


def test_outlines_open_the_canvas_and_photos_do_not(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "net.safetensors", SMALL)
    outline = np.full((16, 16, 3), 255, np.uint8)
    outline[4:12, 4:6] = 0
    photo = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    for name, picture, kind in (("outline", outline, "draw"), ("photo", photo, "photo")):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        written = site(path, tmp_path / name, size=16, images=[tmp_path / f"{name}.png"])
        assert written.models[0]["input"] == kind


def test_the_page_has_all_files_that_it_names_and_none_of_another_host(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "net.safetensors", SMALL)
    folder = site(path, tmp_path / "page", size=16).folder
    for name in (*WASM, *WEBGPU):
        assert (folder / "onnxruntime" / name).is_file()
    html = (folder / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert set(named) >= {"page.js", "page.css"}
    for file in folder.glob("*.js"):
        text = file.read_text()
        named += re.findall(r'(?:from|import\() ?"\./([^"]+)"', text)
        named += re.findall(r'new URL\("([^"]+\.js)"', text)
        named += re.findall(r'"\./([\w-]+\.js)"', text)
    assert len(named) > 12
    assert not [name for name in named if name != "data:," and not (folder / name).is_file()]
    texts = {
        f.name: f.read_text() for f in folder.glob("*.*") if f.suffix in (".js", ".css", ".html")
    }
    links = {n: re.findall(r"https?://[^\s\"'`)]+", text) for n, text in texts.items()}
    assert {u for found in links.values() for u in found} <= {"http://www.w3.org/2000/svg"}
    assert not (folder / "README.md").exists()


def test_the_pages_policy_is_the_servers_as_far_as_a_page_can_say_it() -> None:
    html = (STATIC / "index.html").read_text()
    said = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert said is not None
    assert f"{said[1]}; frame-ancestors 'none'" == POLICY
    assert "unsafe-inline" not in POLICY and "*" not in POLICY and "http" not in POLICY


def test_a_page_is_replaced_by_the_next_one(tmp_path: Path) -> None:
    run, _, _ = run_folder(tmp_path)
    site(run, tmp_path / "page")
    path, _ = saved(tmp_path / "net.safetensors", SMALL, seed=1)
    site(path, tmp_path / "page", size=16, webgpu=False)
    assert [f.name.split("-")[0] for f in (tmp_path / "page" / "models").iterdir()] == ["net"]
    assert {f.name for f in (tmp_path / "page" / "onnxruntime").iterdir()} == set(WASM)
    assert not (tmp_path / "page" / "samples").exists()
    assert listed(tmp_path / "page")["onnxruntime"]["webgpu"] is False


def test_a_page_stays_whole_where_the_next_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = run_folder(tmp_path)
    site(run, tmp_path / "page")
    before = {p: p.read_bytes() for p in (tmp_path / "page").rglob("*") if p.is_file()}
    path, _ = saved(tmp_path / "net.safetensors", SMALL, seed=1)

    def fail(*_: object) -> None:
        raise ExportError("it differs")

    monkeypatch.setattr(entries, "_check_agrees", fail)
    with pytest.raises(ExportError):
        site(path, tmp_path / "page", size=16)
    after = {p: p.read_bytes() for p in (tmp_path / "page").rglob("*") if p.is_file()}
    assert after == before


def test_other_files_are_kept_from_the_page_unless_it_may_lie_among_them(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "net.safetensors", SMALL)
    (tmp_path / "docs" / "models").mkdir(parents=True)
    (tmp_path / "docs" / "models" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"docs holds other files.*docs/site.*--overwrite"):
        site(path, tmp_path / "docs", size=16)
    for _ in range(2):
        site(path, tmp_path / "docs", size=16, overwrite=True)
        assert (tmp_path / "docs" / "models" / "mine.txt").read_text() == "mine"
        assert len(list((tmp_path / "docs" / "models").iterdir())) == 2
    (tmp_path / "docs" / "models.json").write_text('{"models": [{"file": "models/mine.txt"}]}')
    site(path, tmp_path / "docs", size=16, overwrite=True)
    assert (tmp_path / "docs" / "models" / "mine.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match=r"net\.safetensors is a file, where a folder"):
        site(path, path)


def test_the_models_that_a_page_cannot_show_are_refused_in_words(tmp_path: Path) -> None:
    path, model = saved(tmp_path / "net.safetensors", SMALL)
    (tmp_path / "broken.onnx").write_bytes(b"not ONNX")
    (tmp_path / "net.xml").write_text("<net/>")
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text("{}")
    out = tmp_path / "page"
    for given, error, message in [
        ([], ConfigError, "at least one model"),
        (tmp_path / "broken.onnx", CheckpointError, r"cannot load .*broken\.onnx"),
        (tmp_path / "net.xml", ConfigError, "no browser runs: give the ganpress model"),
        (tmp_path / "nt.safetensors", CheckpointError, r"no model file .*'net\.safetensors'"),
        (tmp_path / "empty", ConfigError, "not the folder of a run"),
        (tmp_path, ConfigError, r"not the folder of a run.*Give .*net\.safetensors"),
        (tmp_path / "begun", ConfigError, "has no model yet"),
    ]:
        with pytest.raises(error, match=message):
            site(given, out)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"needs at least 8 pixels, divisible by 8"):
        site(path, out, size=10)
    with pytest.raises(ConfigError, match=r"no input 'phto' \(did you mean 'photo'\?\)"):
        site(path, out, kind="phto")
    with pytest.raises(ConfigError, match="leave --directions out"):
        site(path, out, size=16, directions=tmp_path / "d.safetensors")
    noise, _ = saved(tmp_path / "noise.safetensors", LEAST["sngan"])
    with pytest.raises(ConfigError, match="None of the models reads pictures: leave --images out"):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        site(noise, out, images=[tmp_path / "a.png"])
    assert not out.exists()
    assert fingerprint(load(save(model, path)).net) == fingerprint(model.net)


def test_a_file_that_does_not_make_torchs_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = saved(tmp_path / "net.safetensors", SMALL)
    other = entries.to_bytes(SMALL.model(seed=1), Form(16))
    monkeypatch.setattr(entries, "to_bytes", lambda *_: other)
    with pytest.raises(ExportError, match="net: the exported network differs from torch"):
        site(path, tmp_path / "page", size=16)


def test_the_wheel_carries_the_page() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    files = {f.distribution_path for f in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"ganpress/web/static/{path.name}" for path in STATIC.iterdir()} <= files


def test_models_that_read_styles_beside_photos_are_shown_with_both(tmp_path: Path) -> None:
    path, _ = saved(tmp_path / "net.safetensors", Wiring("munit", {"down": 1}))
    (entry,) = site(path, tmp_path / "page", size=16, kind="draw").models
    assert (entry["input"], entry["latent"]["input"]) == ("draw", "style")
