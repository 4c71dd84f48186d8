"""The ablation of GAN Slimming (section 4.2): its arms at one cost and in one time, from files."""

from __future__ import annotations

import copy
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganpress.data import Images
from ganpress.errors import ConfigError, Diverged, GanpressError, InfeasibleTarget, NotPossible
from ganpress.measures.fidelity import evaluation_size
from ganpress.measures.quality import judge
from ganpress.methods.compress import check_request
from ganpress.methods.compress import compress as compress_model
from ganpress.methods.gan_slimming.slimming import check_images, least_seen, settled_for
from ganpress.methods.gan_slimming.targets import affordable
from ganpress.methods.gan_slimming.variants import (
    ARMS,
    settings_of,
    stage_minutes,
    training_minutes,
)
from ganpress.models.checkpoint import Model, fingerprint, load
from ganpress.models.inputs import from_noise, reads
from ganpress.report.ablation import write_ablation
from ganpress.report.amounts import duration
from ganpress.report.statements import summary
from ganpress.run.card import differences
from ganpress.run.files import as_json, make_folder, read_json, write_json
from ganpress.run.slim import SlimConfig
from ganpress.training.discriminator import check_size, critic_of


@dataclass(frozen=True)
class Plan:
    """One run of an arm: its folder, and its settings with the seed and the shared cache."""

    arm: str
    seed: int
    folder: Path
    settings: SlimConfig


def ablate(
    teacher: Model,
    images: Images | None,
    *,
    run: Path,
    config: SlimConfig | None = None,
    arms: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    test: Images | None = None,
    reals: Images | None = None,
    weights: Path | None = None,
    command: str | None = None,
    quiet: bool = False,
    compress: Callable[..., object] = compress_model,
) -> dict[str, Any]:
    """Run arms of the ablation, each in ``run/<arm>-<seed>``, and write what came of them.

    Call again to go on: finished arms are kept, an unfinished one goes on at its last state. Other
    arms and seeds can be added later; what is written covers all that are in the folder:
    ablation.json, ablation.md, ablation.html, fig3.svg (quality over size), fig4.png (pictures).
    An arm that diverges, cannot meet the target, has settings that contradict each other, or needs
    a discriminator that the teacher does not have, is written down as failed, and tried again by
    the next call.

    Args:
        config: target, data and time that all arms share; see `arms.stage_minutes`.
        arms: of `ARMS`; default: all nine. seeds: each arm runs once with each.
        reals: real pictures of the target domain: teacher and students are judged against them,
            and with ``critic.real=images`` they are real to the discriminator. Where ``test`` (or
            ``images``) has targets or label maps, those are what is judged by.
        compress: what runs an arm; takes what `ganpress.compress` takes.
    Returns: what ablation.json holds.
    Raises: ConfigError before any training where the images are of no use or no arm can be run,
        and what `ganpress.compress` raises but Diverged and InfeasibleTarget.
    """
    base = config or SlimConfig()
    plans = planned(base, arms or tuple(ARMS), seeds, run)
    check_request("slim", base)
    given = {"reals": reals} if base.critic.real == "images" and reals is not None else {}
    check_pictures(teacher, images, test, given.get("reals"), base)
    refused = refusals(plans, teacher)
    run = make_folder(Path(run))
    begin(run, teacher, images, test, reals, base)
    shown = test or images

    def judged(of: Model | None, path: Path) -> None:
        if judgeable(teacher, shown, reals) and not path.exists():
            model = of or load(path.parent / "student.safetensors")
            write_json(path, judgement(model, shown, reals, base, weights))

    judged(teacher, run / "judged-teacher.json")
    left = [plan for plan in plans if not finished(plan)]
    for plan in plans:
        if plan not in left:
            judged(None, plan.folder / "judged-student.json")
        elif plan.arm in refused:
            fail(plan, refused[plan.arm], quiet)
    left = [plan for plan in left if plan.arm not in refused]
    took: list[float] = []
    for done, plan in enumerate(left):
        began = time.monotonic()
        if not quiet:
            print(told(plan, done, len(left), took), file=sys.stderr, flush=True)
        try:
            take_over_training(plan)
            compress(
                copy.deepcopy(teacher),
                images,
                run=make_folder(plan.folder),
                config=plan.settings,
                test=test,
                weights=weights,
                command=command,
                quiet=quiet,
                **given,
            )
        except (Diverged, InfeasibleTarget, NotPossible) as error:
            fail(plan, error, quiet)
        else:
            (plan.folder / "failed.json").unlink(missing_ok=True)
            judged(None, plan.folder / "judged-student.json")
        took.append(time.monotonic() - began)
        publish(run)
    return publish(run)


def planned(base: SlimConfig, arms: Sequence[str], seeds: Sequence[int], run: Path) -> list[Plan]:
    """Every run that is asked for, seed by seed; all share the teacher's pictures.

    Raises ConfigError for an unknown arm, no target, no seed, or arms of unequal time.
    """
    if base.target.chosen is None:
        raise ConfigError("The arms are compared at one cost: give it, as --set target.macs=0.05.")
    if not arms or not seeds or min(seeds) < 0:
        raise ConfigError("Give at least one arm and one seed; seeds are 0 or more.")
    minutes = {arm: training_minutes(settings_of(arm, base)) for arm in arms}
    wanted = training_minutes(base)
    for arm, given in minutes.items():
        if (given is None) != (wanted is None) or abs((given or 0) - (wanted or 0)) > 1e-6:
            raise ConfigError(f"Arm '{arm}' would train {given} minutes, the others {wanted}.")
    cache = base.data.cache or (str(Path(run) / "teacher-cache") if base.data.views else None)
    return [
        Plan(
            arm,
            seed,
            Path(run) / f"{arm}-{seed}",
            settings_of(arm, base).model_copy(
                update={"seed": seed, "data": base.data.model_copy(update={"cache": cache})}
            ),
        )
        for seed in dict.fromkeys(seeds)
        for arm in dict.fromkeys(arms)
    ]


def take_over_training(plan: Plan) -> None:
    """gs-32+postq trains exactly as gs-32 does: start from its finished stages where there are any.

    Their steps and seconds are then this arm's, too.
    """
    twin = plan.folder.parent / f"gs-32-{plan.seed}"
    if plan.settings.arm != "postq" or (plan.folder / "config.json").exists():
        return
    if not (twin / "done.json").exists() or plan.settings.target.bytes is not None:
        return
    if changed_since(twin, plan.settings.model_dump(exclude={"arm", "quantise"})):
        return
    for stage in twin.glob("*/done.json"):
        shutil.copytree(stage.parent, plan.folder / stage.parent.name, dirs_exist_ok=True)


def check_pictures(
    teacher: Model, images: Images | None, test: Images | None, reals: Images | None, c: SlimConfig
) -> None:
    """Refuse images that no arm can be trained on or shown: ConfigError."""
    check_images(teacher, images, reals, c)
    if test is not None:  # read by the generator only
        only_read = c.critic.model_copy(update={"real": "teacher"})
        check_images(teacher, test, None, c.model_copy(update={"critic": only_read}))


def refusals(plans: Sequence[Plan], teacher: Model) -> dict[str, GanpressError]:
    """Why arms cannot be run, by arm. ConfigError: none of them can."""
    found: dict[str, GanpressError] = {}
    why: dict[str, list[str]] = {}
    afforded: set[object] = set()
    by_arm = {plan.arm: plan.settings for plan in plans}
    for arm, settings in by_arm.items():
        try:
            c = check_arm(arm, settings, teacher)
            alike = c.arm == "gd", str(c.quantise) if c.target.bytes else ""
            if alike not in afforded:  # seconds for a large generator
                affordable(teacher, c)
            afforded.add(alike)
        except (ConfigError, InfeasibleTarget) as error:
            found[arm] = error
            why.setdefault(str(error), []).append(arm)
    if len(found) == len(by_arm):
        lines = [f"{', '.join(arms)}: {text}" for text, arms in why.items()]
        raise ConfigError("\n  ".join(["No arm that is asked for can be run.", *lines]))
    return found


def check_arm(arm: str, settings: SlimConfig, teacher: Model) -> SlimConfig:
    """Refuse the settings that the arm's run would refuse before its first step; settled ones.

    Raises ConfigError; NotPossible where a fixed discriminator is not in the teacher's file.
    """
    if settings.critic.fixed and teacher.critic is None:
        raise NotPossible(
            f"arm '{arm}' keeps the discriminator that the teacher was trained against, and "
            "the teacher's file has none: import the teacher with --discriminator."
        )
    c = settled_for(teacher, settings)
    if teacher.critic is not None and c.critic.start == "teacher":
        check_size(critic_of(c.critic, teacher.critic, reads(teacher)), least_seen(teacher, c))
    return c


def fail(plan: Plan, error: GanpressError, quiet: bool) -> None:
    """Write down that an arm cannot be run, or broke off."""
    write_json(make_folder(plan.folder) / "failed.json", {"error": str(error)})
    if not quiet:
        print(f"ablation: {plan.arm} seed {plan.seed} failed: {error}", file=sys.stderr)


def begin(
    run: Path,
    teacher: Model,
    images: Images | None,
    test: Images | None,
    reals: Images | None,
    base: SlimConfig,
) -> None:
    """Write run/settings.json, or refuse to add arms to an ablation of something else."""
    shared = base.model_dump(exclude={"arm": True, "seed": True, "data": {"cache"}})
    facts = {
        "family": teacher.family.name,
        "teacher": fingerprint(teacher.net),
        "data_hash": images.digest() if images else None,
        "test_hash": test.digest() if test else None,
        "reals_hash": reals.digest() if reals else None,
        "settings": shared,
        "minutes": training_minutes(base),
        "stage_minutes": {arm: stage_minutes(settings_of(arm, base)) for arm in ARMS},
    }
    path = run / "settings.json"
    was = read_json(path) if path.exists() else facts
    was.setdefault("reals_hash", facts["reals_hash"])  # a folder of before does not say
    usual = {"settings": as_json(SlimConfig().model_dump())}
    if differing := differences(as_json(was), as_json(facts), usual):
        raise ConfigError(
            f"The ablation in {run} was started with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the same to go on, or choose another folder."
        )
    write_json(path, facts)


def finished(plan: Plan) -> bool:
    """Whether this arm has ended before. ConfigError: it was run with other settings than these."""
    if (plan.folder / "config.json").exists() and (
        differing := changed_since(plan.folder, plan.settings.model_dump())
    ):
        raise ConfigError(
            f"{plan.folder} holds this arm with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the same, or delete that folder to run the arm anew."
        )
    return (plan.folder / "done.json").exists() and (plan.folder / "results.json").exists()


def changed_since(folder: Path, settings: dict[str, Any]) -> list[str]:
    """Which of these settings the run in ``folder`` had otherwise, wherever its cache was."""
    was, now = read_json(folder / "config.json"), as_json(settings)
    for one in (was, now):
        one.get("data", {}).pop("cache", None)
    known = {name: was[name] for name in now if name in was}
    return differences(known, now, as_json(SlimConfig().model_dump()))


def judgeable(teacher: Model, shown: Images | None, reals: Images | None) -> bool:
    """Whether there are real pictures to judge against."""
    if shown is None or from_noise(teacher):
        return shown is not None
    return reals is not None or shown.paired or shown.has_labels


def judgement(
    model: Model,
    shown: Images | None,
    reals: Images | None,
    base: SlimConfig,
    weights: Path | None,
) -> dict[str, Any]:
    """What `judge` says of a model, as ``ganpress evaluate --json`` writes it."""
    assert shown is not None
    given = from_noise(model) or shown.paired or shown.has_labels
    found = judge(
        model,
        shown,
        other=None if given else reals,
        size=None if from_noise(model) else evaluation_size(base.data, model),
        features=base.distance.features,
        weights=weights,
        device=base.device,
    )
    return found.as_dict()


def told(plan: Plan, done: int, total: int, took: Sequence[float]) -> str:
    """'ablation: 3 of 9, gs-32 seed 0; 12 min gone, about 30 min left'."""
    minutes = training_minutes(plan.settings)
    line = f"ablation: {done + 1} of {total}, {plan.arm} seed {plan.seed}"
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
