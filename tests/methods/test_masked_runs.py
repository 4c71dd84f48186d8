"""One mask for every method: photos, label maps and noise, training, search and evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import ofa_runs
import pytest
import torch
from cli_runs import run_cli
from family_runs import write_domains
from mask_files import RED, red_network
from nets import WIRINGS
from ofa_runs import brief, images_for
from PIL import Image
from segmenter_files import by_colour, write_torchscript
from slim_runs import settings as slim_settings
from thin import thinned
from torch import Tensor, nn

from ganpress.errors import ConfigError
from ganpress.losses.distance import Distance, DistanceSettings
from ganpress.losses.perceptual import perceptual, perceptual_features
from ganpress.measures.fidelity import evaluate
from ganpress.measures.interest.interest import (
    Counted,
    interest_for,
    masked_images,
    resolved_mask,
)
from ganpress.measures.interest.settings import MaskSettings
from ganpress.methods.base import Given
from ganpress.methods.compress import compress
from ganpress.methods.gan_slimming import GAN_SLIMMING
from ganpress.methods.once_for_all.omgd import PictureLoss, PictureWeights
from ganpress.methods.once_for_all.scoring import Held, Scorer
from ganpress.methods.once_for_all.settings import DistilSettings
from ganpress.methods.once_for_all.terms import PictureTerms, Wanted
from ganpress.models.checkpoint import save
from ganpress.models.source import Source
from ganpress.run.run import Run
from ganpress.training.setup import distance_on

RUNS = (
    *(("pix2pix", "files"), ("sngan", "network")),
    *(("stylegan2", "boxes"), ("cyclegan", "network"), ("gaugan", "files")),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_domains(tmp_path_factory.mktemp("domains"))
    (root / "masks").mkdir()
    for number, path in enumerate(sorted((root / "x").iterdir())):
        pixels = np.zeros((64, 64), np.uint8)
        pixels[8 * number : 8 * number + 24] = 255
        Image.fromarray(pixels).save(root / "masks" / f"{path.stem}.png")
    red_network(root / "net")
    (root / "boxes.toml").write_text("boxes = [[0.25, 0.25, 0.75, 0.75]]")
    return root


def mask_at(home: Path, kind: str) -> dict[str, str]:
    places = {"network": "net/red.pt", "boxes": "boxes.toml", "files": "masks"}
    return {"source": str(home / places[kind])}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Every mask that is found."""
    found: list[Tensor] = []
    call = Counted.__call__

    def listen(self: Counted, *given: Any) -> Tensor:
        found.append(call(self, *given))
        return found[-1]

    monkeypatch.setattr(Counted, "__call__", listen)
    return found


def wiring_of(family: str) -> str:
    return next(name for name, wiring in WIRINGS.items() if wiring.name == family)


def size_of(family: str) -> dict[str, int]:
    return {"size": 64} if family == "gaugan" else {}


def slimmed(family: str, home: Path, run: Path, mask: dict[str, str], **changes: Any) -> nn.Module:
    name = wiring_of(family)
    given = Given(ofa_runs.teacher_of(name), images_for(WIRINGS[name], home))
    config = slim_settings(
        mask=mask, target={"macs": 0.9}, sparsify={"steps": 2, "batch": 2}, finetune={"steps": 1},
        **changes,
    )  # fmt: skip
    used = GAN_SLIMMING.resolve(given, config)
    GAN_SLIMMING.check(given, used)
    return GAN_SLIMMING.compress(given, used, Run(run, quiet=True)).net


@pytest.mark.filterwarnings("ignore:What channels that are cut")
@pytest.mark.parametrize(("family", "kind"), thinned(RUNS, 2))
def test_slimming_compares_where_the_mask_says_in_every_step(
    family: str, kind: str, home: Path, tmp_path: Path, seen: list[Tensor]
) -> None:
    slimmed(family, home, tmp_path, mask_at(home, kind), data=size_of(family))
    assert [len(m) for m in seen] == [2, 2, 4]  # two steps, and one of fine-tuning
    assert_partly(seen, kind)


@pytest.mark.parametrize(("family", "kind"), thinned([*RUNS, ("munit", "files")], 2))
def test_once_for_all_compares_where_the_mask_says_in_training_and_search(
    family: str, kind: str, home: Path, tmp_path: Path, seen: list[Tensor]
) -> None:
    config = ofa_runs.settings(mask=mask_at(home, kind), data=size_of(family))
    ofa_runs.press(ofa_runs.given_for(wiring_of(family), home), config, tmp_path)
    assert len(seen) == 3  # two steps, and the inputs that width sets are scored on
    assert_partly(seen, kind)


def assert_partly(seen: list[Tensor], kind: str) -> None:
    assert all(m.shape[1] == 1 and 0 <= float(m.min()) <= float(m.max()) <= 1 for m in seen)
    if kind != "network":  # of random teachers all or nothing may be red
        assert all(0 < float(m.mean()) < 1 for m in seen)


@pytest.mark.parametrize("family", ["sngan", "stylegan2"])
def test_masks_by_photo_are_refused_where_a_generator_reads_noise(family: str, home: Path) -> None:
    given = Given(ofa_runs.teacher_of(wiring_of(family)), None)
    (home / "named.toml").write_text('[photos]\n"0.png" = [[0, 0, 1, 1]]')
    for source in ("masks", "named.toml"):
        config = slim_settings(mask={"source": str(home / source)}, target={"macs": 0.9})
        with pytest.raises(ConfigError, match=f"'{family}' generator reads none: give a network"):
            GAN_SLIMMING.check(given, GAN_SLIMMING.resolve(given, config))


def test_a_student_learns_nothing_of_what_is_outside_the_mask(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two teachers' pictures that differ outside the box alone leave the same student."""
    from ganpress.training.teacher import CachedTeacher, Observed

    call, students = CachedTeacher.__call__, []
    for noise in (0.0, 1.0):

        def painted(self: CachedTeacher, *given: Any, noise: float = noise) -> Observed:
            found = call(self, *given)
            inside = torch.zeros_like(found.pictures)
            inside[..., 8:24, 8:24] = 1
            return found._replace(pictures=found.pictures * inside + noise * (1 - inside))

        monkeypatch.setattr(CachedTeacher, "__call__", painted)
        boxes = mask_at(home, "boxes")
        net = slimmed(
            "cyclegan", home, tmp_path / str(noise), boxes, discriminator={"weight": 0.0},
            procedure="gd",
        )  # fmt: skip
        students.append(net.state_dict())
    assert all(torch.equal(students[0][name], students[1][name]) for name in students[0])


def test_cached_crops_give_the_same_student_with_the_cache_and_again_without_it(
    home: Path, tmp_path: Path
) -> None:
    cached = {"cached_crops": 2, "teacher_cache": str(tmp_path / "cache")}
    students = [
        slimmed("cyclegan", home, tmp_path / name, mask_at(home, "files"), data=cached).state_dict()
        for name in ("first", "again")
    ]
    assert all(torch.equal(students[0][name], students[1][name]) for name in students[0])
    [folder] = (tmp_path / "cache").iterdir()  # one cache: masks are no part of its key
    plain = slimmed("cyclegan", home, tmp_path / "plain", {}, data=cached).state_dict()
    assert [folder] == list((tmp_path / "cache").iterdir())
    assert any(not torch.equal(plain[name], students[0][name]) for name in plain)


# --- once-for-all's terms and scores -------------------------------------------------------------

DRAW = torch.Generator().manual_seed(0)
FAKE, TEACHER, TRUTH = (torch.rand(2, 3, 32, 32, generator=DRAW) * 2 - 1 for _ in range(3))
LEFT = torch.zeros(2, 1, 32, 32)
LEFT[..., :12] = 1


def terms_of(wanted: Wanted, pictures: PictureLoss | None = None) -> dict[str, Tensor]:
    given = DistilSettings(reconstruction=10.0, matching=0.0, perceptual=2.0)
    no_discriminator: Any = None
    features = perceptual_features("tiny")
    return PictureTerms(given, no_discriminator, features, pictures)(FAKE, wanted)


@pytest.mark.parametrize("truth", [TRUTH, None], ids=["paired", "unpaired"])
def test_reconstruction_and_perceptual_loss_are_of_the_masked_pictures(
    truth: Tensor | None,
) -> None:
    goal = TEACHER if truth is None else truth
    found = terms_of(Wanted(TEACHER, truth, None, LEFT))
    assert float(found["reconstruction"]) == pytest.approx(
        10 * float((FAKE - goal)[..., :12].abs().sum()) / FAKE.numel(), rel=1e-5
    )
    features = perceptual_features("tiny")
    wanted = 2 * perceptual(features, FAKE * LEFT, goal * LEFT)
    assert float(found["perceptual"]) == pytest.approx(float(wanted))
    whole, ones = (terms_of(Wanted(TEACHER, truth, None, m)) for m in (None, LEFT * 0 + 1))
    assert {n: float(v) for n, v in whole.items()} == {n: float(v) for n, v in ones.items()}
    assert float(whole["perceptual"]) != float(found["perceptual"])


def test_gan_slimmings_distance_as_a_term_is_of_the_masked_pictures() -> None:
    given = DistilSettings(reconstruction=0.0, matching=0.0, perceptual=0.0, distance=3.0)
    no_discriminator: Any = None
    loss = Distance(DistanceSettings(kind="mse"))
    terms = PictureTerms(given, no_discriminator, distance=loss)
    found = terms(FAKE, Wanted(TEACHER, None, None, LEFT))["distance"]
    wanted = 3 * float(((FAKE - TEACHER) * LEFT).square().mean())
    assert float(found) == pytest.approx(wanted)
    loss = Distance(DistanceSettings(features="tiny", unit=1.0))
    terms = PictureTerms(given, no_discriminator, distance=loss)
    known = terms.known(Wanted(TEACHER, None, None, LEFT))
    assert known.maps and float(terms(FAKE, known)["distance"]) == pytest.approx(
        3 * float(loss(FAKE, TEACHER, LEFT))
    )


def test_omgds_terms_are_of_the_masked_pictures() -> None:
    loss = PictureLoss(None, PictureWeights(gram=0.0, feature=0.0))
    found = terms_of(Wanted(TEACHER, None, None, LEFT), loss)
    wanted = loss.terms(FAKE * LEFT, TEACHER * LEFT)
    assert wanted and {n: float(found[n]) for n in wanted} == {n: float(wanted[n]) for n in wanted}


@pytest.mark.parametrize("quality", ["distance", "truth"])
def test_width_sets_are_scored_by_the_masked_pictures(quality: str) -> None:
    class Made(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    distance = Distance(DistanceSettings(features="tiny", style=10.0, content=1.0))
    held = [Held((FAKE,), TEACHER, TRUTH, LEFT)]
    found = Scorer(Made(), held, distance, quality=quality)({})
    goal = TEACHER if quality == "distance" else TRUTH
    assert found[quality] == pytest.approx(float(distance(FAKE, goal, LEFT)))
    wanted = float((FAKE - TEACHER)[..., :12].abs().sum()) / FAKE.numel()
    assert found["l1"] == pytest.approx(wanted, rel=1e-5)


# --- evaluation, resumed runs and the command line -----------------------------------------------


@pytest.mark.parametrize(
    ("family", "kind"), thinned([("sngan", "boxes"), ("cyclegan", "files")], 1)
)
def test_an_evaluation_has_the_distances_inside_the_mask(
    family: str, kind: str, home: Path
) -> None:
    name = wiring_of(family)
    teacher, student = ofa_runs.teacher_of(name), ofa_runs.teacher_of(name, seed=1)
    mask = MaskSettings(**mask_at(home, kind))
    images = images_for(WIRINGS[name], home)
    found, whole = (
        evaluate(student, teacher, images, features="tiny", batch=4, mask=m, size=None, count=6)
        for m in (mask, None)
    )
    assert list(found.metrics)[2:] == ["tiny-masked-unit-distance", "masked-l1"]
    assert list(whole.metrics) == list(found.metrics)[:2]
    assert whole.metrics == {name: found.metrics[name] for name in whole.metrics}
    assert found.metrics["masked-l1"] != found.metrics["l1"]
    line, digest = found.protocol["mask"], resolved_mask(mask).digest or ""
    assert digest[:12] in line and line.endswith("in 0 of 6")


def test_an_evaluation_counts_the_pictures_whose_mask_is_empty(home: Path, tmp_path: Path) -> None:
    blind = write_torchscript(tmp_path / "blind.pt", by_colour(), RED + "mean = [9, 0, 0]\n")
    teacher = ofa_runs.teacher_of(wiring_of("sngan"))
    with pytest.warns(UserWarning, match="The mask of 5 of 5 pictures was empty"):
        found = evaluate(
            teacher, teacher, None, count=5, features="tiny", mask=MaskSettings(source=str(blind))
        )
    assert found.protocol["mask"].endswith("in 5 of 5")
    assert found.metrics["masked-l1"] == 0


def line_of(home: Path, run: Path, *more: object) -> list[object]:
    values = [
        *("min_channels=1", "data.size=32", "data.batch=2", "data.workers=0", "target.macs=0.9"),
        *("distance.features=tiny", "distance.style=0", "discriminator.weight=0"),
        *("sparsify.steps=2", "finetune.steps=1"),
    ]
    sets = [part for item in values for part in ("--set", item)]
    teacher = home / "teacher.safetensors"
    if not teacher.exists():
        save(ofa_runs.teacher_of(wiring_of("cyclegan")), teacher)
    photos = ("--images", home / "x")
    return ["compress", "slim", "--teacher", teacher, *photos, "--run", run, *sets, *more]


def test_a_run_from_the_command_line_keeps_its_mask_and_reports_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    brief(monkeypatch)
    network = red_network(tmp_path / "own", "classes = 3\nkeep = [0, 1, 2]\n")
    run = tmp_path / "run"
    done = run_cli(capsys, *line_of(home, run, "--mask", network))
    assert done.code == 0, done.err
    config = json.loads((run / "config.json").read_text())
    assert config["mask"]["source"] == str(network) and len(config["mask"]["digest"]) == 64
    results = json.loads((run / "results.json").read_text())
    assert "tiny-masked-unit-distance" in results["evaluation"]["metrics"]
    page = (run / "report.html").read_text()
    assert "tiny-masked-unit-distance" in page and config["mask"]["digest"][:12] in page
    shutil.copytree(network.parent, tmp_path / "elsewhere")
    moved = run_cli(capsys, *line_of(home, run, "--mask", tmp_path / "elsewhere" / network.name))
    assert moved.code == 0, moved.err
    network.with_suffix(".toml").write_text("classes = 3\nkeep = [0]\n")
    again = run_cli(capsys, *line_of(home, run, "--mask", network))
    assert again.code == 2 and "mask.digest" in again.err
    without = run_cli(capsys, *line_of(home, run))
    assert without.code == 2 and "mask.source" in without.err


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--mask", "none.onnx"), "There is no mask none.onnx"),
        (("--mask", "{home}/net/red.pt", "--mask-card", "bisenet"), "(1, 19, h, w)"),
        (("--mask-card", "bisenet"), "give its mask.source"),
        (("--mask", "{home}/few"), "has no mask for 5 of 6 photos"),
        (("--mask", "{home}/masks", "--test", "{home}/few"), "has no mask for 1 of 1 photos"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_before_any_training(
    home: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (home / "few").mkdir(exist_ok=True)
    first = sorted((home / "masks").iterdir())[0]
    name = "other.png" if "--test" in more else first.name
    for old in (home / "few").iterdir():
        old.unlink()
    Image.open(first).convert("RGB").save(home / "few" / name)
    given = [part.format(home=home) for part in more]
    found = run_cli(capsys, *line_of(home, tmp_path / "run", *given))
    assert found.code == 2 and why in found.err
    assert not (tmp_path / "run" / "sparsify").exists()


def test_evaluate_takes_a_mask_with_a_teacher_alone(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = save(ofa_runs.teacher_of(wiring_of("cyclegan")), tmp_path / "teacher.safetensors")
    line = ["evaluate", teacher, "--images", home / "x", "--features", "tiny"]
    mask = ["--mask", home / "masks", "--size", "32"]
    found = run_cli(capsys, *line, "--teacher", teacher, *mask)
    assert found.code == 0, found.err
    assert "masked-l1: 0.0000" in found.out and "mask: masks, sha256" in found.out
    least = run_cli(capsys, *line, "--teacher", teacher, *mask, "--mask-min-area", 0.9)
    assert least.code == 0 and "at least 0.9 of the picture" in least.out, least.err
    refused = run_cli(capsys, *line, *mask)
    assert refused.code == 2 and "give it (--teacher), or leave --mask out" in refused.err


def test_a_run_says_once_at_its_end_of_how_many_pictures_the_mask_was_empty(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief(monkeypatch)
    blind = write_torchscript(tmp_path / "blind.pt", by_colour(), RED + "mean = [9, 0, 0]\n")
    name = wiring_of("cyclegan")
    config = slim_settings(
        mask={"source": str(blind)}, target={"macs": 0.9}, sparsify={"steps": 2, "batch": 2},
        finetune={"steps": 1},
    )  # fmt: skip
    with pytest.warns(UserWarning, match="was empty") as said:
        compress(
            ofa_runs.teacher_of(name), images_for(WIRINGS[name], home), run=tmp_path / "run",
            config=config,
        )  # fmt: skip
    texts = [str(one.message).split("pictures")[0] for one in said if "empty" in str(one.message)]
    assert texts == ["The mask of 8 of 8 ", "The mask of 6 of 6 "]  # training, evaluation


def test_validation_measures_where_the_mask_of_each_held_out_photo_says(home: Path) -> None:
    name = wiring_of("cyclegan")
    teacher, other = (ofa_runs.teacher_of(name, seed) for seed in (0, 1))
    images = images_for(WIRINGS[name], home)
    assert images is not None
    mask = MaskSettings(**mask_at(home, "files"))
    rest, held = Source(teacher, masked_images(images, mask)).split(3, 32, seed=0)
    assert held.masks is not None and rest.images is not None
    assert "masks" in rest.images.columns
    distance = Distance(DistanceSettings(kind="mse"))
    found = distance_on(held, teacher, distance, interest_for(mask))(other.net)
    with torch.no_grad():
        gap = (other.net(*held.inputs) - teacher.net(*held.inputs)) * held.masks
    assert found == pytest.approx(float(gap.square().mean()))


def test_an_ablation_refuses_a_mask_that_is_not_there(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, method, *line = line_of(home, tmp_path / "run", "--mask", home / "bokses.toml")
    found = run_cli(capsys, "ablate", method, *line)
    assert found.code == 2 and "(did you mean 'boxes.toml'?)" in found.err
