"""The command that compares a generator with its teacher, or with real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ganpress.cli_options import Instances, Labels, Other, Pairs, SideBySide, Strict, Weights

if TYPE_CHECKING:
    from ganpress.evaluation import Evaluation

console = Console()


def evaluate(
    model: Annotated[Path, typer.Argument(help="a ganpress model (.safetensors)")],
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="folder or .npz pack: photos, or the real images"),
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
        int | None, typer.Option("--size", help="pixels; default: as trained, or the family's own")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=2, help="pictures to make from noise")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="of noise and styles")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda; without --teacher")] = "cpu",
    features: Annotated[str, typer.Option("--features")] = "squeezenet",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the numbers there")
    ] = None,
    weights: Weights = None,
    strict: Strict = False,
) -> None:
    """A generator's pictures against real ones; with --teacher, against its teacher's."""
    from ganpress.checkpoint import load
    from ganpress.data import open_images
    from ganpress.errors import ConfigError
    from ganpress.evaluation import evaluate as compare
    from ganpress.files import write_json
    from ganpress.judging import judge

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
            weights=weights,
            seed=seed,
        )
    elif not photos:
        raise ConfigError("Give the real images (--images), or a generator's teacher (--teacher).")
    else:
        found = judge(
            given,
            photos,
            other=open_images(other, strict=strict) if other else None,
            size=size,
            count=count,
            features=features,
            weights=weights,
            seed=seed,
            device=device,
        )
    tell(found)
    if json_file:
        write_json(json_file, found.as_dict())


def tell(found: Evaluation) -> None:
    """Print the numbers and their protocol."""
    for name, value in found.metrics.items():
        spread = f"± {found.spread[name]:.4f}, " if name in found.spread else ""
        line = f"{name}: {value:.4f} ({spread}{found.count} pictures)"
        console.print(line, soft_wrap=True)
    for name, value in found.yardsticks.items():
        console.print(f"  yardstick {name}: {value:.4f}", soft_wrap=True)
    for name, text in found.protocol.items():
        console.print(f"  {name}: {text}", style="dim", soft_wrap=True)
