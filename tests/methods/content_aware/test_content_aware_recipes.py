"""Recipes of Content-Aware GAN Compression resolve and pass the check against a teacher of their
family; the paper's are the paper's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cagc_runs import settings
from ofa_runs import brief
from ofa_runs import teacher_of as teacher_with_discriminator
from thin import thinned

from ganpress.data import open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.methods.ablate import ablate
from ganpress.methods.base import Given
from ganpress.methods.content_aware import CONTENT_AWARE, ContentAwareConfig
from ganpress.methods.content_aware.requests import check, resolve
from ganpress.methods.content_aware.settings import NarrowSettings
from ganpress.methods.content_aware.variants import CLAIMS, VARIANTS
from ganpress.methods.measured import Pictures
from ganpress.models.checkpoint import Model, full_model, load
from ganpress.models.families import family
from ganpress.run.recipes import recipes
from ganpress.run.settings import read_config

RECIPES = recipes(["content-aware"])
ABLATIONS = {n: f for n, f in recipes(["ablate"]).items() if n.startswith("content-aware")}
ZOO = Path(__file__).parents[3] / "zoo"


def teacher_of(name: str) -> Model:
    if name.endswith("cpu"):
        return load(
            ZOO / f"{'sngan-cifar10' if 'cifar10' in name else 'stylegan2-lfw'}.safetensors"
        )
    options = {"size": int(name.rpartition("-")[2]), "most": 512}
    with torch.device("meta"):  # 30 million weights, of which only the widths count
        ghost = full_model("stylegan2", **options)
    return ghost


@pytest.mark.parametrize(
    "name", thinned([*RECIPES, *ABLATIONS], lambda name: not name.endswith("1024"))
)
def test_a_recipe_is_accepted_for_its_teacher(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = teacher_of(name)
    c = read_config(ContentAwareConfig, name, ["device=cpu"])
    monkeypatch.setattr("ganpress.methods.checks.made_size", lambda of: of.size)
    images = open_images(write_folder(tmp_path / "x", 2, size=c.data.size))
    if "ffhq" in name:
        teacher.discriminator = None
    given = Given(teacher, images)
    used = resolve(given, c)
    monkeypatch.setattr("ganpress.methods.content_aware.requests.check_discriminator", no_check)
    check(given, used)
    assert used.discriminator.real == "images"


def no_check(*_: object, **__: object) -> None:
    """The discriminator of 1024 pixels is not built for this."""


@pytest.mark.parametrize("side", [256, 1024])
def test_the_papers_recipes_have_its_numbers(side: int) -> None:
    c = read_config(ContentAwareConfig, f"content-aware-ffhq-{side}", [])
    with torch.device("meta"):
        teacher = full_model("stylegan2", size=side)
    used = resolve(Given(teacher, None), c)
    f, d, score = used.finetune, used.distil, used.score
    assert (f.steps, f.lr, f.betas, f.weight_decay) == (450_000, 2e-3, (0.0, 0.99), 0.0)
    assert used.discriminator.lr == 2e-3
    assert f.ema == pytest.approx(0.5 ** (32 / 10_000), abs=1e-5)
    assert (d.pixel, d.perceptual, d.mode, d.mask_norm) == (3.0, 3.0, "output", False)
    assert (used.path.weight, used.path.every, used.mixing) == (2.0, 4, 0.9)
    assert (score.name, score.samples, score.batch, score.noise) == ("content-aware", 400, 10, 0.05)
    assert (used.cut.ratio, used.data.batch, used.distance.features) == (0.7, 16, "vgg16")


def test_every_variant_can_be_run_on_a_stylegan2_and_keeps_what_is_shared() -> None:
    base = read_config(ContentAwareConfig, "content-aware-faces-cpu", [])
    given = Given(load(ZOO / "stylegan2-lfw.safetensors"), None)
    seen = set()
    for name in VARIANTS:
        own = CONTENT_AWARE.settings_of(name, base)
        check(given, resolve(given, own))
        assert own.target == base.target
        assert name in ("in-rounds", "by-cost") or own.finetune == base.finetune
        assert CONTENT_AWARE.training_minutes(own) == 5
        seen.add(own.model_dump_json())
    assert len(seen) == len(VARIANTS)
    named = {name for claim in CLAIMS for name in (claim.better, claim.worse)}
    assert named <= set(VARIANTS)


@pytest.mark.parametrize("before", [1, 3])
def test_cuts_in_rounds_take_no_longer_than_what_they_are_compared_with(before: int) -> None:
    """Three eighths of the training of all stages passes between the four cuts."""
    narrow = {"rounds": before, "steps": 400, "minutes": 1.0}
    shared = settings(narrow=narrow, finetune={"steps": 800, "minutes": 3.0})
    own = CONTENT_AWARE.settings_of("in-rounds", shared)
    steps, minutes = (800, 3) if before == 1 else (1200, 4)
    assert own.narrow == NarrowSettings(rounds=4, steps=3 * steps // 8, minutes=3 * minutes / 8)
    assert (own.finetune.steps, own.finetune.minutes) == (5 * steps // 8, 5 * minutes / 8)
    untimed = settings(finetune={"steps": 800})
    own = CONTENT_AWARE.settings_of("in-rounds", untimed)
    assert (own.narrow.minutes, own.finetune.minutes) == (None, None)
    assert CONTENT_AWARE.settings_of("by-cost", untimed).cut.cost_exponent > 0


def test_the_familys_own_pictures_decide_the_recipes_size() -> None:
    for name in (n for n in RECIPES if n.endswith("cpu")):
        c = read_config(ContentAwareConfig, name, [])
        assert c.data.size == teacher_of(name).size
    assert family("stylegan2").image.size == 256


def test_an_ablation_compares_variants_at_one_cost_and_its_report_has_the_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief(monkeypatch)
    base = settings(cut={"ratio": None}, target={"macs": 0.5}, finetune={"steps": 1})
    found = ablate(
        teacher_with_discriminator("stylegan2"),
        Pictures(None),
        run=tmp_path,
        method="content-aware",
        config=base,
        variants=("content-aware", "random"),
        quiet=True,
    )
    assert [row["variant"] for row in found["variants"]] == ["content-aware", "random"]
    said = [one["statement"] for one in found["statements"]]
    assert set(said) == {claim.statement for claim in CLAIMS}
    paths = (tmp_path / f"{name}-0" / "student.safetensors" for name in ("content-aware", "random"))
    one, other = (load(path) for path in paths)
    assert one.widths == other.widths and not torch.equal(one.net.const, other.net.const)  # type: ignore[arg-type]
    assert (tmp_path / "ablation.md").read_text().startswith("# Ablation of Content-Aware GAN")


def test_a_forecast_shortens_scores_and_retraining() -> None:
    c = read_config(ContentAwareConfig, "content-aware-faces-cpu", [])
    brief_one = CONTENT_AWARE.shortened
    assert brief_one is not None
    short = brief_one(c, 4, 0.2)
    assert (short.finetune.steps, short.finetune.minutes, short.score.samples) == (4, 0.2, 10)
    assert short.narrow.rounds == 1
    several = c.model_copy(update={"narrow": NarrowSettings(rounds=5, steps=70, minutes=3)})
    brief_several = brief_one(several, 4, 0.2).narrow
    assert brief_several == NarrowSettings(rounds=2, steps=4, minutes=0.2)
    assert CONTENT_AWARE.stage_steps(several) == {"narrow": 70, "finetune": 100_000}
    assert CONTENT_AWARE.training_minutes(several) == 8
    assert CONTENT_AWARE.stage_steps(c) == {"finetune": 100_000}
    assert CONTENT_AWARE.longer(c) == {"finetune.steps": "finetune"}
