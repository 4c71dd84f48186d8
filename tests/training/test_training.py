"""Training a teacher: what a run leaves, how it goes on, and what is refused before it starts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import Told, run_cli
from PIL import Image
from safetensors.torch import load_file

from ganpress.data import Batch, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import load
from ganpress.models.families import family
from ganpress.run.files import read_json
from ganpress.run.locks import Lock
from ganpress.run.settings import checked
from ganpress.training import train as training
from ganpress.training.kit import autocast, batches, model_of, place, scaled
from ganpress.training.settings import TrainConfig
from ganpress.training.train import train, trainer

TINY = ["steps=3", "batch=2", "data.workers=0", "data.size=32", "data.load_size=36"]
SETS: dict[str, list[str]] = {
    "cyclegan": [
        "width=0.05",
        "options.blocks=1",
        "discriminator.width=4",
        "discriminator.layers=2",
    ],
    "stylegan2": [
        "options.size=32",
        "options.style_dim=8",
        "options.base=64",
        "discriminator.base=64",
    ],
    "gaugan": ["width=0.01", "options.labels=4", "options.edges=false", "options.dontcare=false"],
}
SETS["gaugan"] += ["features=none", "discriminator.width=4", "discriminator.layers=2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("training")
    write_folder(home / "a", 5, size=40)
    write_folder(home / "b", 4, size=40, seed=5, stylised=True)
    (home / "labels").mkdir()
    for index, photo in enumerate(sorted((home / "a").iterdir())):
        ids = Image.new("L", (40, 40), index % 4)
        ids.save(home / "labels" / f"{photo.stem}.png")
    return home


def command(home: Path, name: str, run: Path) -> list[object]:
    data = {"cyclegan": ["--other", home / "b"], "gaugan": ["--labels", home / "labels"]}
    sets = [part for item in (*TINY, *SETS[name]) for part in ("--set", item)]
    return ["train", name, "--images", home / "a", *data.get(name, []), "--run", run, *sets]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    told = run_cli(capsys, *arguments)
    assert told.code == 2
    return " ".join(told.err.split())


@pytest.mark.parametrize("name", SETS)
def test_a_training_leaves_teachers_samples_and_a_report(
    name: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: Told = run_cli(capsys, *command(home, name, tmp_path / "run"))
    assert told.code == 0, told.err
    run = tmp_path / "run"
    results = read_json(run / "results.json")
    ways = {"": "teacher"} if name != "cyclegan" else {w: f"teacher-{w}" for w in ("A2B", "B2A")}
    assert set(results["teachers"]) == set(ways)
    for way, stem in ways.items():
        model = load(run / f"{stem}.safetensors", expect=name)
        assert model.discriminator is not None
        assert (model.provenance["steps"], model.provenance["photos"]) == (3, 5)
        assert model.provenance["recipe"]["train"] == name
        assert results["teachers"][way]["params"] == sum(p.numel() for p in model.net.parameters())
        assert (run / "samples" / f"{stem}.png").exists()
    page = (run / "report.html").read_text()
    assert f"A {name} generator, trained as a teacher" in page
    assert "Teacher / student" not in page and "Losses" in page and "data:image/" in page
    assert str(run / "report.html") in told.out.replace("\n", "")


def test_a_finished_training_is_not_run_again_and_an_unfinished_one_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert run_cli(capsys, *command(home, "stylegan2", once)).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", lambda *_, **__: sys.exit(9))
        assert run_cli(capsys, *command(home, "stylegan2", twice)).code == 9
        assert run_cli(capsys, *command(home, "stylegan2", once)).code == 0
    assert run_cli(capsys, *command(home, "stylegan2", twice)).code == 0
    a, b = (load_file(run / "teacher.safetensors") for run in (once, twice))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_other_photos_or_settings_do_not_resume_a_run(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = command(home, "stylegan2", tmp_path / "run")
    assert run_cli(capsys, *line).code == 0
    assert "batch: 2 in the run, 4 now" in refused(capsys, *line, "--set", "batch=4")
    assert "data_hash" in refused(capsys, *line, "--images", home / "b")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["cyclegan"], "--other DIR"),
        (["pix2pix"], "--pairs DIR"),
        (["gaugan"], "--labels DIR"),
        (["stylegan2", "--other", "b"], "leave them out"),
        (["cyclegn"], "did you mean 'cyclegan'"),
        (["stylegan2", "--set", "options.sze=32"], "did you mean 'size'"),
        (["sngan", "--set", "bach=2"], "did you mean 'batch'"),
        (["gaugan", "--labels", "labels", "--set", "options.labels=2"], "holds id 3"),
        (["gaugan", "--labels", "labels", "--set", "options.edges=true"], "--instances"),
        (["sngan", "--set", "device=cuda"], "no CUDA device"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(
    line: list[str],
    expected: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if torch.cuda.is_available() and "device=cuda" in line:
        pytest.skip("there is a CUDA device")
    monkeypatch.chdir(home)
    run = tmp_path / "run"
    assert expected in refused(capsys, "train", *line, "--images", "a", "--run", run)
    assert not run.exists()


def test_an_image_smaller_than_the_crop_is_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home / "a", tmp_path / "a")
    Image.new("RGB", (70, 20)).save(tmp_path / "a" / "tiny.png")
    line = command(tmp_path, "stylegan2", tmp_path / "run")
    said = refused(capsys, *line)
    assert "'tiny.png' is 20x70 pixels (height x width), smaller than the crop of 32x32" in said
    assert "data.enlarge=true" in said
    assert run_cli(capsys, *line, "--set", "data.enlarge=true").code == 0


def test_settings_of_another_family_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CycleGANTraining"):
        train("stylegan2", open_images(home / "a"), run=tmp_path, config=config("cyclegan"))


def test_two_programs_cannot_write_one_run(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    holder = (
        "import sys, pathlib, ganpress.run.locks as f;"
        f"lock = f.Lock(pathlib.Path({str(run / 'run.lock')!r})); print('held', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        said = refused(capsys, *command(home, "stylegan2", run))
        assert f"in use by process {other.pid}" in said
        other.kill()
        other.wait()
    assert run_cli(capsys, *command(home, "stylegan2", run)).code == 0


def test_a_process_may_take_its_own_lock_again(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first is not second


@pytest.mark.parametrize("verb", [["families"], ["settings", "cyclegan"], ["train", "--help"]])
def test_what_can_be_trained_is_listed(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, *verb)
    assert told.code == 0
    for word in {"families": ["munit", "--labels DIR"], "settings": ["data.load_size = 286"]}.get(
        verb[0], ["--side-by-side"]
    ):
        assert word in told.out


def test_measure_takes_the_options_of_a_family(capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, "measure", "cyclegan", "--option", "blocks=6", "--size", 64)
    assert "7,83" in told.out
    assert "did you mean 'blocks'" in refused(capsys, "measure", "cyclegan", "--option", "blcks=6")


def config(name: str, *sets: str) -> Any:
    from ganpress.run.settings import read_config

    return read_config(trainer(name).config, None, [*TINY, *SETS[name], *sets])


def test_the_rows_of_the_processes_are_the_batch_of_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_images(home / "a")
    c = checked(TrainConfig, {"batch": 4, "steps": 3, "data": {"size": 32, "workers": 0}})
    whole = list(batches(images, c, 1))
    rows: list[list[Batch]] = []
    for rank in (0, 1):
        monkeypatch.setattr("ganpress.run.distributed.rank", lambda rank=rank: rank)
        monkeypatch.setattr("ganpress.run.distributed.world", lambda: 2)
        rows.append(list(batches(images, c, 1)))
    assert len(whole) == 2
    for one, first, second in zip(whole, *rows, strict=True):
        assert torch.equal(one.x, torch.cat([first.x, second.x]))


def test_a_second_stream_is_drawn_independently(home: Path) -> None:
    images = open_images(home / "a")
    c = checked(TrainConfig, {"batch": 5, "steps": 1, "data": {"size": 32, "workers": 0}})
    first, again, second = (next(batches(images, c, 0, salt=s)) for s in ("", "", "other"))
    assert torch.equal(first.x, again.x) and not torch.equal(first.x, second.x)


def test_a_model_is_a_copy_in_eval_mode_whatever_the_format_it_was_trained_in() -> None:
    c = checked(
        TrainConfig,
        {"width": 0.05, "options": {"blocks": 1}, "channels_last": True, "precision": "bfloat16"},
    )
    net = place(scaled(family("cyclegan"), c), c, "cpu").train()
    x = torch.rand(1, 3, 32, 32)
    with autocast(c):
        assert net(x).dtype == torch.bfloat16
    model = model_of(net, family("cyclegan"), c)
    before = model(x)
    with torch.no_grad():
        next(net.parameters()).add_(1)
    assert torch.equal(model(x), before)
    assert not model.net.training
    assert all(p.is_contiguous() for p in model.net.parameters())
