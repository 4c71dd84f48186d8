"""The commands that train a teacher, and that list the families that can be trained."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ganpress.cli.lines import say
from ganpress.cli.options import (
    ConfigFile,
    Instances,
    Labels,
    Other,
    Pairs,
    Photos,
    RunFolder,
    Sets,
    SideBySide,
    Strict,
    TestPhotos,
    Weights,
)


def train(
    family: Annotated[str, typer.Argument(help="one of 'ganpress families'")],
    images: Photos,
    run: RunFolder,
    other: Other = None,
    pairs: Pairs = None,
    side_by_side: SideBySide = None,
    labels: Labels = None,
    instances: Instances = None,
    config: ConfigFile = None,
    sets: Sets = None,
    test: TestPhotos = None,
    weights: Weights = None,
    strict: Strict = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="train on from this model's weights, options, widths and discriminator: a file, "
            "or the folder of a finished run; as deterministic as from fresh weights",
        ),
    ] = None,
    back: Annotated[
        Path | None,
        typer.Option(
            "--from-back", help="the model of the other direction (cyclegan, munit); without: fresh"
        ),
    ] = None,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="give a finished run more steps (--set steps=...): it goes on from its last "
            "state, at the rates of a run of the new length; repeatable to the bit",
        ),
    ] = False,
) -> None:
    """Train a teacher by its paper's recipe; leaves its file and a report in the run's folder.

    Several devices: torchrun --nproc_per_node=2 -m -- ganpress train ... (with the bare --).
    """
    from ganpress.data import open_images
    from ganpress.errors import ConfigError
    from ganpress.run import distributed
    from ganpress.run.settings import read_config
    from ganpress.training.start import open_start, settling
    from ganpress.training.train import train as train_family
    from ganpress.training.train import trainer

    kind = trainer(family).config
    if back and not start:
        raise ConfigError("--from-back is the second direction: give the first, too (--from FILE).")
    begin = open_start(family, start, back) if start else None
    with settling(family, kind, begin) as settle:
        settings = read_config(kind, config, sets or (), settle=settle)
    train_family(
        family,
        open_images(
            images,
            pairs=pairs,
            side_by_side=side_by_side,
            labels=labels,
            instances=instances,
            strict=strict,
        ),
        run=run,
        config=settings,
        other=open_images(other, strict=strict) if other else None,
        test=open_images(test, side_by_side=side_by_side, strict=strict) if test else None,
        weights=weights,
        start=begin,
        extend=extend,
        command=shlex.join(["ganpress", *sys.argv[1:]]),
    )
    if distributed.rank() == 0:
        _print_results(run)
    distributed.stop()


def _print_results(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    for name, value in results["last"].items():
        say(f"{name}: {value:.4g}")
    for teacher in results["teachers"].values():
        file = (run / teacher["file"]).resolve()
        say(f"teacher: {file} ({teacher['params']:,} parameters)")
    say(f"report:  {(run / 'report.html').resolve()}")


def families(
    name: Annotated[str | None, typer.Argument(help="only this one")] = None,
) -> None:
    """Every family of generators: its options with their defaults, and what trains it."""
    from ganpress.models.families import FAMILIES, family
    from ganpress.training.train import needs

    for which in [family(name)] if name else FAMILIES.values():
        widths = ", ".join(f"{g} {w}" for g, w in which.full(which.options).items())
        say("", title=which.name)
        say(f"  trained on: images{needs(which.name)}")
        for option, default in which.options.items():
            say(f"  {option} = {json.dumps(default)}")
        say(f"  full widths: {widths}", style="dim")
