"""The variants of GAN Compression's ablation (section 4.3), and what the paper says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ganpress.methods.base import Claim, Variant, divided_training
from ganpress.methods.once_for_all.settings import OnceForAllConfig

ALONE = "distil"
"""The stage of the procedures that train one student of fixed widths."""


SHRUNK_RATIOS = (1.0, 0.75, 0.625, 0.5, 0.375, 0.3125, 0.25, 0.1875)
"""Widths of a space that begins at the teacher's, with a choice at a ninth of the MACs."""


def budgets(c: OnceForAllConfig) -> dict[str, tuple[int, float | None]]:
    """Steps and minutes of each stage that trains, in order. A student of fixed widths has all of
    them in its one stage."""
    found = _of_stages(c)
    return found if c.procedure == "once-for-all" else {ALONE: _in_all(found)}


def _of_stages(c: OnceForAllConfig) -> dict[str, tuple[int, float | None]]:
    p, s, f = c.predistil, c.supernet, c.finetune
    every = {
        "predistil": (p.steps, p.minutes),
        "supernet": (s.steps, s.minutes),
        "finetune": (f.steps, f.minutes),
    }
    return {name: (steps, minutes) for name, (steps, minutes) in every.items() if steps}


def _in_all(stages: Mapping[str, tuple[int, float | None]]) -> tuple[int, float | None]:
    """Steps and minutes of all stages; no limit in minutes where one has none."""
    minutes = [m for _, m in stages.values() if m is not None]
    timed = sum(minutes) if len(minutes) == len(stages) else None
    return sum(steps for steps, _ in stages.values()), timed


def stage_minutes(c: OnceForAllConfig) -> dict[str, float | None]:
    """How the training time is spent, in minutes; the search and evaluating are not counted."""
    return {name: minutes for name, (_, minutes) in budgets(c).items()}


def stage_steps(c: OnceForAllConfig) -> dict[str, int]:
    """Steps of each stage that trains."""
    return {name: steps for name, (steps, _) in budgets(c).items()}


def longer(c: OnceForAllConfig) -> dict[str, str]:
    """What can be raised in a finished run: the steps of fine-tuning, where there are any."""
    tuned = c.procedure == "once-for-all" and c.finetune.steps > 0
    return {"finetune.steps": "finetune"} if tuned else {}


def shortened(c: OnceForAllConfig, steps: int, minutes: float) -> OnceForAllConfig:
    """The same compression in stages of so many steps or minutes, one width set scored."""
    brief: dict[str, Any] = {"steps": steps, "minutes": minutes}
    search = {"kind": "random", "evaluations": 1, "storage": None}
    search["images"] = 2 if c.search.quality == "frechet" else 1
    return c.model_copy(
        update={
            "predistil": c.predistil.model_copy(update=brief if c.predistil.steps else {}),
            "supernet": c.supernet.model_copy(update=brief),
            "finetune": c.finetune.model_copy(
                update={**(brief if c.finetune.steps else {}), "select": "last"}
            ),
            "search": c.search.model_copy(update=search),
            "data": c.data.model_copy(update={"teacher_cache": None, "workers": 0}),
            "reuse": c.reuse if c.procedure == "scratch" else None,
            "restarts": 0,
        }
    )


def _in_full(settings: OnceForAllConfig, shared: OnceForAllConfig) -> OnceForAllConfig:
    """The paper's full pipeline in the same time: a quarter of it pre-distillation, a quarter
    fine-tuning, the rest the supernet's."""
    part = _parts(shared)
    return settings.model_copy(
        update={
            "predistil": settings.predistil.model_copy(update=part(0.25)),
            "supernet": settings.supernet.model_copy(update=part(0.5)),
            "finetune": settings.finetune.model_copy(update=part(0.25)),
        }
    )


def _shrunk(settings: OnceForAllConfig, shared: OnceForAllConfig) -> OnceForAllConfig:
    """A network that begins as the teacher in the same time: three tenths of it are the
    supernet's, at half of the learning rate, which is to keep what the teacher knows. Nothing is
    to be distilled before."""
    part, lr = _parts(shared), shared.supernet.lr
    return settings.model_copy(
        update={
            "predistil": settings.predistil.model_copy(update={"steps": 0, "minutes": None}),
            "supernet": settings.supernet.model_copy(
                update={**part(0.3), "lr": None if lr is None else lr / 2}
            ),
            "finetune": settings.finetune.model_copy(
                update={**part(0.7), "lr": settings.finetune.lr or lr}
            ),
        }
    )


def _parts(shared: OnceForAllConfig) -> Callable[[float], dict[str, Any]]:
    """A share of the time of all stages -> steps and minutes."""
    return divided_training(*_in_all(_of_stages(shared)))


VARIANTS: dict[str, Variant] = {
    "fast": Variant(meaning="the fast pipeline", overrides={"procedure": "once-for-all"}),
    "full": Variant(
        meaning="the full pipeline: pre-distillation, supernet, fine-tuning",
        overrides={"procedure": "once-for-all"},
        adjust=_in_full,
    ),
    "uniform": Variant(
        meaning="a uniformly narrow student, same losses", overrides={"procedure": "uniform"}
    ),
    "scratch": Variant(
        meaning="the searched widths, trained from scratch",
        overrides={"procedure": "scratch"},
        reuses="fast",
    ),
    "no-taps": Variant(
        meaning="without intermediate distillation",
        overrides={"procedure": "once-for-all", "distil": {"taps_weight": 0.0}},
    ),
    "published": Variant(
        meaning="the paper's own objective and weights",
        overrides={
            "procedure": "once-for-all",
            "distil": {"distance": 0.0, "reconstruction": None, "perceptual": None},
            "discriminator": {"weight": 1.0},
        },
    ),
    "new-d": Variant(
        meaning="discriminator not inherited",
        overrides={"procedure": "once-for-all", "discriminator": {"start": "reset"}},
    ),
    "no-pseudo-pairs": Variant(
        meaning="unpaired data without the teacher's pictures as targets",
        overrides={"procedure": "once-for-all", "distil": {"unpaired": "none"}},
    ),
    "unsorted": Variant(
        meaning="first channels unsorted",
        overrides={"procedure": "once-for-all", "supernet": {"sort": False}},
    ),
    "sandwich": Variant(
        meaning="sandwich sampling",
        overrides={"procedure": "once-for-all", "supernet": {"sampling": "sandwich"}},
    ),
    "shrinking": Variant(
        meaning="progressive shrinking: begins as the teacher, no intermediate distillation",
        overrides={
            "procedure": "once-for-all",
            "student": {"width_ratio": 1.0},
            "supernet": {"sampling": "shrinking"},
            "distil": {"taps_weight": 0.0},
            "search": {"ratios": SHRUNK_RATIOS},
        },
        adjust=_shrunk,
    ),
    "omgd": Variant(
        meaning="OMGD's objective, no discriminator",
        overrides={"procedure": "once-for-all", "distil": {"objective": "omgd", "distance": 0.0}},
    ),
    "dcd": Variant(
        meaning="DCD's objective, taps through the discriminator",
        overrides={"procedure": "once-for-all", "distil": {"objective": "dcd", "distance": 0.0}},
    ),
}

CLAIMS = (
    Claim(statement="searched better than uniform width", better="fast", worse="uniform"),
    Claim(statement="progressive shrinking helps (OFA)", better="shrinking", worse="fast"),
    Claim(statement="shrunk better than uniform width", better="shrinking", worse="uniform"),
    Claim(statement="supernet better than training from scratch", better="fast", worse="scratch"),
    Claim(statement="intermediate distillation helps", better="fast", worse="no-taps"),
    Claim(statement="inheriting the discriminator helps", better="fast", worse="new-d"),
    Claim(statement="pseudo-pairs help unpaired data", better="fast", worse="no-pseudo-pairs"),
    Claim(statement="fast pipeline no worse than the full one", better="fast", worse="full"),
)

CHARTS = {"loss": "Losses"}
