"""A killed or stopped run, taken up again, ends bit-equal to one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import CONTEXT
from patience import PATIENCE_S
from safetensors.torch import load_file
from slim_runs import slim
from thin import thinned

from ganpress.data import open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError
from ganpress.formats.exporters.verify import ExportFacts
from ganpress.measures import both_costs
from ganpress.measures.cost import latency
from ganpress.methods import finish as finishing
from ganpress.methods.compress import compress
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model, full_model, load, save
from ganpress.run.logs import read_log
from ganpress.run.run import Run, Stage
from ganpress.run.settings import read_config

SETTINGS = """
seed = 5
min_channels = 1
target.macs = 0.4
[data]
size = 32
batch = 2
cached_crops = 1
workers = 0
[distance]
features = "tiny"
style = 0.0
unit = 2.0
pixel = 5.0
[discriminator]
width = 4
layers = 2
weight = 0.1
lr = 2e-4
pool = 3
[sparsify]
steps = 8
rounds = 2
lr = 5e-4
[finetune]
steps = 6
lr = 1e-3
ema = 0.9
"""


def teacher() -> Model:
    torch.manual_seed(0)
    model = full_model("cartoongan", blocks=2)
    return Model(model.build(dict.fromkeys(model.widths, 6)), model.family, model.options)


def watch_events(happened: Callable[[str], None]) -> None:
    """Call `happened` at each logged step, and before and after each file is put in place."""
    replace, log = os.replace, Stage.log

    def replace_and_tell(source: Any, target: Any) -> None:
        name = "/".join(Path(target).parts[-2:])
        happened(f"before {name}")
        replace(source, target)
        happened(f"after {name}")

    def log_and_tell(self: Stage, step: int, /, **scalars: Any) -> None:
        happened(f"log {self.name}/{step}")
        log(self, step, **scalars)

    os.replace, Stage.log = replace_and_tell, log_and_tell  # type: ignore[assignment,method-assign]


def train(root: Path, kill_at: int | str | None, workers: int) -> None:
    """Slim in this process, saving after every step; SIGKILL at an event (number or name)."""
    torch.set_num_threads(1)
    events: list[str] = []

    def happened(name: str) -> None:
        if kill_at in (name, len(events)):
            os.kill(os.getpid(), signal.SIGKILL)
        events.append(name)

    config = read_config(SlimConfig, root.parent / "settings.toml", [f"data.workers={workers}"])
    images = open_images(root.parent / "photos")
    watch_events(happened)
    run = Run(root, seed=config.seed, quiet=True, save_every_s=0.0, log_every=1)
    save(slim(teacher(), images, config, run), root / "student.safetensors")
    (root / "events.json").write_text(json.dumps(events))


def command(arguments: list[str], told: Path) -> None:
    """`ganpress ...` in this process, without what follows training; stderr goes to a file."""
    from ganpress.cli import app as cli
    from ganpress.cli import compression as cli_compression
    from ganpress.methods import compress as compression

    torch.set_num_threads(1)
    sys.stderr = told.open("w", buffering=1)
    compression.finish = lambda *_, **__: None  # type: ignore[assignment]
    cli_compression.print_run = lambda _: None
    sys.argv = ["ganpress", *arguments]
    cli.main()


def ran(target: Callable[..., None], *arguments: object) -> int | None:
    """The exit code of a function run in a process of its own."""
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join(PATIENCE_S)
    assert not process.is_alive()
    return process.exitcode


def equal(a: Path, b: Path) -> bool:
    x, y = (load_file(root / "student.safetensors") for root in (a, b))
    return list(x) == list(y) and all(torch.equal(x[n], y[n]) for n in x)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, settings, a teacher's file, and `whole`, a run that nothing disturbed."""
    root = tmp_path_factory.mktemp("resume")
    write_folder(root / "photos", 10, seed=1, size=40)
    (root / "settings.toml").write_text(SETTINGS)
    save(teacher(), root / "teacher.safetensors")
    assert ran(train, root / "whole", None, 0) == 0
    return root


def fresh(home: Path, name: str) -> Path:
    return home / name.replace("/", "-").replace(" ", "-")


@pytest.mark.parametrize("point", thinned(range(5), 1))
def test_a_run_killed_at_a_random_point_ends_bit_equal(home: Path, point: int) -> None:
    events = json.loads((home / "whole" / "events.json").read_text())
    end = events.index("before whole/student.safetensors")
    assert end >= 80
    kill_at = random.Random(20).sample(range(end), 5)[point]
    root = fresh(home, f"killed at {point}")
    assert ran(train, root, kill_at, 0) == -signal.SIGKILL
    assert ran(train, root, None, 0) == 0
    assert equal(root, home / "whole")
    for stage in ("sparsify-1", "sparsify-2", "finetune"):
        lines = [read_log(r / stage / "log.jsonl") for r in (root, home / "whole")]
        for rows in lines:
            for row in rows:
                del row["elapsed_s"]
        assert lines[0] == lines[1]


@pytest.mark.parametrize(
    "event",
    thinned(
        [
            "before sparsify-1/student.safetensors",
            "before sparsify-1/discriminator.pt",
            "before sparsify-1/done.json",
            "after sparsify-1/done.json",
            "after sparsify-2/discriminator.pt",
            "after finetune/done.json",
        ],
        lambda event: "sparsify-1/d" in event,
    ),
)
def test_a_run_killed_between_two_stages_ends_bit_equal(home: Path, event: str) -> None:
    root = fresh(home, event)
    assert ran(train, root, event, 0) == -signal.SIGKILL
    assert ran(train, root, None, 0) == 0
    assert equal(root, home / "whole")


def test_a_killed_run_with_a_decoding_process_ends_bit_equal(home: Path) -> None:
    root = fresh(home, "workers")
    assert ran(train, root, "log sparsify-2/2", 1) == -signal.SIGKILL
    assert ran(train, root, None, 1) == 0
    assert equal(root, home / "whole")


def test_a_killed_run_leaves_only_whole_files(home: Path) -> None:
    root = fresh(home, "whole files")
    assert ran(train, root, "before sparsify-2/discriminator.pt", 0) == -signal.SIGKILL
    assert not (root / "sparsify-2" / "discriminator.pt").exists()
    for stage in ("sparsify-1", "sparsify-2"):
        load(root / stage / "student.safetensors")
    for file in root.rglob("*.json"):
        json.loads(file.read_text())


def arguments(home: Path, run: Path) -> list[str]:
    return [
        *("compress", "slim", "--teacher", f"{home / 'teacher.safetensors'}"),
        *("--images", f"{home / 'photos'}", "--config", f"{home / 'settings.toml'}"),
        *("--run", f"{run}", "--set", "sparsify.steps=30", "--set", "finetune.steps=50"),
    ]


# The command, which waits after the picture `at` until the file `go` is there: a stage of tiny
# steps would otherwise be over before a busy machine lets the test send its signal.
HELD = """
import sys, time
from pathlib import Path
from ganpress.cli import app as cli
from ganpress.run.run import Stage

at, go = map(Path, sys.argv[1:3])
sys.argv[1:3] = []
images = Stage.images

def images_and_wait(stage, *args, **kwargs):
    images(stage, *args, **kwargs)
    deadline = time.monotonic() + 600
    while at.exists() and not go.exists() and time.monotonic() < deadline:
        time.sleep(0.01)

Stage.images = images_and_wait
cli.main()
"""


@pytest.fixture(scope="module")
def commanded(home: Path) -> Path:
    """A run by the command line that nothing disturbed."""
    root = home / "commanded"
    assert ran(command, arguments(home, root), home / "commanded.txt") == 0
    return root


@pytest.mark.parametrize(
    ("number", "code", "stage"),
    thinned([(signal.SIGINT, 130, "finetune"), (signal.SIGTERM, 143, "sparsify-1")], 1),
)
def test_a_stopped_command_saves_says_so_and_resumes_bit_equal(
    home: Path, commanded: Path, number: signal.Signals, code: int, stage: str
) -> None:
    root = fresh(home, number.name)
    first_step = root / stage / "images" / "photo-teacher-student-0000000.png"
    go = home / f"{number.name}-was-sent"
    line = [sys.executable, "-c", HELD, str(first_step), str(go), *arguments(home, root)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        while not first_step.exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        go.touch()
        told = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == code, told
    assert f"Stopped by {number.name}" in told
    assert "Run the same command again to go on." in told
    assert "Traceback" not in told
    assert (root / stage / "state.pt").exists()
    assert not (root / stage / "done.json").exists()
    assert ran(command, arguments(home, root), home / f"{number.name}.txt") == 0
    assert equal(root, commanded)
    card = json.loads((root / "card.json").read_text())
    assert card["resumed"][0]["stage"] == stage


def test_a_finished_run_is_not_trained_again(home: Path, commanded: Path) -> None:
    before = (commanded / "finetune" / "done.json").read_bytes()
    assert ran(command, arguments(home, commanded), home / "again.txt") == 0
    assert (commanded / "finetune" / "done.json").read_bytes() == before


def test_a_run_is_not_resumed_with_other_settings_or_another_teacher(
    home: Path, commanded: Path
) -> None:
    told = home / "other.txt"
    changed = [*arguments(home, commanded), "--set", "beta=3"]
    assert ran(command, changed, told) == 2
    assert "beta: 20.0 in the run, 3" in told.read_text()
    model = teacher()
    torch.nn.init.normal_(model.net.get_parameter("stem.conv.weight"))
    other = save(model, home / "other.safetensors")
    changed = [str(other) if "teacher" in a and "/" in a else a for a in arguments(home, commanded)]
    assert ran(command, changed, told) == 2
    assert "was started with another teacher" in told.read_text()


@pytest.fixture
def glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies measured for a moment only, and no ONNX file."""

    def short(net: Any, **options: Any) -> Any:
        return latency(net, **{**options, "seconds": 0.0, "warm_up": 0})

    monkeypatch.setattr(both_costs, "latency", short)
    monkeypatch.setattr(finishing, "export", exported)
    torch.set_num_threads(1)


def exported(model: Model, path: Path, **_: Any) -> ExportFacts:
    path.write_bytes(b"onnx")
    return ExportFacts(path, 4, 0.0, 0.0, [], None)


def finished(home: Path, root: Path | str, *, quiet: bool = True, **more: Any) -> Model:
    """A whole run of two steps of distillation; of a finished one, what is there."""
    brief = ["procedure=gd", "finetune.steps=2"]
    config = read_config(SlimConfig, home / "settings.toml", brief)
    photos = open_images(home / "photos")
    return compress(teacher(), photos, run=root, config=config, quiet=quiet, **more)


def stamps(root: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "run.lock"
    }


@pytest.mark.usefixtures("glance")
def test_a_finished_run_is_given_back_at_once_with_every_file_untouched(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    first = finished(home, root)
    before = stamps(root)
    assert {"report.html", "results.json", "student.onnx"} <= {path.name for path in before}
    again = finished(home, root, quiet=False)
    assert stamps(root) == before
    assert again.widths == first.widths
    assert f"{root} is finished: nothing is done again" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="other settings"):
        compress(teacher(), open_images(home / "photos"), run=root, quiet=True)
    assert stamps(root) == before


@pytest.mark.usefixtures("glance")
def test_a_run_of_before_a_group_of_settings_existed_had_its_defaults(
    home: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    first = finished(home, root)
    path = root / "config.json"
    old = json.loads(path.read_text())
    del old["mask"], old["quantise"]["exact"]
    path.write_text(json.dumps(old))
    assert finished(home, root).widths == first.widths
    old["mask"] = {"source": "other"}
    path.write_text(json.dumps(old))
    with pytest.raises(ConfigError, match=r'mask.source: "other" in the run, null now'):
        finished(home, root)


@pytest.mark.usefixtures("glance")
def test_a_finished_run_is_shown_again_on_other_pictures_and_where_a_file_is_gone(
    home: Path, tmp_path: Path
) -> None:
    finished(home, tmp_path)
    results = tmp_path / "results.json"
    test = open_images(write_folder(tmp_path / "test", 3, seed=9, size=40))
    finished(home, tmp_path, test=test)
    assert json.loads(results.read_text())["evaluation"]["protocol"]["held out"] == "yes"
    assert json.loads(results.read_text())["evaluation"]["count"] == 3
    finished(home, tmp_path, test=test, match_colours=True)
    assert json.loads(results.read_text())["samples"] == {"colours": "as the photo's"}
    before = results.stat().st_mtime_ns
    finished(home, tmp_path, test=test, match_colours=True)
    assert results.stat().st_mtime_ns == before
    (tmp_path / "report.html").unlink()
    finished(home, tmp_path, test=test, match_colours=True)
    assert (tmp_path / "report.html").exists()
    results.write_text("{")
    finished(home, tmp_path, test=test, match_colours=True)
    assert json.loads(results.read_text())["export"]["onnx"]["file"] == "student.onnx"


@pytest.mark.usefixtures("glance")
def test_the_end_of_a_run_says_what_it_is_at(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(home, tmp_path / "quiet")
    assert capsys.readouterr().err == ""
    finished(home, tmp_path / "run", quiet=False)
    assert capsys.readouterr().err.splitlines()[-4:] == [
        "evaluating on 10 pictures",
        "measuring latency",
        "exporting to ONNX and checking it",
        "measuring the latency of the exported files",
    ]


@pytest.mark.usefixtures("glance")
def test_a_run_folder_can_be_named_by_text(home: Path, tmp_path: Path) -> None:
    finished(home, str(tmp_path / "run"))
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("name", ["images", "test", "reals"])
def test_images_that_were_not_opened_are_refused_before_anything_is_made(
    name: str, home: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"images": open_images(home / "photos"), name: "photos"}
    opens = rf"{name} is a str \(photos\).*ganpress\.open_images"
    with pytest.raises(ConfigError, match=opens):
        compress(teacher(), run=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
