"""What is refused before any training, from the command line: what was wrong, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from cli_runs import Told, run_cli
from family_runs import write_domains
from ofa_runs import brief, given_for, settings, teacher_of
from torch import nn

from ganpress.errors import ConfigError, InfeasibleTarget
from ganpress.methods.once_for_all.requests import check, costs_of, ghost, resolve, space_of
from ganpress.models.checkpoint import load, save

SETS = [
    *("min_channels=1", "channel_multiple=1", "data.size=32", "data.batch=2", "data.workers=0"),
    *("distance.features=tiny", "discriminator.width=4", "discriminator.layers=2"),
    *("supernet.steps=1", "search.images=1", "search.kind=random", "search.evaluations=1"),
    *("search.ratios=[1,0.5]", "search.calibrate=2"),
]
NO_LOSS = ("discriminator.weight=0", "distil.reconstruction=0", "distil.taps_weight=0")
WAY = re.compile(r"--set (\S+?=[^\s),]+)")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    brief(monkeypatch)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = write_domains(tmp_path_factory.mktemp("bad-input"))
    for name in ("cyclegan instance", "gaugan instance", "sngan"):
        save(teacher_of(name), home / f"{name.split()[0]}.safetensors")
    return home


def asked(
    capsys: pytest.CaptureFixture[str],
    home: Path,
    run: Path,
    *sets: str,
    more: tuple[object, ...] = (),
) -> Told:
    """`ganpress compress once-for-all` with these settings over `SETS`."""
    flags = [part for item in (*SETS, *sets) for part in ("--set", item)]
    line = ("--teacher", home / "cyclegan.safetensors", "--images", home / "x", "--run", run)
    return run_cli(capsys, "compress", "once-for-all", *line, *more, *flags)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["target.macs=0.5", "search.images=6"], "would leave nothing of 6 images"),
        (["target.macs=0.5", "search.images=7"], "search.images=7 would leave nothing"),
        ([], "The search needs a budget, as a fraction of the teacher's cost"),
        (["procedure=uniform", "search.objective=macs"], "Procedure 'uniform' needs a budget"),
        (["target.macs=0.0001"], "the smallest width set of the space, 3_4_6_6_2_8_10|cannot be"),
        (["target.params=0.0001"], "of the teacher's params. What can be reached"),
        (["target.bytes=0.0001", "quantise.bits=8"], "of the teacher's bytes. What can be reached"),
        (["target.macs=0.5", *NO_LOSS], "there is no loss to train with: give one of them"),
    ],
)
def test_the_ways_that_are_proposed_are_accepted(
    sets: list[str], words: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = asked(capsys, home, tmp_path / "r", *sets)
    assert refused.code == 2 and re.search(words, refused.err), refused.err
    assert not (tmp_path / "r" / "supernet").exists()
    ways = WAY.findall(refused.err)
    assert ways, refused.err
    for way in ways[:1]:
        done = asked(capsys, home, tmp_path / way, *sets, way.rstrip("."))
        assert done.code == 0, done.err
        assert (tmp_path / way / "student.safetensors").exists()


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (
            ["search.quality=distanse"],
            "There is no search.quality 'distanse' .did you mean 'distance'",
        ),
        (["search.quality=truth"], "needs the truth of each input.*can be measured here: distance"),
        (["search.quality=frechet"], "needs real pictures of the target domain"),
        (["search.quality=miou"], "needs a segmenter"),
        (["search.segmenter=facades"], "search.segmenter=facades needs label maps"),
        (["search.space=chanels-32"], "channels-32"),
        (["search.space=channels-32"], "goes up to 32 channels of group|search.space=default"),
        (["search.choose=5_7"], "5_7 has 2 numbers; this space has 7 slots"),
        (["search.choose=a_b"], "'a_b' names no width set: write one number for each slot"),
        (["target.layout=pth-gan-compression"], "target.layout binds widths in pruning"),
        (["reuse=nowhere"], "there is no run in that folder"),
        (["procedure=scratch"], "give its folder"),
        (["sparsify.rho=1"], "Unknown setting 'sparsify.rho'"),
        (["supernet.step=1"], "did you mean 'supernet.steps'"),
        (["supernet.sampling=sandwhich"], "sandwich"),
        (["procedure=once"], "once-for-all"),
        (["discriminator.real=images"], "reals"),
        (["data.size=34"], "multiple"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    sets: list[str], words: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, home, tmp_path / "r", "target.macs=0.5", *sets)
    assert found.code == 2, found.err
    assert re.search(words, found.err), found.err
    assert not (tmp_path / "r" / "supernet").exists()


def test_a_cost_as_the_second_objective_needs_no_target(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, home, tmp_path / "r", "search.objective=macs")
    assert found.code == 0, found.err


@pytest.mark.parametrize("sampling", ["within", "shrinking"])
@pytest.mark.parametrize("place", [0, 1])
def test_sets_of_a_budget_are_not_sampled_where_there_is_none(
    sampling: str, place: int, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("search.objective=macs", f"supernet.sampling={sampling}")
    found = asked(capsys, home, tmp_path / "r", *own)
    assert found.code == 2 and "of the target, and there is none (--set" in found.err
    assert not (tmp_path / "r" / "supernet").exists()
    ways = WAY.findall(found.err)
    assert [way.split("=")[0] for way in ways] == ["target.macs", "supernet.sampling"]
    done = asked(capsys, home, tmp_path / "r", *own, ways[place])
    assert done.code == 0, done.err


@pytest.mark.parametrize("sampling", ["within", "shrinking"])
def test_sets_of_a_budget_that_none_meets_are_not_sampled_for_a_set_by_its_name(
    sampling: str, home: Path
) -> None:
    given = given_for("cyclegan instance", home)
    sets = space_of(given.teacher, resolve(given, settings()))
    named = {"search": {"choose": sets.name(sets.largest)}, "supernet": {"sampling": sampling}}
    check(given, resolve(given, settings(**named, target={"macs": 1.0})))
    asked_for = resolve(given, settings(**named, target={"macs": 0.0001}))
    with pytest.raises(InfeasibleTarget, match="the smallest width set of the space"):
        check(given, asked_for)


def test_a_set_by_its_name_is_refused_above_the_target_with_ways_that_are_accepted(
    home: Path,
) -> None:
    given = given_for("cyclegan instance", home)
    sets = space_of(given.teacher, resolve(given, settings()))
    c, teacher = resolve(given, settings()), given.teacher
    least = costs_of(teacher, ghost(teacher, c), c)(sets.widths(sets.smallest))["macs"]
    least /= costs_of(teacher, teacher.net, c)({})["macs"]
    small = settings(search={"choose": sets.name(sets.smallest)}, target={"macs": 1.1 * least})
    check(given, resolve(given, small))
    large = settings(search={"choose": sets.name(sets.largest)}, target={"macs": 1.1 * least})
    with pytest.raises(ConfigError, match=r"above target\.macs=.*choose a smaller set") as refused:
        check(given, resolve(given, large))
    ways = re.findall(r"--set (\S+?=[^\s),]*)", str(refused.value))
    assert [way.split("=")[0] for way in ways] == ["target.macs", "target.macs"]
    for way in ways:
        value = way.removeprefix("target.macs=")
        target = {"macs": float(value) if value else None}
        check(given, resolve(given, settings(search=large.search.model_dump(), target=target)))
    assert ways[1] == "target.macs="


def test_a_compression_does_not_start_from_another_student(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / "cyclegan.safetensors"
    found = asked(capsys, home, tmp_path / "r", "target.macs=0.5", more=("--from", file))
    assert found.code == 2 and "--from" in found.err


def test_scales_are_refused_where_no_norm_could_have_any(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, own = ("target.macs=0.5", "student.affine=true"), ("student.form=integers",)
    found = asked(capsys, home, tmp_path / "r", *given, *own)  # BatchNorms
    assert found.code == 2 and "leave student.affine out" in found.err
    assert not (tmp_path / "r" / "supernet").exists()
    found = asked(capsys, home, tmp_path / "r", given[0], *own)
    assert found.code == 0, found.err


def test_a_student_trains_the_scales_that_it_is_given(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(capsys, home, tmp_path / "r", "target.macs=0.5", "student.affine=true")
    assert found.code == 0, found.err
    student = load(tmp_path / "r" / "student.safetensors")
    assert student.options["affine"] and student.options["separable"]
    scales = [m for m in student.net.modules() if isinstance(m, nn.InstanceNorm2d) and m.affine]
    assert scales and all(not torch.equal(m.weight, torch.ones_like(m.weight)) for m in scales)


def test_label_maps_that_are_missing_are_asked_for(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--teacher", home / "gaugan.safetensors")
    found = asked(capsys, home, tmp_path / "r", "target.macs=0.5", "data.size=64", more=more)
    assert found.code == 2 and "reads label maps: give them (--labels)" in found.err


def test_the_method_is_listed_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    said = run_cli(capsys, "settings", "once-for-all")
    assert said.code == 0
    for line in ('procedure = "once-for-all"', "sandwich_random = 1", "supernet.", "search.choose"):
        assert line in said.out, said.out
    listed = run_cli(capsys, "methods")
    assert "once-for-all: GAN Compression (Li et al., CVPR 2020)" in listed.out


@pytest.fixture
def ablated(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    names = ["scratch", "no-taps", "fast"]  # scratch before what it reuses
    sets = [*SETS[:-2], "search.ratios=[1,0.5]", "search.calibrate=2", "target.macs=0.6"]
    flags = [part for item in sets for part in ("--set", item)]
    line = ("--teacher", home / "cyclegan.safetensors", "--images", home / "x")
    done = run_cli(
        capsys, "ablate", "once-for-all", *line, "--run", tmp_path / "a", *flags,
        "--variants", ",".join(names), "--seeds", "0,1",
    )  # fmt: skip
    assert done.code == 0, done.err
    return tmp_path / "a"


def test_variants_are_compared_and_scratch_has_the_widths_of_the_fast_run_of_its_seed(
    ablated: Path,
) -> None:
    page = (ablated / "ablation.md").read_text()
    assert page.startswith("# Ablation of GAN Compression")
    for seed in (0, 1):
        found = {
            n: load(ablated / f"{n}-{seed}" / "student.safetensors")
            for n in ("fast", "scratch", "no-taps")
        }
        assert found["scratch"].widths == found["fast"].widths
        assert (ablated / f"scratch-{seed}" / "distil" / "done.json").exists()
        assert not (ablated / f"scratch-{seed}" / "supernet").exists()
        assert not (ablated / f"no-taps-{seed}" / "supernet" / "taps.pt").exists()
        assert (ablated / f"fast-{seed}" / "supernet" / "taps.pt").exists()


def test_scratch_is_written_down_as_failed_where_fast_failed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganpress.errors import Diverged
    from ganpress.methods.once_for_all import method

    def diverges(*_: object, **__: object) -> None:
        raise Diverged("Training diverged: it is a test.")

    monkeypatch.setattr(method, "searched", diverges)
    flags = [part for item in (*SETS, "target.macs=0.6") for part in ("--set", item)]
    line = ("--teacher", home / "cyclegan.safetensors", "--images", home / "x")
    done = run_cli(
        capsys, "ablate", "once-for-all", *line, "--run", tmp_path / "a", *flags,
        "--variants", "scratch,fast,uniform",
    )  # fmt: skip
    assert (tmp_path / "a" / "fast-0" / "failed.json").exists(), done.err
    failed = (tmp_path / "a" / "scratch-0" / "failed.json").read_text()
    assert "its stage 'search' has not finished" in failed
    assert (tmp_path / "a" / "uniform-0" / "student.safetensors").exists()
