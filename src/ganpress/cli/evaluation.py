"""The commands that measure a generator: its cost, and the quality of its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ganpress.cli.lines import say
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
    check_goes_with,
    metrics_named,
    size_option,
)
from ganpress.cli.tables import columns, print_numbered
from ganpress.formats.runtimes import is_exported
from ganpress.types.seeds import MAX_SEED
from ganpress.types.sizes import Size, height_width

if TYPE_CHECKING:
    from ganpress.measures.fidelity import Evaluation
    from ganpress.models.checkpoint import Model


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
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=MAX_SEED, help="of noise and styles")
    ] = 0,
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

    check_goes_with(
        "--images", images, pairs=pairs, side_by_side=side_by_side, labels=labels,
        instances=instances,
    )  # fmt: skip
    check_goes_with("--mask", mask, mask_card=mask_card, mask_min_area=mask_min_area)
    if teacher is not None and device != "cpu":
        raise ConfigError("With --teacher both are run on the CPU: leave --device out.")
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
        say(f"{name}: {value:.4f} ({spread}{found.count} pictures)")
    for name, value in found.yardsticks.items():
        say(f"  yardstick {name}: {value:.4f}")
    for name, text in found.protocol.items():
        say(f"  {name}: {text}", style="dim")
    for reason in dict.fromkeys(found.left_out.values()):
        names = [name for name, why in found.left_out.items() if why == reason]
        say(f"  left out: {', '.join(names)}. {reason}", style="dim")


def measure(
    models: Annotated[
        list[str],
        typer.Argument(help="model files, names of families, or exported files (.onnx, .xml)"),
    ],
    size: Annotated[
        Any, size_option("height and width in pixels, as 256 or 256x512; default: its own")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="key=value, an option of a family's name")
    ] = None,
    dims: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=1x3x256x256, dims that an exported file does not say"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    time: Annotated[
        bool, typer.Option("--latency", help="measure latency, too: in torch and of the file")
    ] = False,
) -> None:
    """Parameters, MACs in both conventions, bytes; a family's name means its full network."""
    from ganpress.measures.files.feeds import read_dims

    given = dict(read_dims(text) for text in dims or [])
    _check_flags(models, options or [], given)
    found: dict[str, dict[str, Any]] = {}
    sizes: dict[str, Size] = {}
    for name in models:
        if is_exported(Path(name)):
            found[name] = _of_file(Path(name), size, given, time=time)
            continue
        model = _model_or_family(name, options or [])
        sizes[name] = model.resolve_size(size)
        found[name] = _of_model(model, sizes[name], time=time)
    if as_json:
        print(json.dumps(found[models[0]] if len(models) == 1 else found, indent=2))
    else:
        print_costs(found, sizes)


def _check_flags(models: list[str], options: list[str], given: Mapping[str, Any]) -> None:
    """Refuse flags that say something of none of the models, or of another kind: ConfigError."""
    from ganpress.errors import ConfigError

    if given and not any(is_exported(Path(name)) for name in models):
        raise ConfigError("--input is for .onnx and .xml files: of a ganpress model say --size.")
    if options and (inside := next(filter(_is_path, models), None)):
        raise ConfigError(f"--option is for the name of a family; {inside} has its options inside.")


def _is_path(name: str) -> bool:
    """Whether it is meant as a file, and not as the name of a family."""
    from ganpress.models.families import FAMILIES

    return name not in FAMILIES and ("." in name or "/" in name or Path(name).exists())


def _of_model(model: Model, size: Size, *, time: bool) -> dict[str, Any]:
    from ganpress.measures.cost import latency
    from ganpress.measures.cost import measure as count

    found = asdict(count(model.net, size))
    if time:
        from ganpress.measures.timing import shipped

        found["latency"] = asdict(latency(model, size=size))
        found["latency_exported"] = shipped.time_model(model, size)
    return found


def _of_file(
    path: Path, size: Size | None, given: Mapping[str, tuple[int, ...]], *, time: bool
) -> dict[str, Any]:
    from ganpress.measures.files.cost import measure_file
    from ganpress.measures.timing.shipped import time_file

    found = asdict(measure_file(path, size=size, given=given))
    if time:
        found["latency_exported"] = time_file(path, size, given)
    return found


def print_costs(found: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, Size]) -> None:
    """Print a table of what `ganpress.measure` counts, a line for each name of ``found``, and one
    of the latencies, where there are any.

    Names too long for the table are listed above it, and numbered.
    """
    pictures = " or ".join(
        "{} x {}".format(*pair) for pair in sorted({height_width(s) for s in sizes.values()})
    )
    say(f"one image of {pictures}; 1 G = 1e9" if sizes else "one image; 1 G = 1e9")
    print_numbered(found, _table)
    if timed := {name: rows for name, cost in found.items() if (rows := _latencies(cost))}:
        say(f"latency {_conditions(timed)}")
        print_numbered(timed, _latency_table)
    for name, cost in found.items():
        for row in cost.get("latency_exported", []):
            if "error" in row:
                say(f"not timed: {name}, {row['runtime']} {row['precision']}: {row['error']}")


def _table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    linear = any(cost["macs_linear"] for cost in found.values())
    macs = {"true": "macs", "out-res": "macs_outres"} | (
        {"linear": "macs_linear"} if linear else {}
    )
    table = columns("params", *(f"MACs\n({kind})" for kind in macs), "bytes")
    for name, cost in found.items():
        table.add_row(
            escape(name),
            f"{cost['params']:,}",
            *(f"{cost[key] / 1e9:.3f} G" for key in macs.values()),
            f"{cost['bytes']:,}",
        )
    return table


def _latencies(cost: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = [*([cost["latency"]] if "latency" in cost else []), *cost.get("latency_exported", [])]
    return [row for row in rows if "error" not in row]


def _conditions(timed: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """'on cpu, threads: 2, batch: 1', of all rows; a value that differs is left to the rows."""
    rows = [row for rows in timed.values() for row in rows]
    alike = {key: {row[key] for row in rows} for key in ("device", "threads", "batch")}
    device, *others = (", ".join(str(v) for v in sorted(alike[key])) for key in alike)
    return f"on {device}, threads: {others[0]}, batch: {others[1]}"


def _latency_table(timed: Mapping[str, list[Mapping[str, Any]]]) -> Table:
    table = columns("median\nms", "95th pct\nms", texts=("runtime", "precision"))
    for name, rows in timed.items():
        for place, row in enumerate(rows):
            table.add_row(
                escape(name) if place == 0 else "",
                row["runtime"],
                row["precision"],
                f"{row['median_ms']:.2f}",
                f"{row['p95_ms']:.2f}",
            )
    return table


def _model_or_family(name: str, options: list[str]) -> Model:
    from ganpress.errors import ConfigError, did_you_mean
    from ganpress.models.checkpoint import full_model, load
    from ganpress.models.families import FAMILIES
    from ganpress.run.settings import pairs

    if name in FAMILIES:
        return full_model(name, **pairs(options, "--option"))
    if not _is_path(name):
        raise ConfigError(
            f"'{name}' is neither a file nor a family{did_you_mean(name, FAMILIES)}. "
            f"Families: {', '.join(FAMILIES)}."
        )
    return load(name)
