"""The verbs of `ganpress edit` about edit directions: find, transfer, show with sliders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganpress.cli.lines import say
from ganpress.cli.options import Weights, check_file, listed, read_layers, size_option
from ganpress.errors import ConfigError

if TYPE_CHECKING:
    from ganpress.editing.directions import Directions
    from ganpress.editing.subjects import Subject
    from ganpress.editing.transfer import Transfer
    from ganpress.models.checkpoint import Model

Layers = Annotated[
    Any,
    typer.Option(
        "--layers",
        parser=read_layers,
        metavar="FIRST-LAST",
        help="layers that are moved, such as 0-3; sefa: whose weights are factorised; default: all",
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", help="pca (GANSpace, the default) or sefa (weight factorisation)"),
]
Photos = Annotated[
    list[Path] | None,
    typer.Option("--images", help="photos, of a generator that reads them (munit)"),
]
PhotoSize = Annotated[Any, size_option("of those photos, as 256 or 256x512; default: its usual")]
Features = Annotated[
    str, typer.Option("--features", help="feature network that compares two networks' changes")
]


def directions(
    model: Annotated[Path, typer.Argument(help="the generator; with --from, the student")],
    out: Annotated[Path, typer.Option("-o", "--out", help="file for the directions")],
    by: By = None,
    count: Annotated[int | None, typer.Option("--count", help="how many; default: 16")] = None,
    layers: Layers = None,
    samples: Annotated[int, typer.Option("--samples", help="codes drawn")] = 10_000,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="of the codes")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="transfer these directions of the teacher")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", "-t", help="the network that --from is of")
    ] = None,
    images: Photos = None,
    size: PhotoSize = None,
    features: Features = "tiny",
    weights: Weights = None,
) -> None:
    """Find a generator's edit directions, or take over its teacher's."""
    from ganpress.editing.direction_file import load_directions, save_directions
    from ganpress.editing.directions import find_directions
    from ganpress.editing.transfer import SEEDS, transfer
    from ganpress.models.checkpoint import load

    check_file(out, "directions.safetensors")
    if (source is None) != (teacher is None):
        raise ConfigError("--from and --teacher go together: whose directions, and the teacher.")
    if source is None or teacher is None:
        found = find_directions(
            load(model),
            by or "pca",
            count=16 if count is None else count,
            layers=layers,
            samples=samples,
            seed=seed or 0,
            file=str(model),
        )
        save_directions(found, out)
        _print_directions(found)
    else:
        _refuse("--from", **{"--by": by, "--count": count, "--layers": layers, "--seed": seed})
        origin = load(teacher)
        moved = transfer(
            load_directions(source, origin),
            origin,
            load(model),
            draws=_draws(origin, SEEDS, images, size),
            samples=samples,
            features=features,
            weights=weights,
        )
        save_directions(moved.directions, out)
        _print_transfer(moved)
    say(f"directions: {out.resolve()}")


def sliders(
    model: Annotated[Path, typer.Argument(help="the generator; with a student its teacher")],
    page: Annotated[Path | None, typer.Option("-o", "--out", help="HTML file to write")] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="a run, whose report gets the sliders")
    ] = None,
    student: Annotated[
        Path | None, typer.Option("--student", "-s", help="to show beside its teacher")
    ] = None,
    directions: Annotated[
        Path | None, typer.Option("--directions", "-d", help="the model's; default: found now")
    ] = None,
    by: By = None,
    count: Annotated[int, typer.Option("--count", min=1, help="directions that are shown")] = 6,
    layers: Layers = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", help="of the pictures; default: 0,1,2,3, of photos none"),
    ] = None,
    latents: Annotated[
        list[Path] | None,
        typer.Option("--latents", help="projected photos: a folder of 'edit project', or files"),
    ] = None,
    images: Photos = None,
    size: PhotoSize = None,
    strength: Annotated[
        float, typer.Option("--strength", help="farthest move, standard deviations")
    ] = 3.0,
    steps: Annotated[int, typer.Option("--steps", help="frames to each side")] = 4,
    truncation: Annotated[
        float, typer.Option("--truncation", help="psi: 1 is none, 0 the mean (stylegan2)")
    ] = 1.0,
    pixels: Annotated[int, typer.Option("--pixels", help="largest side of a frame")] = 128,
    quality: Annotated[int, typer.Option("--quality", help="of the frames' JPEG")] = 85,
    max_mb: Annotated[
        float, typer.Option("--max-mb", help="largest size of all frames; smaller frames fit it")
    ] = 8.0,
    features: Features = "tiny",
    weights: Weights = None,
) -> None:
    """A page whose sliders move pictures along edit directions; it opens from disk."""
    from ganpress.editing.slider_page import make_sliders
    from ganpress.editing.sliders import SliderSettings
    from ganpress.models.checkpoint import load
    from ganpress.run.settings import checked

    if page is not None:
        check_file(page, "sliders.html")
    chosen = checked(
        SliderSettings,
        {
            "strength": strength,
            "steps": steps,
            "truncation": truncation,
            "pixels": pixels,
            "quality": quality,
            "max_mb": max_mb,
        },
    )
    given = load(model)
    found = _directions_of(given, directions, by, count, layers)
    written = make_sliders(
        given,
        page=page,
        run=run,
        student=load(student) if student else None,
        directions=found,
        subjects=[
            *_projected(given, latents or []),
            *_subjects(given, _seeds(seeds, not latents), images, size),
        ],
        settings=chosen,
        features=features,
        weights=weights,
    )
    size = written.stat().st_size / 1e6
    say(f"sliders: {written.resolve()} ({size:.2f} MB)")


def _directions_of(
    model: Model,
    file: Path | None,
    by: str | None,
    count: int,
    layers: tuple[int, int] | None,
) -> Directions:
    """The first ``count`` of a file, or found now."""
    from ganpress.editing.direction_file import load_directions
    from ganpress.editing.directions import find_directions, some

    if file is None:
        return find_directions(model, by or "pca", count=count, layers=layers)
    _refuse("--directions", **{"--by": by, "--layers": layers})
    stored = load_directions(file, model)
    return some(stored, range(min(count, len(stored))))


def _subjects(
    model: Model, seeds: list[int], images: list[Path] | None, size: Any
) -> list[Subject]:
    from ganpress.data import open_images
    from ganpress.editing.subjects import drawn_subjects
    from ganpress.models.inputs import from_noise

    if images and from_noise(model):
        raise ConfigError(f"A '{model.family.name}' generator reads no photos: leave --images out.")
    if not seeds:
        return []
    return drawn_subjects(model, seeds, open_images(images) if images else None, size)


def _draws(model: Model, seeds: range, images: list[Path] | None, size: Any) -> Any:
    from ganpress.editing.subjects import stacked

    return stacked(_subjects(model, list(seeds), images, size))


def _projected(model: Model, latents: list[Path]) -> list[Subject]:
    from ganpress.editing.subjects import projected_subjects

    return projected_subjects(model, latents) if latents else []


def _seeds(text: str | None, by_default: bool) -> list[int]:
    """Those of --seeds; without it 0 to 3, or none. Raises ConfigError."""
    if text is None:
        return [0, 1, 2, 3] if by_default else []
    found = listed(text)
    if not found or not all(part.isdecimal() for part in found):
        raise ConfigError(f"--seeds {text}: give whole numbers from 0 on, such as 0,1,2.")
    return [int(part) for part in found]


def _refuse(beside: str, **options: object) -> None:
    """Raises ConfigError where options are given that say what the file of ``beside`` says."""
    if given := [name for name, value in options.items() if value is not None]:
        raise ConfigError(
            f"{', '.join(given)}: the directions of {beside} have theirs. Leave "
            f"{'it' if len(given) == 1 else 'them'} out."
        )


def _print_directions(found: Directions) -> None:
    of = "the weights' power" if found.kind == "sefa" else "the variance"
    shares = ", ".join(f"{ratio:.1%}" for ratio in found.ratios[:8].tolist())
    more = ", ..." if len(found) > 8 else ""
    say(f"{len(found)} directions in {found.space} by {found.kind}; of {of}: {shares}{more}")


def _print_transfer(moved: Transfer) -> None:
    agreed = moved.agreement
    if moved.map.inherited:
        how = "student and teacher make the same codes: the directions are the same"
    else:
        how = (
            f"fitted on {moved.map.pairs:,} pairs of codes, which leaves {moved.map.residual:.2%} "
            "of the variance of the student's"
        )
    say(how)
    say(
        f"cosine of the changes by {agreed.strength:g} standard deviations, {agreed.pictures} "
        f"pictures: in features ({agreed.network}) {float(agreed.features.mean()):.3f}, in pixels "
        f"{float(agreed.pixels.mean()):.3f}"
    )
