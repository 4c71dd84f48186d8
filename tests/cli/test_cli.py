"""The command line: what each verb prints, its exit codes, and no traceback for a user's error."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import run_cli, teacher_file
from patience import PATIENCE_S
from PIL import Image
from rich.console import Console

from ganpress import errors
from ganpress.cli import app as cli
from ganpress.cli import evaluation as cli_evaluation
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import GanpressError, Interrupted
from ganpress.models.checkpoint import load

TOY = [
    *("min_channels=1", "data.size=32", "data.batch=2", "data.workers=0", "target.macs=0.4"),
    *("distance.features=tiny", "distance.style=0", "distance.pixel=5", "discriminator.width=4"),
    *("discriminator.layers=2", "sparsify.steps=6", "finetune.steps=4"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    write_folder(root / "photos", 6, seed=1, size=40)
    write_folder(root / "test", 3, seed=2, size=40)
    teacher_file(root / "teacher.safetensors")
    return root


@pytest.fixture(scope="module")
def run(home: Path) -> Iterator[Path]:
    """A whole run of `ganpress compress`."""
    arguments = [
        *("compress", "slim", "--teacher", home / "teacher.safetensors", "--images"),
        *(home / "photos", "--test", home / "test", "--run", home / "run"),
        *(part for item in TOY for part in ("--set", item)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ganpress", *map(str, arguments)])
        with pytest.raises(SystemExit) as end, warnings.catch_warnings():
            cli.main()
    assert end.value.code in (0, None)
    yield home / "run"


def test_measure_knows_the_published_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, "measure", "cyclegan", "--json")
    found = json.loads(told.out)
    assert list(found) == ["params", "macs", "macs_outres", "bytes", "macs_linear"]
    assert found["params"] == 11_378_179
    assert found["macs"] / 1e9 == pytest.approx(49.55, abs=0.005)
    assert found["macs_outres"] / 1e9 == pytest.approx(56.80, abs=0.005)
    assert found["bytes"] == 4 * 11_378_179


def test_measure_takes_files_and_families_together(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "teacher.safetensors"
    told = run_cli(capsys, "measure", "cartoongan", file, "--json", "--size", 64)
    found = json.loads(told.out)
    assert list(found) == ["cartoongan", str(file)]
    assert found[str(file)]["params"] < found["cartoongan"]["params"]


def test_measure_prints_a_table_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, "measure", "cyclegan")
    for part in ("11,378,179", "49.552 G", "56.799 G", "256 x 256"):
        assert part in told.out


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the commands a terminal of 80 columns."""
    monkeypatch.setattr("ganpress.cli.lines.console", Console(width=80))


def test_measure_prints_the_latency_that_it_was_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganpress.measures import cost

    time = cost.Latency(12.344, 98.766, "cpu", threads=3, batch=1, size=64, repeats=5)
    monkeypatch.setattr(cost, "latency", lambda *_, **__: time)
    narrow(monkeypatch)
    told = run_cli(capsys, "measure", home / "teacher.safetensors", "--size", 64, "--latency")
    assert told.code == 0
    for part in ("median", "95th pct", "ms", "12.34", "98.77", "on cpu", "threads: 3"):
        assert part in told.out
    assert "12.34" not in run_cli(capsys, "measure", home / "teacher.safetensors").out


@pytest.mark.parametrize("more", [(), ("--latency",)])
@pytest.mark.parametrize("folder", ["h2z", "runs/a rather long name/of 32 bits/horse2zebra"])
def test_measure_never_cuts_a_name_nor_a_number(
    folder: str,
    more: tuple[str, ...],
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ganpress.measures import cost

    time = cost.Latency(1234.344, 9998.766, "cpu", threads=3, batch=1, size=64, repeats=5)
    monkeypatch.setattr(cost, "latency", lambda *_, **__: time)
    narrow(monkeypatch)
    monkeypatch.chdir(tmp_path)
    name = f"{folder}/student[8].safetensors"
    Path(folder).mkdir(parents=True)
    Path(name).write_bytes((home / "teacher.safetensors").read_bytes())
    told = run_cli(capsys, "measure", name, "cyclegan", *more)
    assert name in told.out
    assert "11,378,179" in told.out and "49.552 G" in told.out and "45,512,716" in told.out
    assert ("9998.77" in told.out) == bool(more)
    assert "…" not in told.out
    assert "linear" not in told.out
    assert max(map(len, told.out.splitlines())) <= max(80, len(name) + 3)


def test_measure_tells_the_linear_layers_where_there_are_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = run_cli(capsys, "measure", "sngan")
    assert "(linear)" in told.out and "0.001 G" in told.out


@pytest.mark.parametrize("size", [3, 65, -5, 0])
def test_measure_refuses_a_size_that_the_network_cannot_take(
    size: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_cli(capsys, "measure", home / "teacher.safetensors", "--size", size)
    assert told.code == 2
    assert told.out == ""
    if size > 0:
        assert f"The size is {size}" in told.err and "divisible by 4" in told.err
    else:
        assert f"--size is {size}: it must be at least 1 pixel" in told.err


def test_a_generator_that_reads_noise_is_measured_at_its_own_size_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_cli(capsys, "measure", "sngan", "--size", 32).code == 0
    told = run_cli(capsys, "measure", "sngan", "--size", 64)
    assert told.code == 2
    assert "leave the size out" in told.err


def test_the_list_of_data_sets_breaks_no_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganpress.data.public import PUBLIC

    narrow(monkeypatch)
    told = run_cli(capsys, "data", "list").out
    prose = [line for line in told.splitlines() if "ganpress" not in line]
    assert max(map(len, prose)) <= 80
    for name, entry in PUBLIC.items():
        for word in (name, *f"{entry.what} {entry.kind} {entry.size} {entry.terms}".split()):
            assert word in told


def test_the_versions_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, "--version")
    assert told.code == 0
    python = sys.version.split()[0]
    assert told.out.startswith("ganpress ")
    assert told.out.endswith(f", torch {torch.__version__}, python {python}\n")


@pytest.mark.parametrize("verb", ["measure", "compress", "train", "demo"])
def test_ctrl_c_anywhere_in_a_command_is_told_in_a_line(
    verb: str,
    tmp_path: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ganpress.cli import demo as line
    from ganpress.run import settings as config

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_evaluation, "_model_or_family", stop)
    monkeypatch.setattr(config, "read_config", stop)
    monkeypatch.setattr(line, "run_demo", stop)
    given = ["--images", home / "photos", "--run", tmp_path]
    more: dict[str, list[Any]] = {
        "measure": ["cyclegan"],
        "compress": ["slim", "-t", home / "teacher.safetensors", *given],
        "train": ["cartoongan", *given],
        "demo": [],
    }
    told = run_cli(capsys, verb, *more[verb])
    assert told.code == 130
    again = "" if verb == "measure" else " Run the same command again to go on."
    assert told.err == f"Stopped.{again}\n"


def test_the_help_of_export_names_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    from ganpress.formats.exporters import TARGETS

    told = run_cli(capsys, "export", "--help")
    assert told.code == 0
    for target in TARGETS:
        assert target in told.out


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["measure", "cyclegn"], "cyclegan"),
        (["compres"], "compress"),
        (["measure", "cyclegan", "--jsn"], "--json"),
        (["import", "cartongan", "x.pth", "-o", "y"], "cartoongan"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(
    arguments: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_cli(capsys, *arguments)
    assert told.code == 2
    assert nearest in told.err


@pytest.mark.parametrize(
    ("changed", "nearest"),
    [
        (("slm", "data.size=32"), "did you mean 'slim'?"),
        (("slim", "data.sise=32"), "did you mean 'data.size'?"),
    ],
)
def test_a_misspelt_method_or_setting_is_refused_with_the_nearest(
    changed: tuple[str, str], nearest: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method, item = changed
    told = run_cli(
        capsys, "compress", method, "--teacher", home / "teacher.safetensors",
        "--images", home / "photos", "--run", home / "never", "--set", item,
    )  # fmt: skip
    assert told.code == 2
    assert nearest in told.err
    assert not (home / "never").exists()


def test_a_misspelt_export_target_is_refused_with_the_nearest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_cli(
        capsys, "export", home / "teacher.safetensors", "--to", "onxx", "-o", home / "x.onnx"
    )
    assert told.code == 2
    assert "did you mean 'onnx'?" in told.err


def kinds(kind: type[GanpressError] = GanpressError) -> list[type[GanpressError]]:
    return [kind, *(deeper for below in kind.__subclasses__() for deeper in kinds(below))]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_is_one_message_and_an_exit_code(
    kind: type[GanpressError],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = kind(
        "[red] what, where, what to do", **{"exit_code": 143} if kind is Interrupted else {}
    )

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli_evaluation, "_model_or_family", fail)
    told = run_cli(capsys, "measure", "cyclegan")
    assert told.code == (143 if kind is Interrupted else 2)
    assert told.err.strip() == "error: [red] what, where, what to do"
    assert told.out == ""


def test_all_errors_are_in_the_tree() -> None:
    found = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert found == set(kinds())


def test_a_path_that_cannot_be_used_is_a_message_too(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "a-file").touch()
    told = run_cli(
        capsys, "evaluate", home / "teacher.safetensors", "--teacher", home / "teacher.safetensors",
        "--images", home / "photos", "--features", "tiny", "--size", 32,
        "--json", home / "a-file" / "numbers.json",
    )  # fmt: skip
    assert told.code == 2
    assert "numbers.json" in told.err


def test_the_program_itself_ends_with_the_code(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "ganpress.cli.app", "measure", str(tmp_path / "none.safetensors")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert "There is no model file" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_compress_leaves_student_report_and_numbers(run: Path, home: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    model = results["model"]
    student = load(run / "student.safetensors")
    assert model["student"]["macs"] <= 0.4 * model["teacher"]["macs"]
    assert model["student"]["widths"] == student.widths
    assert [s["name"] for s in results["stages"]] == ["sparsify", "finetune"]
    assert results["evaluation"]["protocol"]["held out"] == "yes"
    assert results["evaluation"]["count"] == 3
    assert results["export"]["onnx"]["max_abs_diff"] < 1e-3
    for file in ("student.onnx", "report.html", "config.json", "card.json"):
        assert (run / file).stat().st_size > 100
    assert len(list((run / "samples").glob("*_student.png"))) == 3
    card = json.loads((run / "card.json").read_text())
    assert card["command"].startswith("ganpress compress slim --teacher ")
    assert student.provenance["method"] == "slim"
    assert student.provenance["settings"]["procedure"] == "gs"


def test_a_finished_run_tells_its_results_again(
    run: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganpress.methods import compress as compression

    monkeypatch.setattr(compression, "finish", lambda *_, **__: None)
    told = run_cli(
        capsys, "compress", "slim", "--teacher", home / "teacher.safetensors",
        "--images", home / "photos", "--run", run,
        *(part for item in TOY for part in ("--set", item)),
    )  # fmt: skip
    assert told.code == 0
    assert "student/teacher: params 1/" in told.out
    assert "tiny-unit-distance: " in told.out
    assert str(run / "report.html") in told.out


def test_evaluate_prints_and_writes_the_same_numbers(
    run: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "numbers.json"
    told = run_cli(
        capsys, "evaluate", run / "student.safetensors", "--teacher", home / "teacher.safetensors",
        "--images", home / "test", "--features", "tiny", "--size", 32, "--json", file,
        "--metrics", "none",
    )  # fmt: skip
    assert told.code == 0
    found = json.loads(file.read_text())
    ours = json.loads((run / "results.json").read_text())["evaluation"]
    assert found["metrics"] == pytest.approx(ours["metrics"])
    assert f"l1: {found['metrics']['l1']:.4f}" in told.out


def test_report_is_written_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "report.html").unlink()
    told = run_cli(capsys, "report", run)
    assert told.out.strip() == str(run / "report.html")
    assert (run / "report.html").exists()


def test_a_teacher_that_is_no_run_has_no_report(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run_cli(capsys, "report", home / "photos")
    assert told.code == 2
    assert str(home / "photos") in told.err


def test_settings_lists_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, "settings")
    assert "data.size = 256" in told.out
    assert "sparsify.rho = 0.01" in told.out
    assert "weight of the L1" in told.out
    assert tomllib.loads(told.out)["sparsify"]["rounds"] == 1


@pytest.mark.parametrize("verb", ["import", "compress", "measure", "evaluate", "export", "report"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = run_cli(capsys, verb, "--help")
    assert told.code == 0
    assert "--help" in told.out


def test_pictures_in_the_samples_have_the_evaluated_size(run: Path) -> None:
    files = list((run / "samples").glob("*.png"))
    assert len(files) == 3 * 3  # photo, teacher and student
    for file in files:
        with Image.open(file) as picture:
            assert picture.size == (32, 32)


def test_ctrl_c_while_the_program_is_imported_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganpress.__main__ import main

    class Stop:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "ganpress.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "ganpress.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Stop(), *sys.meta_path])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "Stopped.\n"
