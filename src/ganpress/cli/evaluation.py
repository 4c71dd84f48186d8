"""The commands that measure a generator: its cost, and the quality of its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ganpress.cli.options import (
    Instances,
    Labels,
    Mask,
    MaskArea,
    MaskCard,
    Metrics,
    Other,
    Pairs,
    SideBySide,
    Strict,
    Weights,
    check_file,
    metrics_named,
    size_option,
)
from ganpress.types.sizes import Size, height_width

if TYPE_CHECKING:
    from ganpress.measures.fidelity import Evaluation
    from ganpress.models.checkpoint import Model

console = Console()


def evaluate(
    model: Annotated[Path, typer.Argument(help="a ganpress model (.safetensors)")],
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="folder, .zip, .tar or .npz: photos, or the real images"),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", "-t", help="the model that it was made from")
    ] = None,
    other: Other = None,
    pairs: Pairs = None,
    side_by_side: SideBySide = None,
    labels: Labels = None,
    instances: Instances = None,
    size: Annotated[
        Any, size_option("pixels, as 256 or 256x512; default: as trained, or the family's own")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=2, help="pictures to make from noise")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="of noise and styles")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda; without --teacher")] = "cpu",
    features: Annotated[
        str, typer.Option("--features", help="network of the unit distance, squeezenet or tiny")
    ] = "squeezenet",
    metrics: Metrics = "auto",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the numbers there")
    ] = None,
    mask: Mask = None,
    mask_card: MaskCard = None,
    mask_min_area: MaskArea = 0.0,
    weights: Weights = None,
    strict: Strict = False,
) -> None:
    """A generator's pictures against real ones; with --teacher, against its teacher's."""
    from ganpress.data import open_images
    from ganpress.errors import ConfigError
    from ganpress.measures.fidelity import evaluate as compare
    from ganpress.measures.interest.settings import MaskSettings
    from ganpress.measures.quality import evaluate_quality
    from ganpress.models.checkpoint import load
    from ganpress.run.files import make_folder, write_json

    if json_file:
        check_file(json_file, "numbers.json")
    further = metrics_named(metrics)
    photos = images and open_images(
        images,
        pairs=pairs,
        side_by_side=side_by_side,
        labels=labels,
        instances=instances,
        strict=strict,
    )
    given = load(model)
    if teacher is not None:
        if other:
            raise ConfigError("With --teacher the same inputs go to both: leave --other out.")
        found = compare(
            given,
            load(teacher),
            photos or None,
            size=size,
            count=count,
            features=features,
            metrics=further,
            weights=weights,
            seed=seed,
            mask=MaskSettings(
                source=str(mask) if mask else None, card=mask_card, min_area=mask_min_area
            ),
        )
    elif mask:
        raise ConfigError(
            "--mask is of distances to the teacher: give it (--teacher), or leave --mask out."
        )
    elif not photos:
        raise ConfigError("Give the real images (--images), or a generator's teacher (--teacher).")
    else:
        found = evaluate_quality(
            given,
            photos,
            other=open_images(other, strict=strict) if other else None,
            size=size,
            count=count,
            features=features,
            metrics=further,
            weights=weights,
            seed=seed,
            device=device,
        )
    print_evaluation(found)
    if json_file:
        make_folder(json_file.parent)
        write_json(json_file, found.as_dict())


def print_evaluation(found: Evaluation) -> None:
    """Print the numbers and their protocol."""
    for name, value in found.metrics.items():
        spread = f"± {found.spread[name]:.4f}, " if name in found.spread else ""
        line = f"{name}: {value:.4f} ({spread}{found.count} pictures)"
        console.print(line, soft_wrap=True)
    for name, value in found.yardsticks.items():
        console.print(f"  yardstick {name}: {value:.4f}", soft_wrap=True)
    for name, text in found.protocol.items():
        console.print(f"  {name}: {text}", style="dim", soft_wrap=True)
    for reason in dict.fromkeys(found.left_out.values()):
        names = [name for name, why in found.left_out.items() if why == reason]
        line = f"  left out: {', '.join(names)}. {reason}"
        console.print(escape(line), style="dim", soft_wrap=True, highlight=False)


def measure(
    models: Annotated[list[str], typer.Argument(help="model files, or names of families")],
    size: Annotated[
        Any, size_option("height and width in pixels, as 256 or 256x512; default: its own")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="key=value, an option of a family's name")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    time: Annotated[bool, typer.Option("--latency", help="measure latency, too")] = False,
) -> None:
    """Parameters, MACs in both conventions, bytes; a family's name means its full network."""
    from ganpress.measures.cost import latency
    from ganpress.measures.cost import measure as count

    given = {name: _model_or_family(name, options or []) for name in models}
    sizes = {name: model.resolve_size(size) for name, model in given.items()}
    found: dict[str, dict[str, Any]] = {}
    for name, model in given.items():
        found[name] = asdict(count(model.net, sizes[name]))
        if time:
            found[name]["latency"] = asdict(latency(model, size=sizes[name]))
    if as_json:
        print(json.dumps(found[models[0]] if len(models) == 1 else found, indent=2))
    else:
        print_costs(found, sizes)


def print_costs(found: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, Size]) -> None:
    """Print a table of what `ganpress.measure` counts, a line for each name of ``found``.

    Names too long for the table are listed above it, and numbered.
    """
    pictures = " or ".join(
        "{} x {}".format(*pair) for pair in sorted({height_width(s) for s in sizes.values()})
    )
    line = f"one image of {pictures}; 1 G = 1e9"
    if timed := [cost["latency"] for cost in found.values() if "latency" in cost]:
        one = timed[0]
        line += f"; latency on {one['device']}, threads: {one['threads']}, batch: {one['batch']}"
    console.print(line, soft_wrap=True, highlight=False)
    table = _table(found)
    wide = console.options.update(width=10_000)
    if console.measure(table, options=wide).maximum > console.width:
        for number, name in enumerate(found, 1):
            console.print(f"{number}: {name}", soft_wrap=True, markup=False, highlight=False)
        table = _table({f"{i}": cost for i, cost in enumerate(found.values(), 1)})
    console.print(table)


def _table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    linear = any(cost["macs_linear"] for cost in found.values())
    timed = any("latency" in cost for cost in found.values())
    macs = {"true": "macs", "out-res": "macs_outres"} | (
        {"linear": "macs_linear"} if linear else {}
    )
    times = {"median": "median_ms", "95th pct": "p95_ms"} if timed else {}
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True, overflow="fold")
    heads = ("params", *(f"MACs\n({kind})" for kind in macs), "bytes", *(f"{t}\nms" for t in times))
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for name, cost in found.items():
        table.add_row(
            escape(name),
            f"{cost['params']:,}",
            *(f"{cost[key] / 1e9:.3f} G" for key in macs.values()),
            f"{cost['bytes']:,}",
            *(f"{cost['latency'][key]:.2f}" for key in times.values()),
        )
    return table


def _model_or_family(name: str, options: list[str]) -> Model:
    from ganpress.errors import ConfigError, did_you_mean
    from ganpress.models.checkpoint import full_model, load
    from ganpress.models.families import FAMILIES
    from ganpress.run.settings import pairs

    if name in FAMILIES:
        return full_model(name, **pairs(options, "--option"))
    if options:
        raise ConfigError(f"--option is for the name of a family; {name} has its options inside.")
    if not Path(name).exists() and "." not in name and "/" not in name:
        raise ConfigError(
            f"'{name}' is neither a file nor a family{did_you_mean(name, FAMILIES)}. "
            f"Families: {', '.join(FAMILIES)}."
        )
    return load(name)
