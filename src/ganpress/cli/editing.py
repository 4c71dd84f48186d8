"""The commands of `ganpress edit`: what a generator is used for once it is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganpress.cli.lines import say
from ganpress.cli.options import RunFolder, Strict, Weights, read_layers

if TYPE_CHECKING:
    from ganpress.editing.results import Teacher, Written

app = typer.Typer(
    help="Use a generator: photos as its codes, mixed styles, morphs, edit directions.",
    no_args_is_help=True,
)

ModelFile = Annotated[Path, typer.Argument(help="a ganpress model that reads noise (.safetensors)")]
Out = Annotated[Path, typer.Option("-o", "--out", help="folder for what is made")]
TeacherFile = Annotated[
    Path | None,
    typer.Option("--teacher", "-t", help="the model that it was made from: shown above"),
]
TeacherLatents = Annotated[
    list[Path] | None,
    typer.Option(
        "--teacher-latents", help="the teacher's projections of the same photos: run folder or file"
    ),
]
Distance = Annotated[
    str,
    typer.Option(
        "--distance",
        help="perceptual distance: auto, lpips-vgg16, squeezenet, tiny or st-lpips-alex",
    ),
]
_LATENTS = "latent files, run folders of a projection, or whole numbers: seeds of random ones"


@app.command()
def project(
    model: ModelFile,
    images: Annotated[
        list[Path],
        typer.Option("--images", help="a picture, a folder or a pack of photos; may be repeated"),
    ],
    run: RunFolder,
    space: Annotated[str, typer.Option("--space", help="w+, w, or z")] = "w+",
    optimiser: Annotated[str, typer.Option("--optimiser", help="adam or lbfgs")] = "adam",
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="evaluations of the losses")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, such as noise=1e4: see docs/editing.md"),
    ] = None,
    distance: Distance = "auto",
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="only the first so many photos")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="photos at a time")] = None,
    label: Annotated[
        int | None, typer.Option("--class", min=0, help="the class of the photos (sngan)")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of starts, noise and jitter")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda")] = "cpu",
    weights: Weights = None,
    strict: Strict = False,
) -> None:
    """Find the codes of photos; run again, it goes on where it was stopped."""
    from ganpress.data import open_images
    from ganpress.editing.projection import project as find
    from ganpress.editing.settings import ProjectSettings
    from ganpress.models.checkpoint import load
    from ganpress.run.settings import read_config

    asked = {
        "space": space,
        "optimiser": optimiser,
        "iterations": iterations,
        "distance": distance,
        "batch": batch,
        "label": label,
        "seed": seed,
    }
    given = [f"{key}={value}" for key, value in asked.items() if value is not None]
    settings = read_config(ProjectSettings, None, [*given, *(sets or [])])
    photos = open_images(images, strict=strict, single=True)
    if count is not None:
        photos = photos.some(range(min(count, len(photos))))
    found = find(load(model), photos, run, settings=settings, weights=weights, device=device)
    for name, values in list(found.photos.items())[:_LISTED]:
        say(f"{name}: {_figures(values)}")
    if len(found.photos) > 1:
        say(f"mean of {len(found.photos)} photos: {_figures(found.mean)}")
    say(f"{found.folder}: latents/, pictures/, sheet.png, results.json")


@app.command()
def mix(
    model: ModelFile,
    out: Out,
    layers: Annotated[
        str, typer.Option("--layers", help="styles taken from the source, as 0-3: both included")
    ],
    sources: Annotated[list[str], typer.Option("--source", help=_LATENTS)],
    destinations: Annotated[list[str], typer.Option("--destination", help="likewise")],
    own_noise: Annotated[
        bool, typer.Option("--own-noise", help="each row with its destination's noise maps")
    ] = False,
    teacher: TeacherFile = None,
    teacher_latents: TeacherLatents = None,
) -> None:
    """A table of pictures: destinations with the styles of sources in some layers."""
    from ganpress.editing.results import write_mix
    from ganpress.models.checkpoint import load

    _print(
        write_mix(
            load(model),
            sources,
            destinations,
            out,
            layers=read_layers(layers),
            teacher=_teacher(teacher, teacher_latents),
            same_noise=not own_noise,
        )
    )


@app.command()
def morph(
    model: ModelFile,
    latents: Annotated[list[str], typer.Argument(help=_LATENTS)],
    out: Out,
    frames: Annotated[int, typer.Option("--frames", min=2, help="of the animation")] = 60,
    seconds: Annotated[float, typer.Option("--seconds", help="of one round")] = 3.0,
    ending: Annotated[str, typer.Option("--format", help="gif or webp")] = "gif",
    space: Annotated[
        str | None, typer.Option("--space", help="w+, w or z; default: the smallest that fits")
    ] = None,
    distance: Distance = "auto",
    teacher: TeacherFile = None,
    teacher_latents: TeacherLatents = None,
    weights: Weights = None,
) -> None:
    """Go from picture to picture: a strip, an animation, and how smooth it is."""
    from ganpress.editing.results import write_morph
    from ganpress.editing.settings import MorphSettings
    from ganpress.models.checkpoint import load
    from ganpress.models.spaces import check_space
    from ganpress.run.settings import checked

    given = load(model)
    values = {"frames": frames, "seconds": seconds, "ending": ending, "distance": distance}
    values["space"] = None if space is None else check_space(given, space)
    beside = _teacher(teacher, teacher_latents)
    how = checked(MorphSettings, values)
    _print(write_morph(given, latents, out, how, teacher=beside, weights=weights))


_LISTED = 20  # photos whose figures are printed


def _teacher(model: Path | None, latents: list[Path] | None) -> Teacher | None:
    from ganpress.editing.results import Teacher
    from ganpress.errors import ConfigError
    from ganpress.models.checkpoint import load

    if model is None and latents:
        raise ConfigError("--teacher-latents are of a teacher: name its file (--teacher), too.")
    return None if model is None else Teacher(load(model), tuple(latents or ()))


def _figures(values: object) -> str:
    assert hasattr(values, "items")
    return ", ".join(
        f"{name} {value:.2f} dB" if name == "psnr" else f"{name} {value:.4f}"
        for name, value in values.items()
    )


def _print(written: Written) -> None:
    for name, value in written.figures.items():
        say(f"{name}: {value:.6g}")
    for path in written.files:
        say(str(path))
