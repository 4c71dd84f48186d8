"""target.latency_ms: one more cost for every method, resolved once, met and measured."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_runs import Told, run_cli
from family_runs import write_domains
from latency_fakes import CALL_MS, Machine, counted_ms, use
from nets import WIRINGS
from ofa_runs import brief, teacher_of
from thin import thinned

from ganpress.data import open_images
from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.measures.cost import CostOf
from ganpress.measures.target import TargetSettings
from ganpress.measures.timing import latency_target
from ganpress.measures.timing.timer import TURNS
from ganpress.methods import METHODS
from ganpress.methods.base import Given
from ganpress.methods.content_aware.pruning import cost_of
from ganpress.methods.gan_slimming.targets import cost_ratio
from ganpress.methods.once_for_all import requests
from ganpress.methods.variants import planned
from ganpress.models.checkpoint import load, save
from ganpress.models.forms import integer_form
from ganpress.run.settings import read_config

SIZE = ["target.size=32", "target.runtime=onnxruntime", "target.threads=1"]
SETS: dict[str, list[str]] = {
    "slim": ["sparsify.steps=6", "sparsify.batch=2"],
    "once-for-all": [
        *("channel_multiple=1", "supernet.steps=1", "search.images=1", "search.kind=random"),
        *("search.evaluations=3", "search.ratios=[1,0.75,0.5,0.25]", "search.calibrate=2"),
    ],
    "content-aware": ["score.samples=2", "score.batch=2", "finetune.steps=1"],
}
COMMON = [
    *("min_channels=1", "data.size=32", "data.batch=2", "data.workers=0", "finetune.steps=1"),
    *("distance.features=tiny", "discriminator.width=4", "discriminator.layers=2"),
]
every_method = pytest.mark.parametrize("method", list(METHODS))
a_method = pytest.mark.parametrize("method", thinned(list(METHODS), 1))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    brief(monkeypatch)
    made = Machine()
    use(made, monkeypatch, tmp_path / "cache")
    return made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = write_domains(tmp_path_factory.mktemp("latency"))
    save(teacher_of("cyclegan instance"), home / "teacher.safetensors")
    return home


@cache
def teacher_ms(size: int = 32) -> float:
    """Of the tiny teacher, by its own export."""
    return counted_ms(to_bytes(WIRINGS["cyclegan instance"].model(), Form(size=size)))


def compress(
    capsys: pytest.CaptureFixture[str], home: Path, run: Path, method: str, *sets: str
) -> Told:
    every = [*COMMON, *SIZE, *SETS[method], *sets]
    flags = [part for item in every for part in ("--set", item)]
    line = ("--teacher", home / "teacher.safetensors", "--images", home / "x", "--run", run)
    return run_cli(capsys, "compress", method, *line, *flags)


def resolve(method: str, given: Given, *sets: str) -> Any:
    """Settings as a run resolves and checks them."""
    chosen = METHODS[method]
    asked = read_config(chosen.settings, None, [*COMMON, *SIZE, *SETS[method], *sets])
    resolved = chosen.resolve(given, asked)
    chosen.check(given, resolved)
    return resolved


def given_of(home: Path) -> Given:
    return Given(teacher_of("cyclegan instance"), open_images(home / "x"))


@every_method
def test_a_target_in_milliseconds_is_met(
    method: str, machine: Machine, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, run = teacher_ms(), tmp_path / "run"
    done = compress(capsys, home, run, method, f"target.latency_ms={0.6 * whole:.4f}")
    assert done.code == 0, done.err
    student = load(run / "student.safetensors")
    found = json.loads((run / "results.json").read_text())["latency_target"]
    true = counted_ms(to_bytes(student, Form(size=32)))
    assert found["predicted_ms"] == pytest.approx(true, rel=1e-3)
    assert found["measured_ms"] == pytest.approx(true, rel=1e-3)
    assert true <= 0.6 * whole * 1.001 and found["asked_ms"] == pytest.approx(0.6 * whole, rel=1e-3)
    assert found["prediction_off"] < 0.01 and found["target_off"] <= 1e-3
    assert found["teacher_ms"] == pytest.approx(whole, rel=1e-3) == found["teacher_now_ms"]
    assert "ms predicted" in done.err and "ms measured (onnxruntime" in done.err
    config = json.loads((run / "config.json").read_text())["target"]
    assert config["processor"] == "A CPU" and config["round"] == 1 and config["size"] == 32
    assert config["teacher_ms"] == pytest.approx(whole) and config["precision"] == "fp32"
    assert "Latency that was asked for" in (run / "report.html").read_text()


@pytest.mark.parametrize(("method", "cost"), [("slim", cost_ratio), ("content-aware", cost_of)])
def test_the_time_is_that_of_the_form_that_a_student_has(
    method: str, cost: Callable[..., CostOf], machine: Machine, home: Path
) -> None:
    given, whole = given_of(home), teacher_ms()
    c = resolve(method, given, f"target.latency_ms={0.6 * whole:.4f}", "student.form=integers")
    formed = integer_form(given.teacher, ())
    wanted = counted_ms(to_bytes(formed, Form(size=32)))
    assert cost(given.teacher, c)({}) * c.target.teacher_ms == pytest.approx(wanted, rel=0.01)
    assert abs(wanted - whole) > 0.03 * whole  # as another network takes


def test_a_run_goes_on_with_the_milliseconds_that_it_began_with(
    machine: Machine, home: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run, asked = tmp_path / "run", f"target.latency_ms={0.6 * teacher_ms():.4f}"

    def go_on(where: Machine, name: str) -> tuple[str, dict[str, Any]]:
        """After what followed the stages was lost, in a process with another cache."""
        for file in ("done.json", "results.json", "student.safetensors"):
            (run / file).unlink()
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        use(where, monkeypatch, tmp_path / "cache", name=name)
        again = compress(capsys, home, run, "content-aware", asked)
        assert again.code == 0, again.err
        assert (run / "config.json").read_text() == config
        assert load(run / "student.safetensors").widths == widths
        return again.err, json.loads((run / "results.json").read_text())["latency_target"]

    assert compress(capsys, home, run, "content-aware", asked).code == 0
    widths, config = load(run / "student.safetensors").widths, (run / "config.json").read_text()
    first = json.loads((run / "results.json").read_text())["latency_target"]
    said, later = go_on(Machine(3.0), "A CPU")  # it has become slower
    assert later["predicted_ms"] == first["predicted_ms"]
    assert later["measured_ms"] == pytest.approx(3 * first["measured_ms"], rel=1e-3)
    assert re.search(r"\(\+\d+ % of the target; the teacher takes 200 % more than for", said)
    assert later["teacher_now_ms"] == pytest.approx(3 * first["teacher_ms"], rel=1e-3)
    elsewhere = Machine()
    said, later = go_on(elsewhere, "Another CPU")
    assert "A CPU, with which it began; this is Another CPU" in said
    assert not elsewhere.files and later["predicted_ms"] == first["predicted_ms"]
    assert later["measured_ms"] is None and "this is Another CPU" in later["not measured"]


@a_method
def test_a_target_below_the_least_is_refused_with_the_least_that_is_accepted(
    method: str, machine: Machine, home: Path
) -> None:
    given = given_of(home)
    with pytest.raises(InfeasibleTarget) as error:
        resolve(method, given, f"target.latency_ms={CALL_MS / 2}")
    said = str(error.value)
    assert f"target.latency_ms={CALL_MS / 2:g} cannot be reached" in said
    assert f"of the teacher's {teacher_ms():.4g} ms" in said
    least = [float(v) for v in re.findall(r"--set target\.latency_ms=([\d.]+\d)", said)]
    assert len(least) == 1
    resolve(method, given, f"target.latency_ms={least[0]}")
    with pytest.raises(InfeasibleTarget):
        resolve(method, given, f"target.latency_ms={0.998 * least[0]}")


@a_method
def test_every_time_is_measured_once(method: str, machine: Machine, home: Path) -> None:
    asked = f"target.latency_ms={0.6 * teacher_ms():.4f}"
    resolve(method, given_of(home), asked)
    times = Counter(bytes(data) for data in machine.files)
    wholes = [data for data, often in times.items() if often == TURNS]
    assert len(wholes) == 11  # the teacher, and ten that the line is fitted to and checked on
    assert len(times) > 50 and {*times.values()} == {1, TURNS}
    count = len(machine.files)
    resolve(method, given_of(home), asked)
    resolve(method, given_of(home), f"target.latency_ms={0.7 * teacher_ms():.4f}")
    assert len(machine.files) == count


@pytest.mark.parametrize(("speed", "said"), [(1.0, False), (0.95, False), (1.5, True), (0.5, True)])
def test_a_machine_whose_speed_has_changed_since_its_table_is_told_of(
    speed: float, said: bool, machine: Machine, home: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = teacher_ms()
    asked = f"target.latency_ms={0.6 * whole:.4f}"
    first = resolve("content-aware", given_of(home), asked)
    assert "The teacher takes" not in capsys.readouterr().err
    later = Machine(speed)  # in a process that finds the table there
    use(later, monkeypatch, tmp_path / "cache")
    for _ in range(2):
        assert resolve("content-aware", given_of(home), asked) == first
    assert len(later.files) == TURNS
    told = capsys.readouterr().err
    words = f"takes {speed * whole:.4g} ms now, and {whole:.4g} ms when"
    assert told.count(words) == int(said)
    if said:
        [path] = re.findall(r"remove (\S+\.json):", told)
        assert Path(path).is_file()


@a_method
def test_channels_are_rounded_to_what_the_runtime_is_fast_at(
    method: str, machine: Machine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_target, "fast_step", lambda model: 4)
    asked = f"target.latency_ms={0.8 * teacher_ms():.4f}"
    found = resolve(method, given_of(home), asked)
    assert (found.target.round, found.channel_multiple, found.min_channels) == (4, 4, 4)
    by_hand = resolve(method, given_of(home), asked, "target.round=2", "channel_multiple=3")
    assert (by_hand.target.round, by_hand.channel_multiple, by_hand.min_channels) == (2, 6, 6)


def test_a_teacher_that_is_fast_enough_is_said_to_be(
    machine: Machine, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = resolve("content-aware", given_of(home), f"target.latency_ms={2 * teacher_ms():.4f}")
    said = capsys.readouterr().err
    assert f"the teacher takes {teacher_ms():.4g} ms already" in said and "nothing has to" in said
    assert found.target.chosen == ("latency_ms", 1.0)


def test_a_table_that_is_far_off_is_said_to_be_with_what_to_do(
    machine: Machine, home: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(latency_target, "ERROR_MOST", -1.0)
    resolve("content-aware", given_of(home), f"target.latency_ms={0.6 * teacher_ms():.4f}")
    said = capsys.readouterr().err
    assert re.search(
        r"is up to 0 % off whole .* remove \S+\.json, and start again in another", said
    )


@pytest.mark.parametrize(
    ("sets", "words", "ways"),
    [
        ([], "target.runtime says how a latency is measured, and none is asked for", 0),
        (["target.latency_ms=5", "target.precision=int8"], "quantise.bits is 32", 2),
        (
            ["target.latency_ms=5", "target.precision=fp32", "quantise.bits=8"],
            "whose file computes with integers",
            1,
        ),
        (["target.latency_ms=5", "quantise.bits=4"], "computed in 8 bits by every runtime", 1),
        (["target.latency_ms=5", "target.size=33"], "The size is 33: a 'cyclegan' generator", 0),
        (["target.latency_ms=5", "target.macs=0.5"], "Give one target, not 2", 0),
        (["target.latency_ms=5", "target.precision=bf16"], "no fast bf16 on a CPU", 0),
    ],
)
def test_what_is_no_latency_is_refused(
    sets: list[str], words: str, ways: int, machine: Machine, home: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        resolve("content-aware", given_of(home), *sets)
    assert words in str(error.value)
    found = re.findall(r"--set (\S+=[^\s),]+)", str(error.value))
    assert len(found) == ways, str(error.value)
    for way in found:
        resolve("content-aware", given_of(home), "target.latency_ms=500", *sets[1:], way)


def test_a_search_can_be_of_quality_against_milliseconds(machine: Machine, home: Path) -> None:
    given = given_of(home)
    found = resolve("once-for-all", given, "search.objective=latency_ms", "target.macs=0.9")
    net = requests.ghost(given.teacher, found)
    costs = requests.costs_of(given.teacher, net, found)
    assert costs(given.teacher.widths)["latency_ms"] > costs({"trunk": 4})["latency_ms"] > CALL_MS
    assert requests.budget_of(given.teacher, found).keys() == {"macs"}
    own = resolve("once-for-all", given, "target.latency_ms=40")
    assert requests.budget_of(given.teacher, own) == {"latency_ms": 40.0}
    space = requests.space_of(given.teacher, own)
    affords = requests.affordable(given.teacher, space, own)
    assert affords(space.smallest) and not affords(space.largest)


def test_variants_of_an_ablation_are_compared_at_one_latency(
    machine: Machine, home: Path, tmp_path: Path
) -> None:
    method = METHODS["slim"]
    asked = f"target.latency_ms={0.6 * teacher_ms():.4f}"
    base = read_config(method.settings, None, [*COMMON, *SIZE, *SETS["slim"], asked])
    plans, refused = planned(method, given_of(home), base, ("gs-32", "gd"), (0,), tmp_path)
    assert not refused and len(plans) == 2
    for plan in plans:
        assert plan.resolved.target.chosen == ("latency_ms", pytest.approx(0.6, rel=1e-3))


def test_a_prediction_is_by_the_model_that_rounds_as_its_run_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One process can have run several: each has a table's fit for its own step."""

    class Fitted(SimpleNamespace):
        def __call__(self, widths: object) -> float:
            return float(self.step)

    here = {"runtime": "onnxruntime", "precision": "fp32", "threads": 1, "processor": "A CPU"}
    target = TargetSettings(latency_ms=1.0, size=32, round=8).model_copy(update=here)
    table, wiring = object(), {"options": {}, "size": 32}
    known = {step: Fitted(family="unet", table=table, step=step, **wiring) for step in (4, 8)}
    monkeypatch.setattr(latency_target, "_tables", {latency_target._key(target): table})
    monkeypatch.setattr(latency_target, "_models", known)
    student: Any = SimpleNamespace(family=SimpleNamespace(name="unet"), options={}, widths={})
    assert latency_target.predicted_ms(student, target) == 8.0


def test_a_share_is_said_in_the_unit_of_the_target() -> None:
    target = TargetSettings(latency_ms=6.0, teacher_ms=24.0)
    assert target.given == ("latency_ms", 6.0) and target.chosen == ("latency_ms", 0.25)
    assert target.as_given(0.5) == 12.0 and target.words(0.5) == "12 of the teacher's 24 ms"
    other = TargetSettings(macs=0.1)
    assert other.given == other.chosen == ("macs", 0.1) and other.as_given(0.5) == 0.5
    assert other.words(0.123456) == "0.1235 of the teacher's macs"
    with pytest.raises(RuntimeError, match="has not been resolved"):
        _ = TargetSettings(latency_ms=6.0).chosen


def test_a_student_with_quantisers_is_timed_with_them(machine: Machine, home: Path) -> None:
    given = given_of(home)
    found = resolve("content-aware", given, "target.latency_ms=400", "quantise.bits=8")
    assert found.target.precision == "int8"
    held = [data for data in machine.files if b"QuantizeLinear" in data]
    assert len(held) > 30
    assert found.target.teacher_ms == pytest.approx(teacher_ms())  # of the teacher as it is
