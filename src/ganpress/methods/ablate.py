"""An ablation: variants of a method at one cost and in one time, from files."""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ganpress.data import Images
from ganpress.errors import Diverged, InfeasibleTarget, NotPossible
from ganpress.methods import method as method_of
from ganpress.methods.ablation_folder import begin, fail, finished, publish, take_over_training
from ganpress.methods.base import Given, Method
from ganpress.methods.checks import check_images, own_reals
from ganpress.methods.compress import check_request
from ganpress.methods.compress import compress as compress_model
from ganpress.methods.measured import (
    Measured,
    Pictures,
    Plan,
    evaluate_once,
    evaluate_student,
    measure_again,
)
from ganpress.methods.variants import planned
from ganpress.models.checkpoint import Model
from ganpress.report.amounts import duration
from ganpress.report.reading import TEACHER_QUALITY
from ganpress.run.files import make_folder
from ganpress.training.shared_settings import MethodSettings


def ablate(
    teacher: Model,
    pictures: Pictures,
    *,
    run: Path,
    method: str = "slim",
    config: MethodSettings | None = None,
    variants: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    metrics: Sequence[str] = (),
    weights: Path | None = None,
    command: str | None = None,
    quiet: bool = False,
    compress: Callable[..., object] = compress_model,
) -> dict[str, Any]:
    """Run variants of a method, each in ``run/<variant>-<seed>``, and write a report.

    Call again to go on: finished variants are kept, an unfinished one goes on at its last state.
    Other variants and seeds can be added later; what is written covers all that are in the folder:
    ablation.json, ablation.md, ablation.html, fig3.svg (quality over size), fig4.png (pictures). A
    variant that diverges, cannot meet the target, has settings that contradict each other, or needs
    a discriminator that the teacher does not have, is written down as failed, and tried again by
    the next call.

    Args:
        method: one of `methods.METHODS`.
        config: target, data and time that all variants share; see `Method.stage_minutes`.
        variants: of the method; default: all. seeds: each variant runs once with each.
        metrics: further ones, names of `image_metrics.KINDS`: of pairs between student and
            teacher, of sets and pairs against real pictures, where there are any. Finished
            variants are measured by those that they lack; nothing is trained again for them.
        compress: what runs a variant; takes what `ganpress.compress` takes.
    Returns: what ablation.json holds.
    Raises: ConfigError before any training where the images are of no use or no variant can be
        run, and what `ganpress.compress` raises but Diverged and InfeasibleTarget.
    """
    chosen = method_of(method)
    base = config or chosen.settings()
    check_request(method, base, ablation=True)
    is_shown = base.discriminator.real == "images" and not own_reals(teacher, pictures.images)
    reals = pictures.reals if is_shown else None
    check_pictures(teacher, pictures, reals, base)
    given = Given(teacher, pictures.images, reals, weights)
    plans, refused = planned(chosen, given, base, variants or tuple(chosen.variants), seeds, run)
    run = make_folder(Path(run))
    begin(run, chosen, teacher, pictures, base)
    by = Measured(tuple(metrics), weights)
    by.check(teacher, pictures)
    evaluate_once(teacher, pictures, base, by, run / TEACHER_QUALITY)
    left = []
    for plan in plans:
        if finished(plan, chosen):
            measure_again(plan, pictures, teacher, by)
            evaluate_student(plan, pictures, teacher, base, by)
        elif plan.variant in refused:
            fail(plan, refused[plan.variant], quiet)
        else:
            left.append(plan)
    took: list[float] = []
    for done, plan in enumerate(left):
        began = time.monotonic()
        if not quiet:
            print(progress(plan, done, len(left), took, chosen), file=sys.stderr, flush=True)
        try:
            take_over_training(plan, chosen)
            compress(
                copy.deepcopy(teacher),
                pictures.images,
                run=make_folder(plan.folder),
                config=plan.settings,
                method=method,
                test=pictures.test,
                metrics=by.pairs,
                weights=weights,
                command=command,
                quiet=quiet,
                **({} if reals is None else {"reals": reals}),
            )
        except (Diverged, InfeasibleTarget, NotPossible) as error:
            fail(plan, error, quiet)
        else:
            (plan.folder / "failed.json").unlink(missing_ok=True)
            evaluate_student(plan, pictures, teacher, base, by)
        took.append(time.monotonic() - began)
        publish(run)
    return publish(run)


def check_pictures(
    teacher: Model, pictures: Pictures, reals: Images | None, base: MethodSettings
) -> None:
    """Refuse images that no variant can be trained on or shown: ConfigError."""
    check_images(teacher, pictures.images, reals, base)
    if pictures.test is not None:  # read by the generator only
        only_read = base.discriminator.model_copy(update={"real": "teacher"})
        shown = base.model_copy(update={"discriminator": only_read})
        check_images(teacher, pictures.test, None, shown)


def progress(plan: Plan, done: int, total: int, took: Sequence[float], method: Method) -> str:
    """'ablation: 3 of 9, gs-32 seed 0; 12 min gone, about 30 min left'."""
    minutes = method.training_minutes(plan.settings)
    line = f"ablation: {done + 1} of {total}, {plan.variant} seed {plan.seed}"
    if took:
        left = statistics.mean(took) * (total - done)
        line += f"; {duration(sum(took))} gone, about {duration(left)} left"
    elif minutes is not None:
        line += f"; at least {duration(60 * minutes * total)} of training left"
    return line.replace("\u00a0", " ")
