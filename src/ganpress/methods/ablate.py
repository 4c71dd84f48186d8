"""An ablation: variants of a method at one cost and in one time, from files."""

from __future__ import annotations

import copy
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ganpress.data import Images
from ganpress.errors import ConfigError, Diverged, GanpressError, InfeasibleTarget, NotPossible
from ganpress.methods import method as method_of
from ganpress.methods.base import Given, Method
from ganpress.methods.checks import check_images
from ganpress.methods.compress import check_request
from ganpress.methods.compress import compress as compress_model
from ganpress.methods.measured import (
    Measured,
    Pictures,
    Plan,
    judge_once,
    judge_student,
    measure_again,
)
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.report.ablation import write_ablation
from ganpress.report.amounts import duration
from ganpress.report.statements import summary
from ganpress.run.card import differences
from ganpress.run.files import as_json, make_folder, read_json, write_json
from ganpress.run.proposals import ways
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
    check_request(method, base)
    reals = pictures.reals if base.discriminator.real == "images" else None
    check_pictures(teacher, pictures, reals, base)
    given = Given(teacher, pictures.images, reals, weights)
    plans, refused = planned(chosen, given, base, variants or tuple(chosen.variants), seeds, run)
    run = make_folder(Path(run))
    begin(run, chosen, teacher, pictures, base)
    by = Measured(tuple(metrics), weights)
    by.check(teacher, pictures)
    judge_once(teacher, pictures, base, by, run / "judged-teacher.json")
    left = []
    for plan in plans:
        if finished(plan, chosen):
            measure_again(plan, pictures, teacher, by)
            judge_student(plan, pictures, teacher, base, by)
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
            judge_student(plan, pictures, teacher, base, by)
        took.append(time.monotonic() - began)
        publish(run)
    return publish(run)


def planned(
    method: Method,
    given: Given,
    base: MethodSettings,
    variants: Sequence[str],
    seeds: Sequence[int],
    run: Path,
) -> tuple[list[Plan], dict[str, GanpressError]]:
    """Every run that is asked for, seed by seed, and why variants cannot be run; all share the
    teacher's pictures.

    Raises: ConfigError for an unknown variant, no target, no seed, variants of unequal time, or
        where none of them can be run.
    """
    if base.target.chosen is None:
        some = ({"target.macs": share} for share in (0.05, 0.1, 0.25, 0.5, 0.9))

        def check(config: MethodSettings) -> None:
            method.check(given, method.resolve(given.teacher, config))

        raise ConfigError(
            f"The variants are compared at one cost: give it{ways(base, some, check=check)}."
        )
    if not variants or not seeds or min(seeds) < 0:
        raise ConfigError("Give at least one variant and one seed; seeds are 0 or more.")
    settings = {name: method.settings_of(name, base) for name in dict.fromkeys(variants)}
    check_minutes(method, settings, base)
    cache = base.data.teacher_cache
    if cache is None and base.data.cached_crops:
        cache = str(Path(run) / "teacher-cache")
    data = base.data.model_copy(update={"teacher_cache": cache})
    resolved, refused = resolve_all(method, given, settings)
    plans = []
    for seed in dict.fromkeys(seeds):
        own = {"seed": seed, "data": data}
        for name, asked in settings.items():
            used = resolved.get(name, asked).model_copy(update=own)
            folder = Path(run) / f"{name}-{seed}"
            plans.append(Plan(name, seed, folder, asked.model_copy(update=own), used))
    return plans, refused


def check_minutes(method: Method, settings: dict[str, Any], base: MethodSettings) -> None:
    """Refuse variants that would not train for equal times: ConfigError."""
    wanted = method.training_minutes(base)
    for name, own in settings.items():
        given = method.training_minutes(own)
        if (given is None) != (wanted is None) or abs((given or 0) - (wanted or 0)) > 1e-6:
            raise ConfigError(f"Variant '{name}' would train {given} minutes, the others {wanted}.")


def resolve_all(
    method: Method, given: Given, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, GanpressError]]:
    """The settings of each variant as its stages use them, and why others cannot be run.

    Raises: ConfigError where none of them can.
    """
    resolved: dict[str, Any] = {}
    refused: dict[str, GanpressError] = {}
    why: dict[str, list[str]] = {}
    for name, asked in settings.items():
        try:
            resolved[name] = method.resolve(given.teacher, asked)
            method.check(given, resolved[name])
        except (ConfigError, InfeasibleTarget) as error:
            refused[name] = error
            why.setdefault(str(error), []).append(name)
    if len(refused) == len(settings):
        lines = [f"{', '.join(names)}: {text}" for text, names in why.items()]
        raise ConfigError("\n  ".join(["No variant that is asked for can be run.", *lines]))
    return resolved, refused


def take_over_training(plan: Plan, method: Method) -> None:
    """Start from the finished stages of the variant that this one is trained as, where there are
    any: their steps and seconds are then this one's, too."""
    twin_of = method.variants[plan.variant].trained_as
    if twin_of is None or (plan.folder / "config.json").exists():
        return
    twin = plan.folder.parent / f"{twin_of}-{plan.seed}"
    if not (twin / "done.json").exists() or plan.settings.target.bytes is not None:
        return
    own, other = (method.variants[name].overrides for name in (plan.variant, twin_of))
    changed = {name for name in own if own[name] != other.get(name)}
    if changed_since(twin, plan.resolved.model_dump(exclude=changed), method):
        return
    for stage in twin.glob("*/done.json"):
        shutil.copytree(stage.parent, plan.folder / stage.parent.name, dirs_exist_ok=True)


def check_pictures(
    teacher: Model, pictures: Pictures, reals: Images | None, base: MethodSettings
) -> None:
    """Refuse images that no variant can be trained on or shown: ConfigError."""
    check_images(teacher, pictures.images, reals, base)
    if pictures.test is not None:  # read by the generator only
        only_read = base.discriminator.model_copy(update={"real": "teacher"})
        shown = base.model_copy(update={"discriminator": only_read})
        check_images(teacher, pictures.test, None, shown)


def fail(plan: Plan, error: GanpressError, quiet: bool) -> None:
    """Write down that a variant cannot be run, or broke off."""
    write_json(make_folder(plan.folder) / "failed.json", {"error": str(error)})
    if not quiet:
        print(f"ablation: {plan.variant} seed {plan.seed} failed: {error}", file=sys.stderr)


def begin(
    run: Path, method: Method, teacher: Model, pictures: Pictures, base: MethodSettings
) -> None:
    """Write run/settings.json, or refuse to add variants to an ablation of something else."""
    shared = base.model_dump(exclude={"seed": True, "data": {"teacher_cache"}})
    overridden = {n for v in method.variants.values() for n, o in v.overrides.items()
                  if not isinstance(o, dict)}  # fmt: skip
    digests = {"data": pictures.images, "test": pictures.test, "reals": pictures.reals}
    facts = {
        "method": method.name,
        "paper": method.paper,
        "family": teacher.family.name,
        "teacher": fingerprint(teacher.net),
        **{f"{name}_hash": some.digest() if some else None for name, some in digests.items()},
        "settings": {name: value for name, value in shared.items() if name not in overridden},
        "minutes": method.training_minutes(base),
        "stage_minutes": {
            name: method.stage_minutes(method.settings_of(name, base)) for name in method.variants
        },
        "meanings": {name: variant.meaning for name, variant in method.variants.items()},
        "claims": [[c.statement, c.better, c.worse] for c in method.claims],
    }
    path = run / "settings.json"
    was = read_json(path) if path.exists() else facts
    was.setdefault("reals_hash", facts["reals_hash"])  # a folder of before does not say
    usual = {"settings": as_json(method.settings().model_dump())}
    wording = ("paper", "meanings", "claims")  # texts may change
    was, now = ({n: v for n, v in d.items() if n not in wording} for d in (was, facts))
    if differing := differences(as_json(was), as_json(now), usual):
        raise ConfigError(
            f"The ablation in {run} was started with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the same to go on, or choose another folder."
        )
    write_json(path, facts)


def finished(plan: Plan, method: Method) -> bool:
    """Whether this variant has ended before. ConfigError: it was run with other settings."""
    if (plan.folder / "config.json").exists() and (
        differing := changed_since(plan.folder, plan.resolved.model_dump(), method)
    ):
        raise ConfigError(
            f"{plan.folder} holds this variant with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the same, or delete that folder to run the variant anew."
        )
    return (plan.folder / "done.json").exists() and (plan.folder / "results.json").exists()


def changed_since(folder: Path, settings: dict[str, Any], method: Method) -> list[str]:
    """Which of these settings the run in ``folder`` had otherwise, wherever its cache was."""
    was, now = read_json(folder / "config.json"), as_json(settings)
    for one in (was, now):
        one.get("data", {}).pop("teacher_cache", None)
    known = {name: was[name] for name in now if name in was}
    return differences(known, now, as_json(method.settings().model_dump()))


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


def publish(run: Path) -> dict[str, Any]:
    """Write ablation.json of everything that is in the folder, and the pages made of it."""
    found = summary(run)
    write_json(run / "ablation.json", found)
    write_ablation(run)
    return found
