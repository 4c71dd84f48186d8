"""The arms of GAN Slimming's ablation (section 4.2), each the same stages under other settings."""

from __future__ import annotations

from typing import Any

from ganpress.errors import ConfigError, did_you_mean
from ganpress.run.settings import checked
from ganpress.run.slim import SlimConfig

_FLOAT: dict[str, Any] = {"quantise": {"bits": 32}}
_INT8: dict[str, Any] = {"quantise": {"bits": 8}}
_GAME: dict[str, Any] = {"critic": {"fixed": False}}
_JOINT: dict[str, Any] = {"arm": "gs", **_GAME}

ARMS: dict[str, dict[str, Any]] = {
    "gd": {"arm": "gd", **_FLOAT, **_GAME},
    "cp": {"arm": "cp", **_FLOAT, **_GAME},
    "cp+d": {"arm": "cp+d", **_FLOAT, **_GAME},
    "d+cp": {"arm": "d+cp", **_FLOAT, **_GAME},
    "gs-32": {**_JOINT, **_FLOAT},
    "gs-32+postq": {
        "arm": "postq",
        **_GAME,
        "quantise": {"bits": 8, "ranges": "calibrated"},
    },
    "gs-8": {**_JOINT, **_INT8},
    "gs-8-mse": {**_JOINT, **_INT8, "distance": {"kind": "mse"}},
    "cec": {"arm": "gs", **_FLOAT, "critic": {"fixed": True, "start": "teacher"}},
}
"""What each arm changes in the settings that all arms share.

gd: a uniformly narrow student, distilled. cp: pruning in the game, no distillation. cp+d: the same,
then distillation. d+cp: a wide student is distilled, then pruned in the game. gs-32, gs-8: the
whole method. gs-32+postq: gs-32, rounded to 8 bits when all is done. gs-8-mse: squared error in
place of the perceptual distance. cec: the discriminator stays what the teacher's was. Where the
shared settings have ``quantise.bits`` below 32, the arms of 8 bits have that many instead.
"""


def settings_of(arm: str, base: SlimConfig) -> SlimConfig:
    """The settings of one arm at the cost, data and training time of ``base``.

    An arm without the joint loop (gd) trains for that loop's steps and minutes, too. Its student
    is as wide as the target allows: ``share`` is only that of d+cp's first student.
    Raises `ConfigError` for an arm that does not exist, with the nearest name.
    """
    if arm not in ARMS:
        raise ConfigError(
            f"There is no arm '{arm}'{did_you_mean(arm, ARMS)}. Arms: {', '.join(ARMS)}."
        )
    values = base.model_dump()
    for name, change in ARMS[arm].items():
        values[name] = {**values[name], **change} if isinstance(change, dict) else change
    if values["quantise"]["bits"] == 8 and base.quantise.bits < 32:
        values["quantise"]["bits"] = base.quantise.bits
    if arm == "gd":
        values["finetune"] = {**values["finetune"], **_all_the_time(base)}
        values["share"] = None
    return checked(SlimConfig, values)


def stage_minutes(settings: SlimConfig) -> dict[str, float | None]:
    """How an arm's training time is spent, in minutes; None where steps alone end a stage.

    The rule: an arm's stages have ``sparsify.minutes + finetune.minutes`` of the shared settings
    together. Arms with both stages spend them so (d+cp distils in the first half of what is
    fine-tuning's, and post-quantisation trains no more); gd, which has no joint loop, spends all
    in its one stage. Rendering the teacher's pictures and evaluating are not counted.
    """
    if settings.arm == "gd":
        return {"finetune": settings.finetune.minutes}
    if settings.arm == "d+cp":
        half = settings.finetune.minutes and settings.finetune.minutes / 2
        return {"distil": half, "sparsify": settings.sparsify.minutes, "finetune": half}
    return {"sparsify": settings.sparsify.minutes, "finetune": settings.finetune.minutes}


def training_minutes(settings: SlimConfig) -> float | None:
    """The sum of `stage_minutes`; None where no stage has any. ConfigError: only some have."""
    given = stage_minutes(settings)
    timed = [minutes for minutes in given.values() if minutes is not None]
    if timed and len(timed) < len(given):
        raise ConfigError(
            "Give both sparsify.minutes and finetune.minutes, or neither: the arms would not "
            "train for equal times."
        )
    return sum(timed) if timed else None


def _all_the_time(base: SlimConfig) -> dict[str, Any]:
    """Steps and minutes of both stages together; no limit of time where either has none."""
    s, f = base.sparsify, base.finetune
    minutes = s.minutes + f.minutes if s.minutes and f.minutes else None
    return {"steps": s.steps + f.steps, "minutes": minutes}
