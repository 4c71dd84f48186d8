"""GAN Slimming on every family: the same inputs for both, the teacher's own discriminator, and
every variant."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from family_runs import with_discriminator, write_domains
from nets import WIRINGS, Wiring, every_family
from slim_runs import log_of, settings, share, slim
from thin import thinned

from ganpress.channels.take import scales
from ganpress.data import Batch, Images, open_images
from ganpress.errors import ConfigError, ExportError
from ganpress.measures.cost import Latency
from ganpress.methods.compress import compress
from ganpress.methods.gan_slimming import GAN_SLIMMING, SlimConfig
from ganpress.methods.gan_slimming.extract import scaled_copy
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.inputs import from_noise, inputs_of, made_size, reads
from ganpress.nn.layers import add_gates
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.run import Run, Stage
from ganpress.training.discriminator import DiscriminatorWithLoss
from ganpress.training.teacher import CachedTeacher

GENTLE: dict[str, Any] = {
    "sparsify": {"steps": 4, "batch": 2},
    "finetune": {"steps": 2},
    "data": {"batch": 2},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of 64 pixels with targets, label maps and instance maps."""
    return write_domains(tmp_path_factory.mktemp("slim-families"))


def images_for(wiring: Wiring, home: Path) -> Images | None:
    if from_noise(wiring.ghost):
        return None
    if wiring.name == "gaugan":
        return open_images(home / "x", labels=home / "labels", instances=home / "things")
    return open_images(home / "x")


def slimmed(
    wiring: Wiring, home: Path, run: Path, teacher: Model, images: Images | None = None, **more: Any
) -> Model:
    values = {name: {**GENTLE[name], **more.pop(name, {})} for name in GENTLE}
    values["data"] |= {"size": more.pop("size", wiring.pixels)}
    config = settings(**{"seed": 3, **values, **more})
    images = images or images_for(wiring, home)
    return slim(teacher, images, config, Run(run, seed=3, quiet=True, log_every=1))


def has_scales(wiring: Wiring) -> bool:
    return bool(scales(add_gates(scaled_copy(wiring.model()).net)))


@every_family
@pytest.mark.filterwarnings("ignore:What channels that are cut add to")  # random weights: they do
def test_every_family_is_slimmed_against_its_own_discriminator(
    wiring: Wiring, home: Path, tmp_path: Path
) -> None:
    teacher = with_discriminator(wiring)
    target = 0.93 if wiring.name == "gaugan" else 0.5
    how = {"target": {"macs": target}, "procedure": "gs" if has_scales(wiring) else "gd"}
    student = slimmed(wiring, home, tmp_path, teacher, **how)
    assert share(student, teacher, "macs") <= target
    lines = log_of(tmp_path, "finetune")
    assert len(lines) == 2
    assert all(line["loss/distance"] > 0 and line["loss/d"] != 0 for line in lines)
    again = load(save(student, tmp_path / "s.safetensors"))
    assert torch.equal(again(*wiring.inputs()), student(*wiring.inputs()))


@pytest.mark.parametrize("name", [n for n, w in WIRINGS.items() if not has_scales(w)])
def test_a_family_without_scales_says_what_can_be_done(
    name: str, home: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"has scales to be pruned by.*procedure=gd"):
        slimmed(WIRINGS[name], home, tmp_path, with_discriminator(WIRINGS[name]))
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


@pytest.mark.parametrize("name", ["munit", "sngan conditional", "stylegan2"])
def test_student_and_teacher_read_the_same_drawn_inputs(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring, heard = WIRINGS[name], []
    call = CachedTeacher.__call__

    def listen(self: CachedTeacher, inputs: Any, ids: Any) -> Any:
        heard.append(inputs)
        return call(self, inputs, ids)

    monkeypatch.setattr(CachedTeacher, "__call__", listen)
    teacher = with_discriminator(wiring)
    more = {"procedure": "gd", "width_ratio": 0.5, "data": {"cached_crops": 1}}
    slimmed(wiring, home, tmp_path, teacher, **more)
    assert len(heard) == 2
    assert not any(torch.equal(a, b) for a, b in zip(heard[0][-1:], heard[1][-1:], strict=True))
    assert not (tmp_path / "teacher-cache").exists()  # a crop does not fix what is drawn


def test_inputs_are_drawn_from_the_steps_seed() -> None:
    teacher = WIRINGS["stylegan2"].model()
    batch = Batch(torch.empty(3, 0), torch.full((3,), -1), None)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(inputs_of(teacher, batch))
    assert [t.shape[0] for t in found[0]] == [3] * len(teacher.net.reads)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not torch.equal(found[0][0], found[2][0])


@pytest.mark.parametrize("name", ["pix2pix", "gaugan", "sngan conditional"])
def test_a_conditional_discriminator_reads_what_the_generator_read(name: str) -> None:
    wiring = WIRINGS[name]
    teacher = with_discriminator(wiring)
    inputs = wiring.inputs(2)
    discriminator = DiscriminatorWithLoss(own=teacher.discriminator, reads=reads(teacher))
    assert discriminator.is_conditional
    fake = teacher(*inputs)
    seen = discriminator.condition(inputs)
    discriminator.eval()
    other = torch.roll(seen, 1, 1)  # type: ignore[arg-type]
    with torch.no_grad():
        assert float(discriminator.g_loss(fake, None, seen)) != float(
            discriminator.g_loss(fake, None, other)
        )


def test_the_game_starts_from_the_teachers_discriminator_and_leaves_it_alone(
    home: Path, tmp_path: Path
) -> None:
    wiring = WIRINGS["sngan"]
    teacher = with_discriminator(wiring)
    assert teacher.discriminator is not None
    before = {n: t.clone() for n, t in teacher.discriminator.net.state_dict().items()}
    slimmed(wiring, home, tmp_path, teacher)
    after = torch.load(tmp_path / "sparsify" / "discriminator.pt", weights_only=True)
    own = {n.removeprefix("net."): t for n, t in after.items()}
    assert own.keys() == before.keys()
    assert any(not torch.equal(own[n], before[n]) for n in own)
    assert all((own[n] - before[n]).abs().max() < 0.1 for n in own if n.endswith("original"))
    left = teacher.discriminator.net.state_dict()
    assert all(torch.equal(left[n], before[n]) for n in left)


def test_a_fixed_discriminator_stays_the_teachers(home: Path, tmp_path: Path) -> None:
    wiring = WIRINGS["cyclegan affine"]
    teacher = with_discriminator(wiring)
    assert teacher.discriminator is not None
    slimmed(wiring, home, tmp_path, teacher, discriminator={"fixed": True}, target={"macs": 0.5})
    after = torch.load(tmp_path / "sparsify" / "discriminator.pt", weights_only=True)
    for name, tensor in teacher.discriminator.net.state_dict().items():
        assert torch.equal(after[f"net.{name}"], tensor)
    assert {line["loss/d"] for line in log_of(tmp_path, "finetune")} == {0.0}
    assert all(line["loss/gan"] > 0 for line in log_of(tmp_path, "finetune"))


@pytest.mark.parametrize(
    ("start", "own", "told"),
    [
        ("fresh", False, "'fresh'"),
        ("fresh", True, "'fresh'"),
        ("teacher", False, "in its file"),
    ],
)
def test_a_fixed_discriminator_without_the_teachers_is_refused(
    start: str, own: bool, told: str, home: Path, tmp_path: Path
) -> None:
    wiring = WIRINGS["cartoongan"]
    teacher = with_discriminator(wiring) if own else wiring.model()
    discriminator = {"fixed": True, "start": start}
    with pytest.raises(ConfigError, match=told):
        slimmed(wiring, home, tmp_path, teacher, discriminator=discriminator)
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


@pytest.mark.parametrize("name", ["pix2pix", "gaugan", "stylegan2", "cartoongan"])
def test_images_can_be_what_is_real(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring, shown = WIRINGS[name], []
    loss = DiscriminatorWithLoss.d_loss

    def listen(self: DiscriminatorWithLoss, real: Any, fake: Any, **conditions: Any) -> Any:
        shown.append(real)
        return loss(self, real, fake, **conditions)

    monkeypatch.setattr(DiscriminatorWithLoss, "d_loss", listen)
    images = images_for(wiring, home) or open_images(home / "x")
    if name == "pix2pix":
        images = open_images(home / "x", pairs=home / "y")
    teacher, discriminator = with_discriminator(wiring), {"real": "images"}
    how = {"procedure": "gd", "width_ratio": 0.5, "discriminator": discriminator}
    if name == "cartoongan":
        with pytest.raises(ConfigError, match="real pictures of the target domain"):
            slimmed(wiring, home, tmp_path / "no", teacher, images, **how)
        config = settings(**{**how, "data": {"size": 32}})
        folder = Run(tmp_path, seed=0, quiet=True)
        slim(teacher, images, config, folder, reals=open_images(home / "y"))
    else:
        size = made_size(teacher) if from_noise(teacher) else wiring.pixels
        slimmed(wiring, home, tmp_path, teacher, images, size=size, **how)
    levels = [((s + 1) * 127.5 - ((s + 1) * 127.5).round()).abs().max() for s in shown]
    assert shown
    assert max(float(x) for x in levels) < 1e-3  # 8-bit pictures: no generator made them


def test_bfloat16_slims_and_its_losses_are_near_those_of_float32(
    home: Path, tmp_path: Path
) -> None:
    wiring, first = WIRINGS["cartoongan"], {}
    for precision in ("float32", "bfloat16"):
        run = tmp_path / precision
        how = {"precision": precision, "procedure": "gd", "width_ratio": 0.5}
        slimmed(wiring, home, run, with_discriminator(wiring), **how)
        first[precision] = log_of(run, "finetune")[0]
    for name in ("loss/distance", "loss/gan", "loss/d"):
        assert first["bfloat16"][name] == pytest.approx(first["float32"][name], rel=0.05)
        assert first["bfloat16"][name] != first["float32"][name]


@pytest.mark.parametrize("name", ["cartoongan", "sngan conditional"])
def test_the_memory_format_changes_nothing_but_roundings(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring, first, seen = WIRINGS[name], {}, []
    loss = DiscriminatorWithLoss.g_loss

    def listen(self: DiscriminatorWithLoss, fake: Any, *rest: Any) -> Any:
        weights = [p for p in self.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
        seen.append(all(p.is_contiguous(memory_format=torch.channels_last) for p in weights))
        return loss(self, fake, *rest)

    monkeypatch.setattr(DiscriminatorWithLoss, "g_loss", listen)
    for last in (False, True):
        run = tmp_path / str(last)
        how = {"procedure": "gd", "width_ratio": 0.5, "channels_last": last}
        slimmed(wiring, home, run, with_discriminator(wiring), **how)
        first[last] = log_of(run, "finetune")[0]
    assert seen[-1] and not seen[0]
    for key in ("loss/distance", "loss/gan", "loss/d"):
        assert first[True][key] == pytest.approx(first[False][key], rel=1e-4, abs=1e-5)


BASE = settings(
    target={"macs": 0.5},
    sparsify={"steps": 4, "minutes": 2.0},
    finetune={"steps": 4, "minutes": 3.0},
)


def test_every_variant_has_settings_at_the_bases_cost_and_time() -> None:
    assert len(GAN_SLIMMING.variants) == 9
    for variant in GAN_SLIMMING.variants:
        c = GAN_SLIMMING.settings_of(variant, BASE)
        assert isinstance(c, SlimConfig)
        assert (c.target, c.data, c.seed) == (BASE.target, BASE.data, BASE.seed)
        assert c.finetune.minutes == (5.0 if variant == "gd" else BASE.finetune.minutes)
        assert GAN_SLIMMING.training_minutes(c) == 5.0
    assert GAN_SLIMMING.settings_of("gd", BASE).finetune.minutes == 5.0
    assert GAN_SLIMMING.settings_of("gs-8-mse", BASE).distance.kind == "mse"
    with pytest.raises(ConfigError, match="did you mean 'cp\\+d'"):
        GAN_SLIMMING.settings_of("cpd", BASE)


@pytest.mark.parametrize("variant", GAN_SLIMMING.variants)
def test_each_variant_is_what_it_says(variant: str, home: Path, tmp_path: Path) -> None:
    wiring = WIRINGS["cartoongan"]
    teacher = with_discriminator(wiring)
    config = GAN_SLIMMING.settings_of(variant, BASE)
    images = images_for(wiring, home)
    student = slim(teacher, images, config, Run(tmp_path, quiet=True, log_every=1))
    logs = {p.parent.name: log_of(tmp_path, p.parent.name) for p in tmp_path.glob("*/log.jsonl")}
    distils = {name: any(x["loss/distance"] > 0 for x in lines) for name, lines in logs.items()}
    expected = {
        "gd": {"finetune": True},
        "cp": {"sparsify": False, "finetune": False},
        "cp+d": {"sparsify": False, "finetune": True},
        "d+cp": {"distil": True, "sparsify": False, "finetune": False},
    }
    assert distils == expected.get(variant, {"sparsify": True, "finetune": True})
    assert sum(len(lines) for lines in logs.values()) == 8
    assert share(student, teacher, "macs") <= 0.5
    quantiser = quantiser_of(student.net)
    assert (quantiser is not None) == (variant in ("gs-8", "gs-8-mse", "gs-32+postq"))
    if quantiser is not None:
        assert quantiser.bits == 8
    assert all(x["loss/d"] == 0 for x in logs["finetune"]) == (variant == "cec")


def test_d_then_cp_prunes_a_student_that_is_already_narrow(home: Path, tmp_path: Path) -> None:
    wiring = WIRINGS["cartoongan"]
    teacher = with_discriminator(wiring)
    config = settings(procedure="d+cp", width_ratio=0.5, min_channels=2, target={"macs": 0.1})
    student = slim(teacher, images_for(wiring, home), config, Run(tmp_path, quiet=True))
    wide = load(tmp_path / "distil" / "student.safetensors")
    assert wide.widths == {g: round(w / 2) for g, w in teacher.widths.items()}
    assert all(student.widths[g] <= w for g, w in wide.widths.items())
    assert share(student, teacher, "macs") <= 0.1 < share(wide, teacher, "macs")


def test_rounding_afterwards_gives_each_layer_a_range_of_its_own(
    home: Path, tmp_path: Path
) -> None:
    wiring = WIRINGS["cartoongan"]
    config = GAN_SLIMMING.settings_of("gs-32+postq", BASE)
    teacher = with_discriminator(wiring)
    student = slim(teacher, images_for(wiring, home), config, Run(tmp_path, quiet=True))
    assert len(set(student.card()["ranges"].values())) > 3


@pytest.mark.parametrize("name", ["sngan", "gaugan", "munit"])
def test_the_whole_line_runs_where_more_than_a_photo_is_read(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ExportError("not in this test")

    quick = Latency(1.0, 1.0, "cpu", 1, 1, 32, 5)
    monkeypatch.setattr("ganpress.measures.both_costs.latency", lambda *_, **__: quick)
    monkeypatch.setattr("ganpress.methods.finish.export", refuse)
    monkeypatch.setattr("ganpress.methods.finish.FROM_NOISE", 10)
    wiring = WIRINGS[name]
    how = {
        **GENTLE,
        "data": {"batch": 2, "size": wiring.pixels},
        "procedure": "gd",
        "width_ratio": 0.5,
    }
    images = images_for(wiring, home)
    compress(with_discriminator(wiring), images, run=tmp_path, config=settings(**how), quiet=True)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["evaluation"]["metrics"]["tiny-unit-distance"] > 0
    held = results["evaluation"]["protocol"]["held out"]
    assert held.startswith("no" if images else "yes")
    kinds = {path.stem.split("_")[1] for path in (tmp_path / "samples").iterdir()}
    assert kinds == {"teacher", "student", *(["photo"] if images else [])}
    assert (tmp_path / "report.html").exists()


class Killed(Exception):
    """The process is gone."""


@pytest.fixture(scope="module")
def undisturbed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """The student of a run of this wiring that nothing stopped, made once."""
    return functools.cache(lambda name: short_run(name, home, tmp_path_factory.mktemp("whole")))


def short_run(name: str, home: Path, folder: Path) -> Model:
    """A slimming of all stages that saves after each step, or what is left of it to do."""
    config = settings(target={"macs": 0.95}, **{**GENTLE, "data": {"batch": 2, "size": 64}})
    teacher = with_discriminator(WIRINGS[name])
    torch.manual_seed(0)
    teacher.net = teacher.build(dict.fromkeys(teacher.widths, 6))
    images = images_for(WIRINGS[name], home)
    return slim(teacher, images, config, Run(folder, quiet=True, save_every_s=0.0))


@pytest.mark.parametrize(
    ("where", "name"),
    thinned(
        [
            ("sparsify/2", "gaugan"),
            ("finetune/1", "sngan conditional"),
            ("finetune/1", "gaugan"),
            ("sparsify/2", "sngan conditional"),
        ],
        2,
    ),
)
def test_a_killed_run_of_noise_or_labels_ends_bit_equal(
    name: str,
    where: str,
    home: Path,
    undisturbed: Callable[[str], Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Stage.log

    def kill(self: Stage, step: int, /, **scalars: Any) -> None:
        if f"{self.name}/{step}" == where:
            raise Killed
        log(self, step, **scalars)

    whole = undisturbed(name).net.state_dict()
    with monkeypatch.context() as patch:
        patch.setattr(Stage, "log", kill)
        with pytest.raises(Killed):
            short_run(name, home, tmp_path / "killed")
    again = short_run(name, home, tmp_path / "killed").net.state_dict()
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[n], again[n]) for n in whole)
