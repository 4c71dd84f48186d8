"""The variants of GAN Slimming's ablation (section 4.2), each the same stages under other settings,
and what the paper says of them."""

from __future__ import annotations

from typing import Any

from ganpress.methods.base import Claim, Variant
from ganpress.methods.gan_slimming.settings import SlimConfig

_FLOAT: dict[str, Any] = {"quantise": {"bits": 32}}
_TRAINED: dict[str, Any] = {"discriminator": {"fixed": False}}
_JOINT: dict[str, Any] = {"procedure": "gs", **_TRAINED}


def _all_the_time(settings: SlimConfig, shared: SlimConfig) -> SlimConfig:
    """Without the joint loop, its steps and minutes are fine-tuning's, too (no limit of time where
    either has none). The student is as wide as the target allows: ``width_ratio`` is only that of
    d+cp's first student."""
    s, f = shared.sparsify, shared.finetune
    minutes = s.minutes + f.minutes if s.minutes and f.minutes else None
    longer = f.model_copy(update={"steps": s.steps + f.steps, "minutes": minutes})
    return settings.model_copy(update={"finetune": longer, "width_ratio": None})


def _in_few_bits(settings: SlimConfig, shared: SlimConfig) -> SlimConfig:
    """8 bits, or as many as the shared settings have below 32."""
    bits = shared.quantise.bits if shared.quantise.bits < 32 else 8
    few = settings.quantise.model_copy(update={"bits": bits})
    return settings.model_copy(update={"quantise": few})


VARIANTS: dict[str, Variant] = {
    "gd": Variant(
        meaning="narrow student, distillation alone",
        overrides={"procedure": "gd", **_FLOAT, **_TRAINED},
        adjust=_all_the_time,
    ),
    "cp": Variant(
        meaning="pruning without distillation",
        overrides={"procedure": "cp", **_FLOAT, **_TRAINED},
    ),
    "cp+d": Variant(
        meaning="cp, then distillation", overrides={"procedure": "cp+d", **_FLOAT, **_TRAINED}
    ),
    "d+cp": Variant(
        meaning="distillation, then cp", overrides={"procedure": "d+cp", **_FLOAT, **_TRAINED}
    ),
    "gs-32": Variant(meaning="the joint method", overrides={**_JOINT, **_FLOAT}),
    "gs-32+postq": Variant(
        meaning="gs-32, then rounded to 8 bits",
        overrides={
            "procedure": "postq",
            **_TRAINED,
            "quantise": {"bits": 8, "ranges": "calibrated"},
        },
        adjust=_in_few_bits,
        trained_as="gs-32",
    ),
    "gs-8": Variant(
        meaning="the joint method in 8 bits",
        overrides={**_JOINT, "quantise": {"bits": 8}},
        adjust=_in_few_bits,
    ),
    "gs-8-mse": Variant(
        meaning="gs-8 with squared error",
        overrides={**_JOINT, "quantise": {"bits": 8}, "distance": {"kind": "mse"}},
        adjust=_in_few_bits,
    ),
    "cec": Variant(
        meaning="gs-32 with a fixed discriminator",
        overrides={
            "procedure": "gs",
            **_FLOAT,
            "discriminator": {"fixed": True, "start": "teacher"},
        },
    ),
}
"""What each variant changes in the settings that all of them share. The teacher's discriminator
stays what it was in CEC (Shu et al., ICCV 2019)."""

CLAIMS = (
    Claim(statement="GS-32 better than GD", better="gs-32", worse="gd"),
    Claim(statement="GS-32 better than CP", better="gs-32", worse="cp"),
    Claim(statement="GS-32 better than CP+D", better="gs-32", worse="cp+d"),
    Claim(statement="GS-32 better than D+CP", better="gs-32", worse="d+cp"),
    Claim(statement="GS-8 better than GS-32+postQ", better="gs-8", worse="gs-32+postq"),
    Claim(statement="perceptual better than MSE", better="gs-8", worse="gs-8-mse"),
    Claim(statement="joint D better than fixed D", better="gs-32", worse="cec"),
)

CHARTS = {
    "width": "Widths, channels",
    "scale": "Scales, mean size",
    "cost": "Cost, share of the teacher",
}


def stage_minutes(settings: SlimConfig) -> dict[str, float | None]:
    """How the training time is spent, in minutes; None where steps alone end a stage.

    The rule: a variant's stages have ``sparsify.minutes + finetune.minutes`` of the shared settings
    together. Procedures with both stages spend them so (d+cp distils in the first half of what is
    fine-tuning's, and post-quantisation trains no more); gd, which has no joint loop, spends all
    in its one stage. Rendering the teacher's pictures and evaluating are not counted.
    """
    if settings.procedure == "gd":
        return {"finetune": settings.finetune.minutes}
    if settings.procedure == "d+cp":
        half = settings.finetune.minutes and settings.finetune.minutes / 2
        return {"distil": half, "sparsify": settings.sparsify.minutes, "finetune": half}
    return {"sparsify": settings.sparsify.minutes, "finetune": settings.finetune.minutes}


def stage_steps(settings: SlimConfig) -> dict[str, int]:
    """Steps of each stage; all rounds of the joint loop count as one stage."""
    s, f = settings.sparsify.steps, settings.finetune.steps
    if settings.procedure == "gd":
        return {"finetune": f}
    if settings.procedure == "d+cp":
        return {"distil": -(-f // 2), "sparsify": s, "finetune": f // 2}
    return {"sparsify": s, "finetune": f}


def longer(settings: SlimConfig) -> dict[str, str]:
    """What can be raised in a finished run: the steps of fine-tuning; those of the joint loop come
    before a cut, and in d+cp the steps of fine-tuning are also those of the first student."""
    return {} if settings.procedure == "d+cp" else {"finetune.steps": "finetune"}


def shortened(settings: SlimConfig, steps: int, minutes: float) -> SlimConfig:
    """The same compression in stages of so many steps or minutes."""
    s, f, d = settings.sparsify, settings.finetune, settings.data
    brief = {"steps": steps, "minutes": minutes}
    return settings.model_copy(
        update={
            "sparsify": s.model_copy(update={**brief, "rounds": 1}),
            "finetune": f.model_copy(update={**brief, "steps": 2 * steps, "select": "last"}),
            "data": d.model_copy(update={"teacher_cache": None, "workers": 0}),
            "restarts": 0,
        }
    )
