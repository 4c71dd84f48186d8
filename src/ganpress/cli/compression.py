"""The command that compresses a generator, those that list methods and settings, and the demo."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ganpress.cli.lines import say
from ganpress.cli.options import (
    ConfigFile,
    Instances,
    Labels,
    Mask,
    MaskCard,
    Pairs,
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
    with_mask,
)


def compress(
    method: Annotated[str, typer.Argument(help="one of 'ganpress methods'")],
    teacher: Annotated[Path, typer.Option("--teacher", "-t", help="the teacher's model file")],
    run: RunFolder,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images", help="folder, .zip, .tar or .npz; not needed where it reads noise"
        ),
    ] = None,
    pairs: Pairs = None,
    side_by_side: SideBySide = None,
    labels: Labels = None,
    instances: Instances = None,
    reals: Annotated[
        list[Path] | None,
        typer.Option(
            "--reals", help="pictures of the target domain, for discriminator.real=images"
        ),
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    test: TestPhotos = None,
    test_pairs: TestPairs = None,
    test_labels: TestLabels = None,
    test_instances: TestInstances = None,
    match_colours: Annotated[
        bool,
        typer.Option("--match-colours", help="in the report, made pictures in the photo's colours"),
    ] = False,
    mask: Mask = None,
    mask_card: MaskCard = None,
    weights: Weights = None,
    strict: Strict = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="go on from this student of the teacher (file or run folder); targets are still "
            "fractions of the teacher's; the same files and settings give the same bits",
        ),
    ] = None,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="give a finished run more steps (--set finetune.steps=...): it goes on from its "
            "last state, at the rates of a run of the new length; repeatable to the bit",
        ),
    ] = False,
) -> None:
    """Compress a generator; leaves student, ONNX file and report in the run's folder."""
    from ganpress.data import open_images
    from ganpress.methods import method as method_of
    from ganpress.methods.compress import check_request
    from ganpress.methods.compress import compress as compress_model
    from ganpress.models.checkpoint import load
    from ganpress.run.settings import read_config
    from ganpress.training.start import open_start

    maps: dict[str, Any] = {"labels": labels, "instances": instances}
    test_maps: dict[str, Any] = {"labels": test_labels, "instances": test_instances}
    check_goes_with("--images", images, pairs=pairs, side_by_side=side_by_side, **maps)
    check_goes_with(
        "--test", test, **{f"test_{name}": at for name, at in test_maps.items()},
        test_pairs=test_pairs,
    )  # fmt: skip
    settings = read_config(method_of(method).settings, config, with_mask(sets, mask, mask_card))
    check_request(method, settings)
    alike: dict[str, Any] = {"side_by_side": side_by_side, "strict": strict}
    compress_model(
        load(teacher),
        open_images(images, pairs=pairs, **maps, **alike) if images else None,
        run=run,
        config=settings,
        method=method,
        test=open_images(test, pairs=test_pairs, **test_maps, **alike) if test else None,
        reals=open_images(reals, strict=strict) if reals else None,
        weights=weights,
        start=open_start(method, start) if start else None,
        extend=extend,
        match_colours=match_colours,
        command=shlex.join(["ganpress", *sys.argv[1:]]),
    )
    print_run(run)


def print_run(run: Path) -> None:
    """Print what a finished compression has in its folder."""
    results = json.loads((run / "results.json").read_text())
    ratios = results["model"]["ratios"]
    counted = {k: v for k, v in ratios.items() if not k.startswith("latency")}
    shown = ", ".join(f"{k} 1/{v:.2f}" for k, v in counted.items())
    say(f"student/teacher: {shown}")
    for line in latency_lines(results):
        say(line)
    for name, value in results["evaluation"]["metrics"].items():
        say(f"{name}: {value:.4f}")
    say(f"student: {(run / 'student.safetensors').resolve()}")
    say(f"report:  {(run / 'report.html').resolve()}")


def latency_lines(results: Mapping[str, Any]) -> list[str]:
    """The latency of what is shipped against the teacher's, and what to run instead where 8 bits
    are no faster."""
    from ganpress.report.latencies import latency_table
    from ganpress.report.table import described

    model = results["model"]
    ours, theirs = (model[name]["latency_ms"] for name in ("student", "teacher"))
    named = [str(time["precision"]) for time in (ours, theirs) if "precision" in time]
    measured_on = ", ".join(filter(None, [described(model["student"]), " against ".join(named)]))
    line = (
        f"latency: 1/{model['ratios']['latency_ms']:.2f}, {ours['median']:.2f} ms against the "
        f"teacher's {theirs['median']:.2f} ({measured_on})"
    )
    return [line, *latency_table(results)[2]]


def methods() -> None:
    """The compression methods: their papers, and the variants that 'ganpress ablate' compares."""
    from ganpress.methods import METHODS

    for name, method in METHODS.items():
        say(f": {method.paper}", title=name)
        for variant, what in method.variants.items():
            say(f"  {variant}: {what.meaning}")


def settings(
    of: Annotated[
        str, typer.Argument(help="a method, or the family that is to be trained")
    ] = "slim",
    listed: Annotated[
        bool, typer.Option("--list", help="the recipes that --config knows by name")
    ] = False,
) -> None:
    """Every setting with its default and meaning, as a file that --config reads."""
    from ganpress.methods import METHODS
    from ganpress.run.recipes import recipes, summary_of
    from ganpress.run.settings import as_toml
    from ganpress.training.train import trainer

    if listed:
        for kind in (*METHODS, "train", "ablate"):
            verb = kind if kind in ("train", "ablate") else f"compress {kind}"
            say("", title=f"ganpress {verb}")
            for name, file in sorted(recipes([kind]).items()):
                say(f"  {name}: {summary_of(file)}")
        return
    known = METHODS[of].settings if of in METHODS else trainer(of).config
    print(as_toml(known), end="")


def demo(
    run: Annotated[Path, typer.Option("--run", help="folder")] = Path("runs/demo"),
) -> None:
    """The whole line on pictures drawn here: slim a small teacher, export, check, report."""
    from ganpress.cli.demo import run_demo

    run_demo(run)
    print_run(run)
