"""Students made for integers: the teacher's weights in another wiring, by every method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cagc_runs
import ofa_runs
import pytest
import slim_runs
import torch
from family_runs import write_domains
from nets import WIRINGS, Wiring
from safetensors.torch import load_file
from thin import thinned

from ganpress.data import Images, open_images
from ganpress.errors import ConfigError
from ganpress.measures.cost import measure
from ganpress.methods.base import Given
from ganpress.methods.compress import compress
from ganpress.methods.content_aware import CONTENT_AWARE
from ganpress.methods.gan_slimming import GAN_SLIMMING
from ganpress.methods.once_for_all import ONCE_FOR_ALL
from ganpress.methods.once_for_all.beginning import first_student
from ganpress.models.checkpoint import Model, load
from ganpress.models.forms import integer_form
from ganpress.models.source import Source
from ganpress.nn.integer_layers import SubPixelConv2d
from ganpress.nn.layers import ConvTranspose2d
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.run import Run

FORM = {"form": "integers"}
IN_BITS = {"bits": 8, "ranges": "calibrated", "per_channel": True}
SLIM: dict[str, Any] = {
    "procedure": "gs",
    "target": {"macs": 0.8},
    "sparsify": {"steps": 2},
    "finetune": {"steps": 2},
}
METHODS = {
    "slim": (GAN_SLIMMING, lambda **how: slim_runs.settings(**{**SLIM, **how})),
    "once-for-all": (ONCE_FOR_ALL, ofa_runs.settings),
    "content-aware": (CONTENT_AWARE, cagc_runs.settings),
}
TEACHERS = {n: WIRINGS[n] for n in ("cyclegan instance", "pix2pix instance", "cartoongan")}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("data"))


def given_for(wiring: Wiring, home: Path) -> Given:
    pairs = home / "y" if wiring.name == "pix2pix" else None
    return Given(wiring.model(), open_images(home / "x", pairs=pairs))


def press(method: str, given: Given, run: Path, **how: Any) -> Model:
    """The stages alone."""
    of, settings = METHODS[method]
    used = of.resolve(given, settings(student=FORM, **how))
    of.check(given, used)
    return of.compress(given, used, Run(run, seed=0, quiet=True, log_every=1))


each_method = pytest.mark.parametrize("method", METHODS)


@each_method
@pytest.mark.parametrize(
    "wiring", thinned(TEACHERS.values(), lambda w: w.name == "pix2pix"), ids=TEACHERS.keys()
)
def test_every_method_trains_a_narrow_student_of_the_form_in_integers(
    method: str, wiring: Wiring, home: Path, tmp_path: Path
) -> None:
    given = given_for(wiring, home)
    student = press(method, given, tmp_path, quantise=IN_BITS)
    want = integer_form(given.teacher).options
    changed = {n: v for n, v in want.items() if given.teacher.options[n] != v}
    assert {n: student.options[n] for n in changed} == changed
    assert any(isinstance(m, SubPixelConv2d) for m in student.net.modules())
    assert not any(isinstance(m, ConvTranspose2d) for m in student.net.modules())
    quantiser = quantiser_of(student.net)
    assert quantiser is not None and quantiser.first == "int8"
    assert measure(student.net, 32).macs < measure(given.teacher.net, 32).macs
    assert student(*wiring.inputs()).isfinite().all()
    assert any(isinstance(m, ConvTranspose2d) for m in given.teacher.net.modules())


@each_method
def test_a_target_is_of_the_teachers_own_cost(method: str, home: Path, tmp_path: Path) -> None:
    """Twice the teacher's taps in the sub-pixel convolutions, and still within the target."""
    given = given_for(WIRINGS["pix2pix instance"], home)
    how: dict[str, Any] = {"target": {"macs": 0.5}}
    how |= {"cut": {"ratio": None}} if method == "content-aware" else {}
    student = press(method, given, tmp_path, **how)
    assert measure(student.net, 256).macs <= 0.5 * measure(given.teacher.net, 256).macs


@each_method
def test_a_stopped_run_ends_as_if_it_had_never_stopped(
    method: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring = WIRINGS["pix2pix instance"]
    steps: dict[str, Any] = {"sparsify": {"steps": 3}} if method == "slim" else {}
    steps |= {"supernet": {"steps": 3}} if method == "once-for-all" else {}
    steps |= {"finetune": {"steps": 3}} if method != "once-for-all" else {}
    whole = press(method, given_for(wiring, home), tmp_path / "whole", **steps)
    batches = Source.batches

    def torn(self: Source, *given: Any, **how: Any) -> object:
        for count, batch in enumerate(batches(self, *given, **how)):
            if count == 2:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Source, "batches", torn)
        press(method, given_for(wiring, home), tmp_path / "torn", **steps)
    again = press(method, given_for(wiring, home), tmp_path / "torn", **steps)
    want, got = whole.net.state_dict(), again.net.state_dict()
    assert want.keys() == got.keys() and all(torch.equal(want[n], got[n]) for n in want)


def test_the_supernet_begins_with_the_teachers_weights_as_the_form_has_them(home: Path) -> None:
    given = given_for(WIRINGS["pix2pix instance"], home)
    used = ONCE_FOR_ALL.resolve(given, ofa_runs.settings(student=FORM))
    student, want = first_student(given.teacher, used), integer_form(given.teacher)
    assert student.options == want.options
    state = student.net.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in want.net.state_dict().items())


def test_the_form_is_dense_unless_separable_layers_are_asked_for(home: Path) -> None:
    given = given_for(WIRINGS["cyclegan instance"], home)

    def separable(**student: str) -> bool:
        used = ONCE_FOR_ALL.resolve(given, ofa_runs.settings(student=student))
        return bool(first_student(given.teacher, used).options["separable"])

    assert separable() and not separable(**FORM)
    assert separable(**FORM, wiring="separable")


def test_taps_of_teacher_and_student_pair_up(home: Path, tmp_path: Path) -> None:
    given = given_for(WIRINGS["pix2pix instance"], home)
    press("once-for-all", given, tmp_path, distil={"taps_weight": 1.0})
    logged = ofa_runs.log_of(tmp_path, "supernet")
    assert all(row["loss/distilled"] > 0 for row in logged if "loss/distilled" in row)
    assert any("loss/distilled" in row for row in logged)


def test_a_family_without_anything_to_change_is_compressed_as_it_is_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ofa_runs.brief(monkeypatch)
    teacher = WIRINGS["sngan"].model()
    how = cagc_runs.settings(student=FORM, discriminator={"weight": 0.0})
    student = compress(teacher, None, run=tmp_path, config=how, method="content-aware")
    assert student.options == teacher.options
    assert "has nothing that the form for integers would change" in capsys.readouterr().err


def test_a_run_says_what_it_changes_and_its_student_is_gone_on_from(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ofa_runs.brief(monkeypatch)
    given = given_for(WIRINGS["pix2pix instance"], home)
    images: Images = given.images  # type: ignore[assignment]
    first = slim_runs.settings(**SLIM, student=FORM)
    compress(given.teacher, images, run=tmp_path / "a", config=first, method="slim")
    said = capsys.readouterr().err
    assert "norm: instance becomes batch (lost: each picture's own mean and variance" in said
    assert json.loads((tmp_path / "a" / "config.json").read_text())["quantise"]["first"] == "int8"
    start = load(tmp_path / "a" / "student.safetensors")
    further = slim_runs.settings(**{**SLIM, "target": {"macs": 0.6}}, student=FORM)
    run = tmp_path / "b"
    student = compress(
        given.teacher, images, run=run, config=further, method="slim", start=start, quiet=True
    )
    assert student.options == start.options
    assert load_file(run / "student.safetensors")
    plain = slim_runs.settings(**SLIM)
    with pytest.raises(ConfigError, match="give a student of this teacher"):
        compress(
            given.teacher, images, run=tmp_path / "c", config=plain, method="slim", start=start
        )
