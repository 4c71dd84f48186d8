"""Bad input through the command line: one clear message, exit code 2, nothing run or lost."""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import CONTEXT
from nets import WIRINGS
from patience import PATIENCE_S
from PIL import Image
from safetensors.torch import load_file, save_file
from slim_runs import slim
from thin import thinned

from ganpress.cli import app as cli
from ganpress.cli import compression as cli_compression
from ganpress.data import open_images
from ganpress.data.drawn.draw import draw, write_folder
from ganpress.errors import Diverged
from ganpress.losses.distance import Distance
from ganpress.methods import compress as compression
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model, full_model, load, save
from ganpress.run.run import Run
from ganpress.run.settings import read_config

TOY = [
    *("min_channels=1", "data.size=32", "data.batch=2", "data.workers=0", "target.macs=0.5"),
    *("distance.features=tiny", "distance.style=0", "distance.pixel=5", "discriminator.width=4"),
    *("discriminator.layers=2", "sparsify.steps=6", "finetune.steps=4"),
]

Command = Callable[..., tuple[int, str]]


def toy(family: str = "cartoongan", *, width: int = 6) -> Model:
    torch.manual_seed(0)
    model = full_model(family, blocks=1)
    return Model(model.build(dict.fromkeys(model.widths, width)), model.family, model.options)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad")
    write_folder(root / "photos", 5, seed=1, size=40)
    for family in ("cartoongan", "cyclegan"):
        save(toy(family), root / f"{family}.safetensors")
    return root


@pytest.fixture
def ganpress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command line in this process: arguments -> exit code and what it said on stderr."""
    monkeypatch.setattr(compression, "finish", lambda *_, **__: None)
    monkeypatch.setattr(cli_compression, "print_run", lambda _: None)

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ganpress", *map(str, arguments)])
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            with pytest.raises(SystemExit) as end:
                cli.main()
        told = capsys.readouterr().err
        assert "Traceback" not in told
        return int(end.value.code or 0), told

    return command


def evaluation_of(home: Path, photos: Path, *more: object) -> list[object]:
    teacher = home / "cartoongan.safetensors"
    given = ["evaluate", teacher, "--teacher", teacher, "--images", photos]
    return [*given, "--features", "tiny", "--size", 32, *more]


def compression_of(home: Path, run: Path, *sets: str, teacher: Path | None = None) -> list[object]:
    teacher = teacher or home / "cartoongan.safetensors"
    given = ["compress", "slim", "--teacher", teacher, "--images", home / "photos", "--run", run]
    return [*given, *(part for item in (*TOY, *sets) for part in ("--set", item))]


# --- images ---------------------------------------------------------------------------------------


def test_a_folder_with_no_images_names_itself_and_the_endings(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    (tmp_path / "notes.txt").touch()
    code, told = ganpress(*evaluation_of(home, tmp_path))
    assert code == 2
    for part in (str(tmp_path), "jpg", "png", "webp"):
        assert part in told


def test_a_missing_folder_offers_the_nearest_name(home: Path, ganpress: Command) -> None:
    code, told = ganpress(*evaluation_of(home, home / "photo"))
    assert code == 2
    assert "did you mean 'photos'?" in told


def truncated(folder: Path) -> Path:
    """Three good JPEGs and one that ends in the middle."""
    folder.mkdir()
    for i in range(4):
        Image.fromarray(draw(4, i, 48)).save(folder / f"{i}.jpg", quality=95)
    whole = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def test_a_truncated_jpeg_among_good_ones_is_named_and_left_out(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    numbers = tmp_path / "numbers.json"
    code, told = ganpress(*evaluation_of(home, truncated(tmp_path / "jpegs"), "--json", numbers))
    assert code == 0
    assert told.startswith("warning: Left out 1 of 4 images: ")
    assert str(tmp_path / "jpegs" / "2.jpg") in told
    assert json.loads(numbers.read_text())["count"] == 3


def test_a_truncated_jpeg_is_refused_when_strict(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    code, told = ganpress(*evaluation_of(home, truncated(tmp_path / "jpegs"), "--strict"))
    assert code == 2
    assert str(tmp_path / "jpegs" / "2.jpg") in told
    assert "Repair or remove" in told


def mixed(folder: Path) -> Path:
    """One picture of every mode that photos come in, each of another size."""
    folder.mkdir()
    rgb = Image.fromarray(draw(4, 0, 80))
    grey = np.asarray(rgb.convert("L").resize((60, 44)), np.uint16) * 257
    rgb.resize((40, 64)).quantize(16).save(folder / "palette.png")
    rgb.resize((50, 41)).convert("L").save(folder / "grey.png")
    rgb.resize((33, 47)).convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(grey).save(folder / "deep.png")
    rgb.resize((64, 33)).convert("CMYK").save(folder / "print.jpg")
    rgb.resize((20, 90)).convert("1").save(folder / "bits.png")
    return folder


def test_images_of_mixed_size_and_mode_are_all_used(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    folder, numbers = mixed(tmp_path / "mixed"), tmp_path / "numbers.json"
    code, told = ganpress(*evaluation_of(home, folder, "--json", numbers))
    assert (code, told) == (0, "")
    assert json.loads(numbers.read_text())["count"] == 6
    arguments = compression_of(home, tmp_path / "run")
    arguments[arguments.index(home / "photos")] = folder
    assert ganpress(*arguments)[0] == 0
    load(tmp_path / "run" / "student.safetensors")


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        ("sparsfy.steps=3", ["'sparsfy.steps'", "did you mean 'sparsify.steps'?"]),
        ("data.size=30", ["data.size", "multiple of 4", "got 30"]),
        ("target.params=0.5", ["Give one target, not 2: target.macs, target.params."]),
        ("discriminator.layers=5", ["at least 96 pixels, got 32", "lower discriminator.layers"]),
        ("target.macs=0.0001", ["cannot be reached", "--set target.macs="]),
    ],
)
def test_a_bad_setting_is_refused_before_anything_is_trained(
    item: str, parts: list[str], home: Path, tmp_path: Path, ganpress: Command
) -> None:
    run = tmp_path / "run"
    code, told = ganpress(*compression_of(home, run, item))
    assert code == 2
    for part in parts:
        assert part in told
    assert not run.exists() or not list(run.iterdir())


def test_after_a_refusal_the_folder_takes_better_settings(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    run = tmp_path / "run"
    assert ganpress(*compression_of(home, run, "target.macs=0.0001"))[0] == 2
    assert ganpress(*compression_of(home, run))[0] == 0


def test_a_size_that_the_network_cannot_take_is_refused(home: Path, ganpress: Command) -> None:
    code, told = ganpress(*evaluation_of(home, home / "photos", "--size", 30))
    assert code == 2
    assert "The size is 30" in told
    assert "divisible by 4" in told


# --- checkpoints ----------------------------------------------------------------------------------


def test_a_student_of_another_family_is_refused(home: Path, ganpress: Command) -> None:
    arguments = evaluation_of(home, home / "photos")
    arguments[1] = home / "cyclegan.safetensors"
    code, told = ganpress(*arguments)
    assert code == 2
    assert "The student is a 'cyclegan', the teacher a 'cartoongan'" in told


def test_a_foreign_checkpoint_of_another_family_is_refused(
    tmp_path: Path, ganpress: Command
) -> None:
    from ganpress.formats.importers.cartoongan import layer_names

    net = toy().net.state_dict()
    theirs = {}
    for ours, name in layer_names(1).items():
        is_norm = ours.split(".")[-1].startswith("norm")
        for part, called in {"weight": "scale", "bias": "shift"}.items():
            theirs[f"{name}.{called if is_norm else part}"] = net[f"{ours}.{part}"]
    torch.save(theirs, tmp_path / "hayao.pth")
    out = tmp_path / "out.safetensors"
    code, told = ganpress("import", "cyclegan", tmp_path / "hayao.pth", "-o", out)
    assert code == 2
    assert "hayao.pth is no 'cyclegan' generator" in told
    assert "Use kind 'cartoongan'" in told
    assert not out.exists()
    assert ganpress("import", "cartoongan", tmp_path / "hayao.pth", "-o", out)[0] == 0


class Evil:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("how", ["torch", "torch-legacy", "pickle", "hidden"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(
    how: str, tmp_path: Path, ganpress: Command
) -> None:
    marker, file = tmp_path / "ran", tmp_path / "evil.pth"
    content: dict[str, Any] = {"model.1.weight": torch.zeros(4), "extra": Evil(marker)}
    if how == "hidden":
        content = {"state_dict": {"deep": [{"deeper": (1, Evil(marker))}]}}
    if how == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how != "torch-legacy")
    for kind in ("cyclegan", "auto"):
        code, told = ganpress("import", kind, file, "-o", tmp_path / "out.safetensors")
        assert code == 2
        assert "mkdir" in told
        assert "It was not run" in told
    assert not marker.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("verb", ["measure", "export"])
def test_a_pickle_is_no_model_of_ours(verb: str, tmp_path: Path, ganpress: Command) -> None:
    marker, file = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"extra": Evil(marker)}, file)
    more = ["-o", tmp_path / "x.onnx"] if verb == "export" else []
    code, told = ganpress(verb, file, *more)
    assert code == 2
    assert "ganpress import" in told
    assert not marker.exists()


def test_instance_maps_without_their_label_maps_are_refused(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    line = ["-o", tmp_path / "x.onnx", "--instances", home / "photos"]
    code, told = ganpress("export", home / "cartoongan.safetensors", *line)
    assert code == 2 and "reads no label maps: leave --instances out" in " ".join(told.split())
    maps = save(WIRINGS["gaugan"].model(), tmp_path / "gaugan.safetensors")
    code, told = ganpress("export", maps, *line)
    assert code == 2 and "of --images or --calibrate" in " ".join(told.split())
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("part", [0.0, 0.1, 0.9])
def test_a_model_cut_short_is_refused(
    part: float, home: Path, tmp_path: Path, ganpress: Command
) -> None:
    whole = (home / "cartoongan.safetensors").read_bytes()
    file = tmp_path / "short.safetensors"
    file.write_bytes(whole[: int(part * len(whole))])
    code, told = ganpress("measure", file)
    assert code == 2
    assert str(file) in told.replace("\n", "")
    assert "Copy or download it again" in told


def test_safetensors_without_a_card_say_how_to_import_them(
    tmp_path: Path, ganpress: Command
) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "plain.safetensors")
    code, told = ganpress("measure", tmp_path / "plain.safetensors")
    assert code == 2
    assert "ganpress import" in told


@pytest.mark.parametrize("verb", ["measure", "export", "import"])
def test_a_folder_where_a_model_is_asked_is_told_with_the_model_in_it(
    verb: str, home: Path, tmp_path: Path, ganpress: Command
) -> None:
    name = "x.onnx" if verb == "export" else "x.safetensors"
    more = [] if verb == "measure" else ["-o", tmp_path / name]
    line = [verb, "auto"] if verb == "import" else [verb]
    code, told = ganpress(*line, home / "photos", *more)
    assert code == 2
    assert f"{home / 'photos'} is a folder" in told
    assert "did you mean" not in told
    for name in ("teacher", "student"):
        save(toy(), tmp_path / f"{name}.safetensors")
        code, told = ganpress(*line, tmp_path, *more)
        assert code == 2
        assert str(tmp_path / f"{name}.safetensors") in told


@pytest.mark.parametrize("verb", ["import", "export", "evaluate"])
def test_a_folder_where_a_file_is_to_be_written_is_told_before_any_work(
    verb: str, home: Path, ganpress: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganpress.formats import importers
    from ganpress.models import checkpoint

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr(checkpoint, "load", never)
    monkeypatch.setattr(importers, "import_model", never)
    lines = {
        "import": ["import", "auto", home / "x.pth", "-o", home / "photos"],
        "export": ["export", home / "cartoongan.safetensors", "-o", home / "photos"],
        "evaluate": evaluation_of(home, home / "photos", "--json", home / "photos"),
    }
    code, told = ganpress(*lines[verb])
    assert code == 2
    assert f"{home / 'photos'} is a folder" in told
    assert ".tmp" not in told


def test_a_file_that_cannot_be_written_is_named_as_it_was_asked_for(tmp_path: Path) -> None:
    from ganpress.run.files import write_json

    (tmp_path / "taken").mkdir()
    for path, part in ((tmp_path / "taken", "is a folder"), (tmp_path / "no" / "x", "No such")):
        with pytest.raises(OSError) as caught:
            write_json(path, {})
        told = cli._os_trouble(caught.value)
        assert told.startswith(f"{path} ") and part in told


def test_an_import_under_the_name_of_another_format_is_refused(
    tmp_path: Path, ganpress: Command
) -> None:
    code, told = ganpress("import", "auto", tmp_path / "net.pth", "-o", tmp_path / "new.pth")
    assert code == 2
    assert f"name it {tmp_path / 'new.safetensors'}" in told


def test_a_misspelt_target_is_answered_with_those_of_the_family(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    for to in ("pth", "pth-ngan"):
        line = ["export", home / "cyclegan.safetensors", "-o", tmp_path / "x.pth", "--to", to]
        code, told = ganpress(*line)
        assert code == 2
        for part in ("onnx", "openvino", "pth-junyanz", "pth-gan-compression"):
            assert part in told
        assert "sngan" not in told.replace(f"'{to}'", "") and "cartoongan" not in told


def test_a_misspelt_variant_is_told_before_a_missing_target(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    code, told = ganpress(
        "ablate", "slim", "-t", home / "cartoongan.safetensors", "--images", home / "photos",
        "--run", tmp_path / "run", "--variants", "gd,gs-33",
    )  # fmt: skip
    assert code == 2
    assert "There is no variant 'gs-33' of slim (did you mean 'gs-32'?)" in told
    assert not (tmp_path / "run").exists()


# --- training that goes wrong ---------------------------------------------------------------------


def test_a_learning_rate_far_too_high_ends_as_diverged(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    code, told = ganpress(
        *compression_of(home, tmp_path / "run", "procedure=gd", "finetune.lr=1e30")
    )
    assert code == 2
    assert "Training diverged: 'loss/" in told
    assert "of stage 'finetune'" in told
    assert "lower the learning rate" in told
    assert not (tmp_path / "run" / "student.safetensors").exists()


def test_a_teacher_that_makes_nan_is_told_with_term_and_step(
    home: Path, tmp_path: Path, ganpress: Command
) -> None:
    broken = toy()
    torch.nn.init.constant_(broken.net.get_parameter("stem.conv.weight"), 3e38)
    teacher = save(broken, tmp_path / "broken.safetensors")
    code, told = ganpress(*compression_of(home, tmp_path / "run", teacher=teacher))
    assert code == 2
    assert "'loss/distance' is nan" in told
    assert "at step 0 of stage 'sparsify'" in told


def nan_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Make the distance NaN the `call`-th time it is asked for."""
    asked, real = [0], Distance.__call__

    def distance(self: Distance, *pictures: torch.Tensor) -> torch.Tensor:
        asked[0] += 1
        found = real(self, *pictures)
        return found * float("nan") if asked[0] == call else found

    monkeypatch.setattr(Distance, "__call__", distance)


@pytest.mark.parametrize(("call", "stage", "step"), [(4, "sparsify", 3), (9, "finetune", 2)])
def test_a_nan_loss_names_term_and_step_and_keeps_the_last_good_state(
    call: int, stage: str, step: int, home: Path, tmp_path: Path
) -> None:
    config = read_config(SlimConfig, None, [*TOY, "restarts=0"])
    images = open_images(home / "photos")

    def student(root: Path) -> Model:
        run = Run(root, quiet=True, save_every_s=0.0, log_every=1)
        return slim(toy(), images, config, run)

    with pytest.MonkeyPatch.context() as patch:
        nan_at(patch, call)
        with pytest.raises(Diverged) as error:
            student(tmp_path / "nan")
    message = str(error.value)
    assert f"'loss/distance' is nan at step {step} of stage '{stage}'" in message
    assert f"The last good state, after {step} steps, is kept in" in message
    kept = torch.load(tmp_path / "nan" / stage / "state.pt", weights_only=True)
    assert kept["step"] == step
    weights = kept["of"]["student"]
    assert all(bool(t.isfinite().all()) for t in weights.values() if t.is_floating_point())
    again, whole = student(tmp_path / "nan"), student(tmp_path / "whole")
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], tensor)


def test_a_student_that_is_not_finite_is_never_saved(home: Path, tmp_path: Path) -> None:
    from ganpress.errors import CheckpointError

    broken = toy()
    torch.nn.init.constant_(broken.net.get_parameter("out.conv.bias"), float("nan"))
    with pytest.raises(CheckpointError, match=r"out\.conv\.bias has values that are not finite"):
        save(broken, tmp_path / "broken.safetensors")
    assert not list(tmp_path.iterdir())


# --- no space left --------------------------------------------------------------------------------


def full_disk(arguments: list[str], told: Path, limit: int) -> None:
    """The command with no file allowed to grow beyond `limit` bytes, as on a full disk."""
    sys.stderr = told.open("w", buffering=1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    compression.finish = lambda *_, **__: None  # type: ignore[assignment]
    cli_compression.print_run = lambda _: None
    sys.argv = ["ganpress", *arguments]
    torch.set_num_threads(1)
    cli.main()


def on_a_full_disk(arguments: list[object], told: Path, limit: int) -> tuple[int | None, str]:
    texts = [str(a) for a in arguments]
    process = CONTEXT.Process(target=full_disk, args=(texts, told, limit))
    process.start()
    process.join(PATIENCE_S)
    return process.exitcode, told.read_text()


@pytest.mark.parametrize(
    ("limit", "views"),
    thinned([(20_000, 1), (40_000, 0), (150_000, 0)], 1),
    ids=["cache", "early", "late"],
)
def test_no_space_left_is_told_and_the_run_goes_on_when_there_is_some(
    limit: int, views: int, home: Path, tmp_path: Path, ganpress: Command
) -> None:
    arguments = compression_of(
        home, tmp_path / "run", "discriminator.width=16", f"data.cached_crops={views}"
    )
    code, told = on_a_full_disk(arguments, tmp_path / "told.txt", limit)
    assert code == 2, told
    assert "No space left while writing" in told
    assert "then run the same command again" in told
    assert "Traceback" not in told
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert ganpress(*arguments)[0] == 0
    assert load_file(tmp_path / "run" / "student.safetensors")


def test_a_tilde_is_the_home_folder_where_a_shell_leaves_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli_runs import run_cli, teacher_file

    monkeypatch.setenv("HOME", str(tmp_path))
    teacher_file(tmp_path / "m.safetensors")
    for given in ("--json=~/n.json", "~/n.json"):
        words = [given] if "=" in given else ["--json", given]
        told = run_cli(
            capsys, "evaluate", "~/m.safetensors", "--images", "~/nothing", *words, "--size", 64
        )
        assert f"{tmp_path} has no 'nothing'" in told.err
    assert not (home / "~").exists()
