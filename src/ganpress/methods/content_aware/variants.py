"""The variants of the paper's ablation (section 4), later terms beside them, and its statements."""

from __future__ import annotations

from typing import Any

from ganpress.methods.base import Claim, Variant
from ganpress.methods.content_aware.settings import ContentAwareConfig


def shortened(c: ContentAwareConfig, steps: int, minutes: float) -> ContentAwareConfig:
    """The same compression with so short a retraining, and scores of one batch."""
    brief = {"steps": steps, "minutes": minutes, "select": "last"}
    return c.model_copy(
        update={
            "score": c.score.model_copy(update={"samples": c.score.batch}),
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
    Claim(
        statement="latent-direction distillation better than masked (StyleKD)",
        better="stylekd",
        worse="content-aware",
    ),
)

CHARTS = {"loss": "Losses", "path": "Path lengths"}
