"""`ganpress edit`: the whole line on a tiny network, and one message for each bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import run_cli
from nets import WIRINGS
from PIL import Image

from ganpress.data.drawn.draw import write_folder
from ganpress.models.checkpoint import save
from ganpress.run.files import read_json


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("edit")
    for name in ("stylegan2", "sngan", "cartoongan"):
        save(WIRINGS[name].model(), home / f"{name}.safetensors")
    save(WIRINGS["stylegan2"].model(seed=1), home / "teacher.safetensors")
    write_folder(home / "photos", 2, seed=1, size=32)
    (home / "text.png").write_text("no picture")
    return home


TINY = ("--distance", "tiny")
QUICK = ("--iterations", 2, *TINY, "--set", "samples=9")


def test_photos_become_codes_that_are_morphed_and_mixed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student, teacher = home / "stylegan2.safetensors", home / "teacher.safetensors"
    for model, run in ((student, "s"), (teacher, "t")):
        line = ("edit", "project", model, "--images", home / "photos", "--run", tmp_path / run)
        left = run_cli(capsys, *line, *QUICK)
        assert left.code == 0, left.err
        assert left.out.count("psnr ") == 3
        assert "mean of 2 photos: psnr" in left.out
        assert "tiny-unit-distance" in left.out
    beside = ("--teacher", teacher, "--teacher-latents", tmp_path / "t")
    line = ("edit", "morph", student, tmp_path / "s", "-o", tmp_path / "m", *beside)
    left = run_cli(capsys, *line, "--frames", 4, "--seconds", 1, "--distance", "tiny")
    assert left.code == 0, left.err
    assert "morph-step-mean-4-tiny-unit-distance, ratio: " in left.out
    assert read_json(tmp_path / "m" / "results.json")["space"] == "w+"
    names = sorted(path.name for path in (tmp_path / "s" / "latents").iterdir())
    line = ("edit", "mix", student, "--source", tmp_path / "s" / "latents" / names[0])
    for further, height in (((), 34), (beside, 70)):
        left = run_cli(
            capsys, *line, "--destination", 7, "--layers", "2-5", "-o", tmp_path, *further
        )
        assert left.code == 0, left.err
        with Image.open(tmp_path / "mix.png") as table:
            assert table.size == (34, height)


def test_a_single_picture_is_taken_and_a_packs_first_ones(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = sorted((home / "photos").iterdir())[0]
    line = ("edit", "project", home / "stylegan2.safetensors", "--run", tmp_path / "a")
    left = run_cli(capsys, *line, "--images", one, *QUICK)
    assert left.code == 0, left.err
    assert [p.stem for p in (tmp_path / "a" / "latents").iterdir()] == [one.stem]
    line = ("edit", "project", home / "sngan.safetensors", "--run", tmp_path / "b", "--count", 1)
    left = run_cli(capsys, *line, "--images", home / "photos", "--space", "z", *QUICK)
    assert left.code == 0, left.err
    assert len(list((tmp_path / "b" / "latents").iterdir())) == 1


BAD = {
    "a model that reads pictures": (
        ("project", "cartoongan", "--images", "photos", "--run", "r"),
        "not of a latent code",
    ),
    "styles of a network without any": (
        ("project", "sngan", "--images", "photos", "--run", "r"),
        "no mapping network",
    ),
    "a photo that is no picture": (
        ("project", "stylegan2", "--images", "text.png", "--run", "r"),
        "text.png",
    ),
    "no photo": (
        ("project", "stylegan2", "--images", "foto.png", "--run", "r"),
        "No folder or pack",
    ),
    "a setting that there is not": (
        ("project", "stylegan2", "--images", "photos", "--run", "r", "--set", "nois=1"),
        "noise",
    ),
    "a space that there is not": (
        ("morph", "stylegan2", "1", "2", "--space", "v", "-o", "r"),
        "There is no latent space 'v'",
    ),
    "one latent": (("morph", "stylegan2", "1", "-o", "r", *TINY), "at least two latents, not 1"),
    "a latent that is a model": (
        ("morph", "stylegan2", "sngan.safetensors", "2", "-o", "r"),
        "not a latent code",
    ),
    "layers that there are not": (
        ("mix", "stylegan2", "--source", "1", "--destination", "2", "--layers", "4-6", "-o", "r"),
        "6 layers, 0 to 5",
    ),
    "layers that are no range": (
        ("mix", "stylegan2", "--source", "1", "--destination", "2", "--layers", "all", "-o", "r"),
        "as 0-3",
    ),
    "mixing where there are no styles": (
        ("mix", "sngan", "--source", "1", "--destination", "2", "--layers", "0", "-o", "r"),
        "no mapping network",
    ),
    "another animation": (
        ("morph", "stylegan2", "1", "2", "--format", "mp4", "-o", "r"),
        "gif",
    ),
    "a teacher's latents without a teacher": (
        ("morph", "stylegan2", "1", "2", "--teacher-latents", "r", "-o", "r"),
        "--teacher",
    ),
    "a distance for larger pictures": (
        ("morph", "stylegan2", "1", "2", "--distance", "st-lpips-alex", "-o", "r"),
        "pixels, not 16",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message(
    case: str,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(home)
    (verb, model, *rest), message = BAD[case]
    where = [tmp_path / "r" if word == "r" else word for word in rest]
    left = run_cli(capsys, "edit", verb, f"{model}.safetensors", *where)
    assert left.code == 2
    assert left.err.count("error:") == 1
    assert message in left.err
    assert not (tmp_path / "r").exists()


def test_a_latent_of_another_network_is_refused_by_its_file(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("edit", "project", home / "teacher.safetensors", "--images", home / "photos")
    assert run_cli(capsys, *line, "--run", tmp_path / "t", *QUICK).code == 0
    left = run_cli(
        capsys, "edit", "morph", home / "stylegan2.safetensors", tmp_path / "t", "-o", tmp_path
    )
    assert left.code == 2
    assert "is a latent of another network" in left.err
