"""The command that makes pictures with a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ganpress.cli.lines import say
from ganpress.cli.options import Strict, size_option


def run(
    model: Annotated[Path, typer.Argument(help="a ganpress model, or its .onnx or .xml file")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder for the pictures")],
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="a picture, a folder or an .npz pack; may be repeated"),
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="folder of label maps")] = None,
    instances: Annotated[
        Path | None, typer.Option("--instances", help="instance maps, paired by name")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="pictures to make from noise")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="of noise and style")] = None,
    style: Annotated[
        Path | None, typer.Option("--style", help="a picture whose style all take (munit)")
    ] = None,
    truncation: Annotated[
        float | None, typer.Option("--truncation", help="psi: 1 is none, 0 the mean (stylegan2)")
    ] = None,
    label: Annotated[
        int | None, typer.Option("--class", min=0, help="the class of all pictures (sngan)")
    ] = None,
    size: Annotated[
        Any, size_option("resize and centre-crop to this first, as 256 or 256x512; default: as is")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="pictures at a time")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads of the network")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="threads that decode and encode")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda")] = "cpu",
    quality: Annotated[
        int, typer.Option("--quality", min=1, max=100, help="of JPEG, WebP and AVIF")
    ] = 95,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="make all anew, over whatever is there")
    ] = False,
    strict: Strict = False,
) -> None:
    """Make a generator's pictures; run again, it goes on where it was stopped.

    Names, folders and formats are those of what is read; pictures of any size are taken.
    """
    from ganpress.generation.generate import generate

    found = generate(
        model,
        out,
        images=images or (),
        labels=labels,
        instances=instances,
        count=count,
        seed=seed,
        style=style,
        truncation=truncation,
        label=label,
        size=size,
        batch=batch,
        threads=threads,
        workers=workers,
        device=device,
        quality=quality,
        overwrite=overwrite,
        strict=strict,
    )
    there = f", {found.skipped} were there already" if found.skipped else ""
    say(f"{found.folder}: {found.made} made{there}")
    if found.made:
        share = found.model_seconds / found.seconds
        say(
            f"{found.per_second:.2f} pictures a second: the network took {share:.0%} of "
            f"{found.seconds:.1f} s, waiting for files {1 - share:.0%} (decoding and encoding took "
            f"{found.file_seconds:.1f} s beside it)"
        )
