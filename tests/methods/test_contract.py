"""A method is one entry: everything outside its folder goes through the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import run_cli

import ganpress.methods
from ganpress.channels.ranking import widths_at_ratio
from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.measures.cost import Latency
from ganpress.methods.ablate import ablate
from ganpress.methods.base import Claim, Given, Method, Variant
from ganpress.methods.compress import compress
from ganpress.methods.measured import Pictures
from ganpress.models.checkpoint import Model, full_model, load
from ganpress.models.source import Source
from ganpress.run.run import Run
from ganpress.training.distil import Budget, Distillation, distil
from ganpress.training.setup import set_up, training_crops
from ganpress.training.shared_settings import MethodSettings


# --- a whole method, as its folder would hold it: 36 lines ----------------------------------------
class HalfSettings(MethodSettings):
    """A uniformly narrow student, distilled."""

    ratio: float = 0.5


def half(given: Given, settings: HalfSettings, run: Run) -> Model:
    setup = set_up(given.teacher, given.images, None, given.weights, settings, run)
    teacher, f = given.teacher, settings.finetune
    run.seed_all("student")
    floor = settings.min_channels
    net = teacher.build(widths_at_ratio(teacher.widths, settings.ratio, floors=floor))
    student, cached = (
        Model(net, teacher.family, teacher.options),
        setup.cached_teacher(settings, 32),
    )
    stage = run.stage("finetune")
    distil(
        stage,
        setup.networks(student, cached, settings),
        lambda first: setup.source.batches(training_crops(settings), first, f.steps),
        Distillation(setup.distance, 1.0),
        settings,
        budget=Budget(f.steps, f.minutes),
    )
    stage.finish()
    student.net.eval()
    return student


HALF = Method(
    name="half",
    paper="Half of it (nobody, 2026)",
    settings=HalfSettings,
    compress=half,
    variants={
        "wide": Variant(meaning="three quarters", overrides={"ratio": 0.75}),
        "narrow": Variant(meaning="a quarter", overrides={"ratio": 0.25}),
    },
    claims=(Claim(statement="wide better than narrow", better="wide", worse="narrow"),),
    charts={"lr": "Rates"},
)
# --------------------------------------------------------------------------------------------------

SETS = [
    *("min_channels=1", "data.size=32", "data.batch=2", "data.workers=0", "target.macs=0.9"),
    *("distance.features=tiny", "distance.style=0", "distance.pixel=5", "discriminator.width=4"),
    *("discriminator.layers=2", "finetune.steps=3"),
]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ganpress.methods.METHODS, "half", HALF)
    quick = Latency(1.0, 1.0, "cpu", threads=1, batch=1, size=32, repeats=1)  # 8 s a run else
    monkeypatch.setattr("ganpress.measures.both_costs.latency", lambda *_, **__: quick)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("photos"), 6, seed=3, size=40)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = full_model("cyclegan", blocks=1)
    small = Model(model.build(dict.fromkeys(model.widths, 8)), model.family, model.options)
    return ganpress.save(small, tmp_path_factory.mktemp("teacher") / "teacher.safetensors")


def sets() -> list[str]:
    return [part for item in SETS for part in ("--set", item)]


def test_a_method_compresses_is_listed_and_resumes_from_the_command_line(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["compress", "half", "--teacher", teacher, "--images", photos, "--run", tmp_path / "r"]
    done = run_cli(capsys, *line, *sets())
    assert done.code == 0, done.err
    student = load(tmp_path / "r" / "student.safetensors")
    assert set(student.widths.values()) == {4} and student.provenance["method"] == "half"
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert (config["method"], config["ratio"]) == ("half", 0.5)
    assert "Rates" in (tmp_path / "r" / "report.html").read_text()
    again = run_cli(capsys, *line, *sets())
    assert again.code == 0 and "nothing is done again" in again.err
    assert "half: Half of it (nobody, 2026)" in run_cli(capsys, "methods").out
    assert "ratio = 0.5" in run_cli(capsys, "settings", "half").out
    refused = run_cli(capsys, *line[:-1], tmp_path / "s", *sets(), "--set", "sparsify.rho=1")
    assert refused.code == 2 and "Unknown setting 'sparsify.rho'" in refused.err


def test_its_variants_are_compared_and_its_claims_checked(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    from ganpress.run.settings import read_config

    settings = read_config(HalfSettings, None, SETS)
    pictures = Pictures(open_images(photos))
    found = ablate(
        load(teacher), pictures, run=tmp_path, method="half", config=settings, quiet=True
    )
    assert [row["variant"] for row in found["variants"]] == ["wide", "narrow"]
    assert {said["statement"] for said in found["statements"]} == {"wide better than narrow"}
    page = (tmp_path / "ablation.md").read_text()
    assert page.startswith("# Ablation of Half of it (nobody, 2026), cyclegan")
    assert "wide (three quarters)" in page


def test_a_stopped_run_of_it_ends_as_if_it_had_never_stopped(
    photos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from ganpress.run.settings import read_config

    settings = read_config(HalfSettings, None, [*SETS, "finetune.steps=5"])
    images: Images = open_images(photos)

    def run(folder: Path) -> None:
        compress(load(teacher), images, run=folder, config=settings, method="half", quiet=True)

    run(tmp_path / "whole")
    batches = Source.batches

    def torn(self: Source, *given: object) -> object:
        for count, batch in enumerate(batches(self, *given)):  # type: ignore[arg-type]
            if count == 3:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Source, "batches", torn)
        run(tmp_path / "torn")
    run(tmp_path / "torn")
    a, b = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "torn"))
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)
