"""Compress a generator by any method: resolve, check, run its stages, then measure and report."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ganpress.data import Images
from ganpress.errors import ConfigError
from ganpress.formats.importers.assumed import summary
from ganpress.measures.fidelity import check_opened
from ganpress.measures.timing.latency_target import TABLE, Kept, keep_table
from ganpress.methods import METHODS
from ganpress.methods import method as method_of
from ganpress.methods.base import Given, Method
from ganpress.methods.checks import check_mask
from ganpress.methods.finish import Shown, finish, is_finished
from ganpress.models.checkpoint import Model, fingerprint, load, save
from ganpress.models.inputs import channels_of, images_for, reads, reals_for
from ganpress.run import distributed
from ganpress.run.extend import is_reopened
from ganpress.run.files import read_json
from ganpress.run.progress import say
from ganpress.run.run import Run
from ganpress.training.forecast import MIN_STEPS, MINUTES, STEPS, announce, timed_stages
from ganpress.training.outcome import forgotten_if_refused
from ganpress.training.shared_settings import MethodSettings
from ganpress.training.start import Start, as_start, check_whole
from ganpress.training.student_form import foreign_options, form_remarks
from ganpress.training.teacher import remove_own_maps

SHOWN = 32  # images that a forecast is made with


def compress(
    teacher: Model,
    images: Images | None,
    *,
    run: str | os.PathLike[str],
    config: MethodSettings | None = None,
    method: str = "slim",
    test: Images | None = None,
    reals: Images | None = None,
    metrics: Sequence[str] = (),
    weights: str | os.PathLike[str] | None = None,
    start: Start | Model | None = None,
    extend: bool = False,
    match_colours: bool = False,
    command: str | None = None,
    quiet: bool = False,
) -> Model:
    """Compress a generator; run again with the same settings, it goes on where it stopped, and
    where it has finished, its student is given back at once.

    Leaves in ``run``: student.safetensors, student.onnx (where the onnx extra is installed),
    results.json, samples/, report.html, and a folder with log, state and pictures per stage. Its
    config.json holds the settings as the stages use them. Under torchrun every process calls this
    alike, of a method that trains in several (`Method.parallel`).

    Args:
        images: what is trained on, with maps or targets where the generator or its discriminator
            reads those; None where it reads noise.
        config: settings of the method's own class; None: its defaults.
        method: one of `methods.METHODS`.
        test: photos for the evaluation and the report's pictures; without them ``images`` are
            used, and the protocol says so.
        reals: pictures of the target domain, for ``discriminator.real=images`` without targets.
        metrics: further ones of the evaluation against the teacher, such as 'st-lpips-alex'.
        weights: file or folder of the feature network's weights.
        start: a student of this teacher that pruning goes on from; costs and targets are still
            fractions of the teacher's. None: the student starts as the teacher.
        extend: the run has finished, and steps of its last stage (`Method.longer`) are more now: go
            on from its last state; student, results, report and exported file are made anew.
        match_colours: in samples/ and the report, give made pictures the colours of their photos
            (`measures.colour.match_colour`); numbers and exported files are of the pictures as
            made.
    Raises: ConfigError and InfeasibleTarget before any training; what the method's stages raise.
    """
    chosen = method_of(method)
    config = config or chosen.settings()
    check_request(method, config)
    check_opened(images=images, test=test, reals=reals)
    run, weights = Path(run), None if weights is None else Path(weights)
    if match_colours and ("image" not in reads(teacher) or channels_of(teacher) != (3, 3)):
        lacks = "no RGB photo, or makes none," if "image" in reads(teacher) else "no photo"
        raise ConfigError(
            f"This '{teacher.family.name}' generator reads {lacks} whose colours could be matched: "
            "leave --match-colours out."
        )
    images, reals = images and images_for(teacher, images), reals and reals_for(teacher, reals)
    test = test and images_for(teacher, test)
    if config.threads:
        torch.set_num_threads(config.threads)
    distributed.start(config.device)
    begin = as_start(method, start) if start is not None else None
    kept = Kept(run / TABLE, quiet or distributed.rank() > 0)
    given = Given(teacher, images, reals, weights, begin.models[""] if begin else None, kept)
    c: MethodSettings = chosen.resolve(given, config)
    if begin:
        check_start(chosen, begin, teacher, c)
    chosen.check(given, c)
    if test is not None:
        check_mask(teacher, test, c)
    settings = {"method": method, "family": teacher.family.name, **c.model_dump()}
    settings |= {"start": begin.card()} if begin else {}
    card = {**card_of(given, c), "paper": chosen.paper, "charts": dict(chosen.charts)}
    card |= {"command": command} if command else {}
    check_teacher(run, card["teacher"])
    path = run / "student.safetensors"
    if not (run / "config.json").exists():
        for line in form_remarks(teacher, c):
            say(line, quiet=quiet or distributed.rank() > 0)
    if not quiet and distributed.world() == 1 and not (run / "config.json").exists():
        forecast(chosen, given, c)
    with forgotten_if_refused(run):
        longer = chosen.longer(c)
        folder = Run(
            run, seed=c.seed, config=settings, card=card, quiet=quiet, longer=longer,
            extend=extend, usual=chosen.settings().model_dump(),
        )  # fmt: skip
        distributed.first(lambda: keep_table(c.target, run))
        if not distributed.agree(int(path.exists() and not is_reopened(run, longer))):
            student = chosen.compress(given, c, folder)
            student.net.to("cpu")
            student.provenance = {**teacher.provenance, "method": method, "settings": settings}
            student.provenance |= begin.provenance("") if begin else {}
            if extended := read_json(run / "card.json").get("extended"):
                student.provenance["extended"] = [entry["steps"] for entry in extended]
            distributed.first(partial(save, student, path))
            distributed.first(partial(remove_own_maps, run))
    student = load(path)
    teacher.net.to("cpu")
    shown = Shown.of(teacher, images, test, match_colours=match_colours)
    distributed.first(
        lambda: conclude(folder, student, teacher, c, shown, metrics=metrics, weights=weights)
    )
    return student


def conclude(
    run: Run,
    student: Model,
    teacher: Model,
    settings: MethodSettings,
    shown: Shown,
    *,
    metrics: Sequence[str],
    weights: Path | None,
) -> None:
    """Measure, export and report the student of a run whose stages have ended, unless that has been
    done on just these pictures."""
    if is_finished(run.root, shown):
        say(
            f"{run.root} is finished: nothing is done again ('ganpress report {run.root}' writes "
            "its report anew).",
            quiet=run.quiet,
        )
        return
    finish(run, student, teacher, settings, shown, metrics=metrics, weights=weights)


def forecast(method: Method, given: Given, settings: MethodSettings) -> None:
    """Say how long a long compression will take here, from a few timed steps of a copy."""
    steps = method.stage_steps(settings)
    if method.shortened is None or sum(steps.values()) < MIN_STEPS:
        return
    brief = method.shortened(settings, STEPS, MINUTES)
    few = given.images.some(range(min(len(given.images), SHOWN))) if given.images else None
    teacher = copy.deepcopy(given.teacher)
    tried = replace(given, teacher=teacher, images=few, reals=given.reals)
    timed = timed_stages(lambda run: method.compress(tried, brief, run), settings.seed)
    made_shorter = sections_of(settings, steps)
    if few is not None and given.images is not None:  # pictures of the teacher that are kept
        more = len(given.images) / len(few)
        rendered = {n: t.steps for n, t in timed.items() if t and n.startswith("render")}
        steps = {**{name: math.ceil(more * n) for name, n in rendered.items()}, **steps}
    minutes = method.stage_minutes(settings)
    announce(steps, timed, minutes=minutes, made_shorter=made_shorter)


def sections_of(settings: MethodSettings, stages: Iterable[str]) -> dict[str, list[str]]:
    """Of each stage the sections of the settings that say how long it trains: the one of its name,
    or of a stage that has the time of others, all of them."""
    own = [name for name in type(settings).model_fields
           if getattr(getattr(settings, name), "steps", 0)]  # fmt: skip
    return {stage: [stage] if stage in own else own for stage in stages}


def check_request(method: str, config: MethodSettings, *, ablation: bool = False) -> None:
    """Refuse a method that does not exist, settings of another one, cuda where there is none, and
    several processes where the method, or the ablation, runs in one."""
    chosen = method_of(method)
    if not isinstance(config, chosen.settings):
        raise ConfigError(
            f"'{method}' takes settings of class {chosen.settings.__name__}, not "
            f"{type(config).__name__}."
        )
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch sees no CUDA device: --set device=cpu.")
    if (processes := distributed.launched()) > 1 and (ablation or not chosen.parallel):
        able = [f"compress {name}" for name, known in METHODS.items() if known.parallel]
        raise ConfigError(
            f"{'An ablation' if ablation else repr(method)} runs in one process, and torchrun "
            f"started {processes}: start it without torchrun. (In several run: ganpress "
            f"{', ganpress '.join([*able, 'train'])}.)"
        )


def check_start(method: Method, start: Start, teacher: Model, c: MethodSettings) -> None:
    """Refuse a start that is no student of this teacher: ConfigError."""
    model, named = start.models[""], start.named("")
    if not method.takes_start:
        raise ConfigError(f"'{method.name}' builds its own student: leave --from out.")
    if model.family.name != teacher.family.name:
        raise ConfigError(
            f"{named} is a '{model.family.name}' generator, and the teacher a "
            f"'{teacher.family.name}': give a student of this teacher."
        )
    check_whole(model, named)
    for name in foreign_options(model.options, teacher, c):
        raise ConfigError(
            f"{named} has the option {name}={model.options[name]!r}, and the teacher "
            f"{name}={teacher.options[name]!r}: give a student of this teacher."
        )
    for group, width in teacher.widths.items():
        if model.widths[group] > width:
            raise ConfigError(
                f"{named} has {model.widths[group]} channels in group '{group}', more than the "
                f"teacher's {width}: give a student of this teacher."
            )


def check_teacher(run: Path, fingerprint: str) -> None:
    """Refuse to go on with a run that was started with another teacher."""
    card = run / "card.json"
    was = read_json(card).get("teacher") if card.exists() else None
    if was not in (None, fingerprint):
        raise ConfigError(
            f"The run in {run} was started with another teacher (its weights have fingerprint "
            f"{was[:12]}, these {fingerprint[:12]}). Give the same one, or choose another folder."
        )


def card_of(given: Given, config: MethodSettings) -> dict[str, Any]:
    """The run's card: device, data and teacher, and what was assumed when that was imported."""
    images, reals = given.images, given.reals
    assumed = summary(given.teacher.provenance)
    return {
        "device": torch.cuda.get_device_name() if config.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "data_hash": images.digest() if images else "none",
        "photos": len(images) if images else 0,
        **({"reals_hash": reals.digest(), "reals": len(reals)} if reals else {}),
        "teacher": fingerprint(given.teacher.net),
        **({"teacher_assumed": assumed} if assumed else {}),
    }
