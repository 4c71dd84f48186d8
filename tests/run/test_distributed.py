"""Data parallel training: two processes under torchrun are one with the same global batch.

The module is also the program that torchrun starts: `python test_distributed.py ROOT` trains every
case below into ROOT, once without a break and once stopped and taken up again.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from patience import PATIENCE_S
from safetensors.torch import load_file
from torch import Tensor

from ganpress.data import Batch, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, Elsewhere, Interrupted
from ganpress.methods.ablate import ablate
from ganpress.methods.compress import compress
from ganpress.methods.measured import Pictures
from ganpress.models.checkpoint import full_model
from ganpress.run import distributed
from ganpress.run.files import read_json
from ganpress.run.logs import read_log
from ganpress.run.run import Stage
from ganpress.run.settings import checked
from ganpress.training import finish, kit
from ganpress.training.train import train, trainer

COMMON = {
    "steps": 4,
    "batch": 4,
    "data": {"size": 32, "load_size": 36, "workers": 0},
    "sample_every": 2,
}
CYCLEGAN = {
    **COMMON,
    **{"options": {"blocks": 1}, "width": 0.07, "discriminator": {"width": 4, "layers": 2}},
}
STYLEGAN2 = {
    **COMMON,
    "options": {"size": 32, "style_dim": 16, "base": 256},
    "discriminator": {"base": 256},
    **{"r1_every": 2, "path_every": 2, "ema": 0.9, "batch": 8, "steps": 5},
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {**CYCLEGAN, "pool": 0},
    "pool": {**CYCLEGAN, "pool": 3, "steps": 5},
    "stylegan2": STYLEGAN2,
}


def train_case(name: str, root: Path) -> None:
    which = "stylegan2" if name == "stylegan2" else "cyclegan"
    train(
        which,
        open_images(root.parent / "a"),
        other=open_images(root.parent / "b") if which == "cyclegan" else None,
        run=root / name,
        config=config_of(name),
        quiet=True,
    )


def train_in_double(root: Path) -> None:
    """The case without state across samples, in double precision: rounding cannot hide a fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit, "batches", in_double(kit.batches))
        patch.setattr(finish, "samples_of", lambda *_: (torch.zeros(1, 3, 8, 8), 1, "none"))
        torch.set_default_dtype(torch.float64)
        try:
            train_case("plain", root)
        finally:
            torch.set_default_dtype(torch.float32)


def in_double(batches: Any) -> Any:
    def doubled(*args: Any, **kwargs: Any) -> Iterator[Batch]:
        for batch in batches(*args, **kwargs):
            yield replace(batch, x=batch.x.double())

    return doubled


def train_with_a_break(name: str, root: Path) -> None:
    """A signal that only process 0 gets stops both after the same step; then they go on."""
    images = Stage.images

    def stop_after(stage: Stage, step: int, *rest: Any, **named: Any) -> None:
        images(stage, step, *rest, **named)
        if step == 2 and distributed.rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "images", stop_after)
        with pytest.raises(Interrupted, match="after 3 of 5 steps"):
            train_case(name, root)
    train_case(name, root)


def main(root: Path) -> None:
    atexit.register(note_threads, root)  # before the start: runs after what the start registers
    distributed.start()
    for part in ("whole", "broken"):
        for name in CASES if part == "whole" else ("pool", "stylegan2"):
            (train_case if part == "whole" else train_with_a_break)(name, root / part)
    train_in_double(root / "double")
    rank = distributed.rank()
    try:
        distributed.together(lambda: fail() if rank else None)
    except (ConfigError, Elsewhere) as error:
        (root / f"error-{rank}").write_text(type(error).__name__)
    (root / f"threads-{rank}-together").write_text(threads())
    if rank == 0:  # the other leaves the group by ending, as a process that fails does
        distributed.stop()


def note_threads(root: Path) -> None:
    (root / f"threads-{os.environ['RANK']}-at-the-end").write_text(threads())


def threads() -> str:
    """The names of this process's threads (Linux), one a line; those of C++ included."""
    return "".join(sorted(p.read_text() for p in Path("/proc/self/task").glob("*/comm")))


def fail() -> None:
    raise ConfigError("here")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two domains, and what one process and what two make of them."""
    home = tmp_path_factory.mktemp("together")
    for count in ("one", "two"):
        write_folder(home / count / "a", 9, size=40)
        write_folder(home / count / "b", 7, size=40, seed=5, stylised=True)
    torchrun(__file__, home / "two")
    train_case("plain", home / "one" / "whole")
    train_in_double(home / "one" / "double")
    return home


def torchrun(*arguments: object) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    helpers = str(Path(__file__).parents[1])  # pytest's own path does not reach the processes
    path = os.pathsep.join([helpers, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*launcher, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-4000:]


def weights(folder: Path) -> dict[str, Tensor]:
    """All teachers of a run with their discriminators."""
    return {
        f"{file.stem} {name}": tensor
        for file in sorted(folder.glob("teacher*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a and a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def of_rank(run: Path, rank: int) -> dict[str, Any]:
    [file] = run.glob(f"train/state-rank{rank}-*.pt") if rank else [run / "train" / "state.pt"]
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def test_two_processes_make_the_weights_of_one(home: Path) -> None:
    one, two = (weights(home / n / "whole" / "plain") for n in ("one", "two"))
    assert furthest(one, two) < 1e-5


def test_in_double_precision_they_are_the_same_to_rounding(home: Path) -> None:
    one, two = (weights(home / n / "double" / "plain") for n in ("one", "two"))
    assert next(iter(one.values())).dtype == torch.float64
    assert furthest(one, two) < 1e-11


def test_both_log_the_mean_of_their_losses(home: Path) -> None:
    one, two = (
        read_log(home / n / "whole" / "plain" / "train" / "log.jsonl") for n in ("one", "two")
    )
    assert [line["step"] for line in two] == [line["step"] for line in one]
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, rel=1e-4, abs=10)
        for name in ("loss/cycle", "loss/d"):
            assert b[name] == pytest.approx(a[name], rel=1e-4)


@pytest.mark.parametrize("name", ["pool", "stylegan2"])
def test_state_across_samples_stays_sound(home: Path, name: str) -> None:
    run = home / "two" / "whole" / name
    assert all(bool(t.isfinite().all()) for t in weights(run).values())
    first, second = of_rank(run, 0), of_rank(run, 1)
    assert first["step"] == second["step"] == 5
    for net in ("G", "D"):
        for key, tensor in first["of"][net].items():
            assert torch.equal(tensor, second["of"][net][key]), key


def test_each_process_keeps_a_history_of_its_own_images(home: Path) -> None:
    run = home / "two" / "whole" / "pool"
    mine, others = (of_rank(run, rank)["of"]["pool_a"]["images"] for rank in (0, 1))
    assert len(mine) == len(others) == 3
    assert not any(torch.equal(a, b) for a in mine for b in others)


@pytest.mark.parametrize("name", ["pool", "stylegan2"])
def test_a_stopped_training_is_taken_up_again_bit_equal(home: Path, name: str) -> None:
    whole, broken = (home / "two" / part / name for part in ("whole", "broken"))
    assert furthest(weights(whole), weights(broken)) == 0
    [resumed] = read_json(broken / "card.json")["resumed"]
    assert resumed["step"] == 3


def test_process_0_writes_the_run_and_each_its_own_state(home: Path) -> None:
    run = home / "two" / "broken" / "pool"
    assert read_json(run / "card.json")["processes"] == 2
    names = sorted(file.name for file in (run / "train").iterdir())
    assert names == ["done.json", "images", "log.jsonl", "state-rank1-000000005.pt", "state.pt"]
    steps = [line["step"] for line in read_log(run / "train" / "log.jsonl")]
    assert steps == sorted(set(steps))


def test_a_state_of_two_processes_is_not_taken_up_by_one(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "pool"
    for domain in "ab":
        (tmp_path / domain).symlink_to(home / "two" / domain)
    shutil.copytree(home / "two" / "whole" / "pool", run)
    (run / "done.json").unlink()
    with pytest.raises(ConfigError, match="saved by 2 process"):
        train_case("pool", tmp_path / "runs")


def test_an_error_of_one_process_ends_them_all(home: Path) -> None:
    found = {rank: (home / "two" / f"error-{rank}").read_text() for rank in (0, 1)}
    assert found == {0: "Elsewhere", 1: "ConfigError"}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_no_thread_of_the_group_outlives_it(home: Path, rank: int) -> None:
    """One that does can abort the process while the interpreter is taken down."""
    together, end = (
        (home / "two" / f"threads-{rank}-{when}").read_text() for when in ("together", "at-the-end")
    )
    assert "gloo" in together and "gloo" not in end


def test_a_batch_that_cannot_be_split_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 3)
    with pytest.raises(ConfigError, match="batch of 4"):
        kit.check_split(config_of("plain"))


@pytest.mark.parametrize("verb", ["compress", "ablate"])
def test_compression_refuses_to_be_started_in_several_processes(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, images = full_model("cyclegan"), open_images(write_folder(tmp_path / "x", 2, size=40))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"one process, and torchrun started 2.*ganpress train"):
        if verb == "compress":
            compress(teacher, images, run=tmp_path / "run")
        else:
            ablate(teacher, Pictures(images), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def config_of(name: str) -> Any:
    which = "stylegan2" if name == "stylegan2" else "cyclegan"
    return checked(trainer(which).config, CASES[name])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
