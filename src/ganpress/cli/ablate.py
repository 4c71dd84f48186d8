"""The command that runs an ablation of a method, and the one that writes reports."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ganpress.cli.lines import say
from ganpress.cli.options import (
    ConfigFile,
    FurtherMetrics,
    Instances,
    Labels,
    Mask,
    MaskCard,
    Pairs,
    Photos,
    RunFolder,
    Sets,
    SideBySide,
    Strict,
    TestInstances,
    TestLabels,
    TestPairs,
    TestPhotos,
    Weights,
    check_goes_with,
    listed,
    metrics_named,
    with_mask,
)


def ablate(
    method: Annotated[str, typer.Argument(help="one of 'ganpress methods'")],
    teacher: Annotated[Path, typer.Option("--teacher", "-t", help="the teacher's model file")],
    run: RunFolder,
    images: Photos,
    variants: Annotated[
        str, typer.Option("--variants", help="such as gs-32,gd; default: all of them")
    ] = "",
    seeds: Annotated[str, typer.Option("--seeds", help="such as 0,1,2")] = "0",
    reals: Annotated[
        list[Path] | None,
        typer.Option("--reals", help="real pictures of the target domain, to compare with"),
    ] = None,
    pairs: Pairs = None,
    side_by_side: SideBySide = None,
    labels: Labels = None,
    instances: Instances = None,
    config: ConfigFile = None,
    sets: Sets = None,
    test: TestPhotos = None,
    test_pairs: TestPairs = None,
    test_labels: TestLabels = None,
    test_instances: TestInstances = None,
    metrics: FurtherMetrics = "none",
    mask: Mask = None,
    mask_card: MaskCard = None,
    weights: Weights = None,
    strict: Strict = False,
) -> None:
    """Variants of a method at one cost and in one time; resumes; table and figures."""
    from ganpress.data import open_images
    from ganpress.methods import method as method_of
    from ganpress.methods.ablate import ablate as run_variants
    from ganpress.methods.measured import Pictures
    from ganpress.models.checkpoint import load
    from ganpress.run.recipes import config_file
    from ganpress.run.settings import read_config

    check_goes_with(
        "--test", test, test_pairs=test_pairs, test_labels=test_labels,
        test_instances=test_instances,
    )  # fmt: skip
    chosen = method_of(method)
    for variant in listed(variants):  # a name that does not exist is refused before all else
        chosen.settings_of(variant, chosen.settings())
    file = config_file(config, ["ablate", method]) if config else None
    further = metrics_named(metrics)
    shown = None
    if test:
        shown = open_images(
            test,
            pairs=test_pairs,
            side_by_side=side_by_side,
            labels=test_labels,
            instances=test_instances,
            strict=strict,
        )
    pictures = Pictures(
        open_images(
            images,
            pairs=pairs,
            side_by_side=side_by_side,
            labels=labels,
            instances=instances,
            strict=strict,
        ),
        shown,
        open_images(reals, strict=strict) if reals else None,
    )
    found = run_variants(
        load(teacher),
        pictures,
        run=run,
        method=method,
        config=read_config(chosen.settings, file, with_mask(sets, mask, mask_card)),
        variants=listed(variants),
        seeds=_seeds(seeds),
        metrics=further,
        weights=weights,
        command=shlex.join(["ganpress", *sys.argv[1:]]),
    )
    print_ablation(found)
    say(f"table:   {(run / 'ablation.md').resolve()}")
    say(f"report:  {(run / 'ablation.html').resolve()}")


def print_ablation(found: dict[str, object]) -> None:
    """Print the variants' headline numbers and the paper's statements."""
    from ganpress.report.ablation import notes, sentences, table

    heads, body = table(found)
    for row in body:
        cells = zip(heads[1:], row[1:], strict=True)
        say(f"{row[0]}: {', '.join(f'{name} {cell}' for name, cell in cells if cell != '–')}")
    for line in sentences(found):
        say(line.replace("**", ""))
    for line in notes(found):
        say(line, style="dim")


def report(
    run: Annotated[Path, typer.Argument(help="folder of a run or an ablation")],
    layout: Annotated[
        str, typer.Option("--layout", help="page, or paper: the paper's tables")
    ] = "page",
) -> None:
    """Write the report again from what the run's folder holds, or print the paper's tables."""
    from ganpress.errors import ConfigError, did_you_mean
    from ganpress.report import write_report
    from ganpress.report.ablation import write_ablation

    if layout not in ("page", "paper"):
        near = did_you_mean(layout, ["page", "paper"])
        raise ConfigError(f"There is no layout '{layout}'{near}: page or paper.")
    if layout == "paper":
        from ganpress.methods import write_tables

        print(write_tables(run))
        return
    write = write_ablation if (run / "ablation.json").exists() else write_report
    say(str(write(run).resolve()))


def _seeds(text: str) -> list[int]:
    from ganpress.errors import ConfigError

    found = listed(text)
    if not found or not all(part.isdecimal() for part in found):
        raise ConfigError(f"--seeds {text}: give whole numbers from 0 on, such as 0,1,2.")
    return [int(part) for part in found]
