"""What is refused before any stage, from the command line: what was wrong, and what to do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runs import Told, run_cli
from family_runs import write_domains
from ofa_runs import brief, teacher_of
from thin import thinned

from ganpress.errors import ConfigError
from ganpress.models.checkpoint import save

SETS = [
    *("min_channels=1", "data.size=32", "data.batch=2", "data.workers=0"),
    *("distance.features=tiny", "discriminator.width=4", "discriminator.layers=2"),
    *("score.samples=2", "score.batch=2", "score.latents=100", "finetune.steps=1"),
]
NO_LOSS = ("discriminator.weight=0", "distil.pixel=0", "distil.perceptual=0")
WAY = re.compile(r"--set (\S+?=[^\s),]*)")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    brief(monkeypatch)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = write_domains(tmp_path_factory.mktemp("bad-input"))
    for name in ("cyclegan instance", "sngan", "stylegan2"):
        save(teacher_of(name), home / f"{name.split()[0]}.safetensors")
    save(replace(teacher_of("stylegan2"), discriminator=None), home / "bare.safetensors")
    return home


def asked(
    capsys: pytest.CaptureFixture[str], home: Path, run: Path, teacher: str, *sets: str
) -> Told:
    """`ganpress compress content-aware` with these settings over `SETS`."""
    flags = [part for item in (*SETS, *sets) for part in ("--set", item)]
    line = ["--teacher", home / f"{teacher}.safetensors", "--run", run]
    line += ["--images", home / "x"] if teacher == "cyclegan" else []
    return run_cli(capsys, "compress", "content-aware", *line, *flags)


HALF = "cut.ratio=0.5"


def stop(*_: object) -> None:
    """In place of the stages."""
    raise ConfigError("all is accepted")


@pytest.mark.parametrize(
    ("teacher", "sets", "words"),
    thinned(
        [
            ("stylegan2", [], "Nothing says how much is to be cut"),
            ("sngan", [HALF, *NO_LOSS], "there is no loss to train with: give one of them"),
            ("stylegan2", ["cut.ratio=0.01"], "removes no channel"),
            ("stylegan2", ["target.macs=0.0001"], "cannot be reached.*What can be reached"),
            ("stylegan2", ["target.macs=0.001", "cut.scope=network"], "What can be reached"),
            ("cyclegan", [HALF, "distil.mode=intermediate"], "makes the last one only"),
            ("cyclegan", [HALF, "distil.relation=30"], "a 'cyclegan' generator has none"),
            (
                "stylegan2",
                [HALF, "distil.relation=1", "distil.relation_side=7"],
                "has layers of 4, 8",
            ),
            (
                "stylegan2",
                [HALF, "distil.relation=1", "data.batch=1"],
                "at least 2 for each process",
            ),
            ("sngan", [HALF, "distil.mmd=1", "data.batch=1"], "at least 2 for each process"),
            ("sngan", [HALF, "path.weight=2"], "is of StyleGAN2's styles"),
            ("sngan", [HALF, "distil.relation=30"], "a 'sngan' generator has none"),
            (
                "sngan",
                [HALF, "narrow.rounds=4", "narrow.steps=2"],
                "has 3 trainings between its cuts",
            ),
        ],
        9,
    ),
)
def test_the_ways_that_are_proposed_are_accepted(
    teacher: str,
    sets: list[str],
    words: str,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = asked(capsys, home, tmp_path / "r", teacher, *sets)
    assert refused.code == 2 and re.search(words, refused.err, re.DOTALL), refused.err
    assert not (tmp_path / "r" / "score").exists()
    ways = WAY.findall(refused.err)
    assert ways, refused.err
    with monkeypatch.context() as patch:
        patch.setattr("ganpress.methods.content_aware.method.set_up", stop)
        done = asked(capsys, home, tmp_path / "again", teacher, *sets, ways[0].rstrip("."))
    assert done.code == 2 and "error: all is accepted" in done.err, done.err


@pytest.mark.parametrize(
    ("teacher", "sets", "words"),
    [
        ("stylegan2", ["cut.ratio=0"], "cut.ratio=0 removes nothing"),
        ("stylegan2", ["cut.ratio=1"], "cut.ratio=1 leaves no channel"),
        ("stylegan2", [HALF, "target.macs=0.5"], "contradict each other"),
        ("stylegan2", [HALF, "cut.cost_exponent=0.2"], "set cut.scope=network"),
        ("stylegan2", [HALF, "narrow.rounds=0"], "narrow.rounds"),
        ("stylegan2", [HALF, "score.name=content-awar"], "did you mean 'content-aware'"),
        ("cyclegan", [HALF, "score.name=diversity"], "cannot have this score"),
        ("stylegan2", [HALF, "distil.mode=inner"], "output"),
        ("stylegan2", [HALF, "distil.perceptul=1"], "did you mean 'distil.perceptual'"),
        ("stylegan2", [HALF, "target.layout=pth-rosinality"], "pth"),
        ("stylegan2", [HALF, "discriminator.real=images"], "needs images"),
        ("bare", [HALF, "discriminator.fixed=true"], "there is none in its file"),
        ("stylegan2", [HALF, "mask.source=nowhere.onnx"], "There is no mask nowhere.onnx"),
        ("stylegan2", [HALF, "supernet.steps=1"], "Unknown setting 'supernet.steps'"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    teacher: str,
    sets: list[str],
    words: str,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = asked(capsys, home, tmp_path / "r", teacher, *sets)
    assert found.code == 2 and re.search(words, found.err), found.err
    assert "Traceback" not in found.err
    assert not (tmp_path / "r" / "score").exists()


def test_a_file_without_discriminator_goes_on_with_a_warning(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, home, tmp_path / "r", "bare", HALF)
    assert found.code == 0, found.err
    assert "has no discriminator: a fresh one" in found.err


def test_good_input_says_what_stands_for_lpips_and_nothing_else(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, home, tmp_path / "r", "cyclegan", HALF)
    assert found.code == 0, found.err
    said = [line for line in found.err.splitlines() if "perceptual term" in line]
    assert len(said) == 1 and "tiny-unit-distance" in said[0]
    assert "warning" not in found.err.lower()
