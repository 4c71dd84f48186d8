"""The variants of the paper's ablation (section 4), later terms beside them, and its statements."""

from __future__ import annotations

from typing import Any

from ganpress.methods.base import Claim, Variant, divided_training
from ganpress.methods.content_aware.settings import ContentAwareConfig


def stage_minutes(c: ContentAwareConfig) -> dict[str, float | None]:
    """How the training time is spent, in minutes; scores and cuts are not counted."""
    between = {"narrow": c.narrow.minutes} if c.narrow.rounds > 1 else {}
    return {**between, "finetune": c.finetune.minutes}


def stage_steps(c: ContentAwareConfig) -> dict[str, int]:
    """Steps of each stage; the trainings between cuts count as one."""
    between = {"narrow": c.narrow.steps} if c.narrow.rounds > 1 else {}
    return {**between, "finetune": c.finetune.steps}


def shortened(c: ContentAwareConfig, steps: int, minutes: float) -> ContentAwareConfig:
    """The same compression with so short a retraining, and scores of one batch; with one training
    between two cuts, if there are any."""
    length = {"steps": steps, "minutes": minutes}
    brief = {**length, "select": "last"}
    return c.model_copy(
        update={
            "score": c.score.model_copy(update={"samples": c.score.batch}),
            "narrow": c.narrow.model_copy(update={**length, "rounds": min(2, c.narrow.rounds)}),
            "finetune": c.finetune.model_copy(update=brief),
            "data": c.data.model_copy(update={"teacher_cache": None, "workers": 0}),
            "restarts": 0,
        }
    )


def _by(score: str) -> dict[str, Any]:
    return {"score": {"name": score, "second": None}}


_PAPER: dict[str, Any] = {**_by("content-aware"), "distil": {"masked": True}}


def _distil(**changes: Any) -> dict[str, Any]:
    return {**_PAPER, "distil": {**_PAPER["distil"], **changes}}


ROUNDS, BETWEEN = 4, 3 / 8
"""Of variants in rounds: their cuts, and the share of the training that passes between them."""


def _in_rounds(settings: ContentAwareConfig, shared: ContentAwareConfig) -> ContentAwareConfig:
    """The same training time, part of it between cuts."""
    steps, minutes = sum(stage_steps(shared).values()), stage_minutes(shared).values()
    whole = None if None in minutes else sum(m for m in minutes if m is not None)
    part = divided_training(steps, whole)
    narrow = {**part(BETWEEN), "rounds": ROUNDS}
    return settings.model_copy(
        update={
            "narrow": settings.narrow.model_copy(update=narrow),
            "finetune": settings.finetune.model_copy(update=part(1 - BETWEEN)),
        }
    )


VARIANTS: dict[str, Variant] = {
    "content-aware": Variant(
        meaning="the paper: its scores, masked distillation", overrides=_PAPER
    ),
    "diversity": Variant(
        meaning="diversity-aware scores (DCP-GAN)", overrides={**_PAPER, **_by("diversity")}
    ),
    "l1-out": Variant(
        meaning="scores by the size of weights", overrides={**_PAPER, **_by("l1-out")}
    ),
    "random": Variant(meaning="channels at random", overrides={**_PAPER, **_by("random")}),
    "unmasked": Variant(
        meaning="distillation on the whole picture", overrides=_distil(masked=False)
    ),
    "no-distillation": Variant(
        meaning="the adversarial loss alone",
        overrides=_distil(pixel=0.0, perceptual=0.0, relation=0.0, mmd=0.0, mode="output"),
    ),
    "intermediate": Variant(
        meaning="L1 at every resolution", overrides=_distil(mode="intermediate")
    ),
    "mask-normalised": Variant(
        meaning="L1 averaged within the mask", overrides=_distil(mask_norm=True)
    ),
    "stylekd": Variant(
        meaning="with latent-direction distillation (StyleKD)",
        overrides=_distil(masked=False, relation=30.0),
    ),
    "mmd": Variant(
        meaning="with a distribution term on frozen features", overrides=_distil(mmd=1.0)
    ),
    "in-rounds": Variant(
        meaning="cut in four rounds, with training between", overrides=_PAPER, adjust=_in_rounds
    ),
    "by-cost": Variant(
        meaning="in rounds, channels of all layers together, by rank and cost",
        overrides={**_PAPER, "cut": {"scope": "network", "unit": "rank", "cost_exponent": 0.2}},
        adjust=_in_rounds,
    ),
}

CLAIMS = (
    Claim(statement="content-aware better than L1", better="content-aware", worse="l1-out"),
    Claim(statement="content-aware better than random", better="content-aware", worse="random"),
    Claim(
        statement="masked distillation better than unmasked",
        better="content-aware",
        worse="unmasked",
    ),
    Claim(
        statement="distillation better than none", better="content-aware", worse="no-distillation"
    ),
    Claim(
        statement="output-only better than intermediate",
        better="content-aware",
        worse="intermediate",
    ),
    Claim(
        statement="diversity-aware better than content-aware (DCP-GAN)",
        better="diversity",
        worse="content-aware",
    ),
    Claim(statement="cut in rounds better than at once", better="in-rounds", worse="content-aware"),
    Claim(statement="by cost better than each layer alike", better="by-cost", worse="in-rounds"),
    Claim(
        statement="latent-direction distillation better than masked (StyleKD)",
        better="stylekd",
        worse="content-aware",
    ),
)

CHARTS = {"loss": "Losses", "path": "Path lengths"}
