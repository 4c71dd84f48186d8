"""The commands that show models in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganpress.cli.lines import say
from ganpress.cli.options import SideBySide, check_goes_with, size_option

if TYPE_CHECKING:
    from ganpress.web import Site
    from ganpress.web.server import PageServer

Models = Annotated[
    list[Path],
    typer.Argument(
        help="ganpress models (.safetensors), folders of runs (teacher and student side by side), "
        "or .onnx files of ganpress"
    ),
]
Samples = Annotated[
    list[Path] | None,
    typer.Option("--images", help="pictures to choose from on the page; default: those of the run"),
]
Dynamic = Annotated[
    bool, typer.Option("--dynamic", help="height and width free, for pictures of other sizes")
]
Kind = Annotated[
    str | None,
    typer.Option("--input", help="what opens first: photo, draw, labels or latent"),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes", help="names of labels: facades, cityscapes, coco-stuff, or a .json file"
    ),
]
Moves = Annotated[
    Path | None,
    typer.Option("--directions", help="edit directions of the first model; default: its PCA"),
]
NoGpu = Annotated[
    bool, typer.Option("--webgpu/--no-webgpu", help="with the files for GPUs, 27 MB more")
]
Runtime = Annotated[
    Path | None,
    typer.Option("--onnxruntime-web", help="its npm package's .tgz; default: npm fetches it, once"),
]
PageSize = Annotated[
    Any, size_option("of the pictures, as 256 or 256x512; default: what each was trained with")
]


def site(
    models: Models,
    out: Annotated[Path, typer.Option("-o", "--out", help="the folder to write")],
    images: Samples = None,
    side_by_side: SideBySide = None,
    size: PageSize = None,
    dynamic: Dynamic = False,
    kind: Kind = None,
    classes: Classes = None,
    directions: Moves = None,
    webgpu: NoGpu = True,
    runtime: Runtime = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="also into a folder that holds other files")
    ] = False,
) -> None:
    """Write a page that runs models in the browser, as a folder that any static host serves."""
    from ganpress.web import site as write

    check_goes_with("--images", images, side_by_side=side_by_side)
    written = write(
        models,
        out,
        images=images or (),
        side_by_side=side_by_side,
        size=size,
        dynamic=dynamic,
        kind=kind,
        classes=classes,
        directions=directions,
        webgpu=webgpu,
        runtime=runtime,
        overwrite=overwrite,
    )
    _print_site(written)
    say(f"Serve the folder, or open it here: ganpress serve {written.folder}")


def serve(
    models: Models,
    port: Annotated[int, typer.Option("--port", help="0 for any free one")] = 8000,
    host: Annotated[
        str, typer.Option("--host", help="the address to listen on; 0.0.0.0: the whole network")
    ] = "127.0.0.1",
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="open the page in the browser")
    ] = True,
    images: Samples = None,
    side_by_side: SideBySide = None,
    size: PageSize = None,
    dynamic: Dynamic = False,
    kind: Kind = None,
    classes: Classes = None,
    directions: Moves = None,
    webgpu: NoGpu = True,
    runtime: Runtime = None,
) -> None:
    """Run models in the browser: a page on this machine, until Ctrl-C.

    MODELS can also be the one folder that 'ganpress site' wrote.
    """
    from ganpress.web import serve as show

    check_goes_with("--images", images, side_by_side=side_by_side)
    show(
        models,
        port=port,
        host=host,
        open_browser=open_browser,
        ready=_print_address,
        images=images or (),
        side_by_side=side_by_side,
        size=size,
        dynamic=dynamic,
        kind=kind,
        classes=classes,
        directions=directions,
        webgpu=webgpu,
        runtime=runtime,
    )


def _print_site(written: Site) -> None:
    for model in written.models:
        say(f"{model['title']}: {model['family']}, {model['bytes'] / 1e6:.2f} MB")
    say(
        f"{written.folder}: {written.bytes / 1e6:.1f} MB, of which onnxruntime-web "
        f"{written.runtime_bytes / 1e6:.1f} MB"
    )
    for note in written.notes:
        say(note)


def _print_address(server: PageServer) -> None:
    say(f"{server.url} (Ctrl-C stops it)")
    if server.network_url:
        say(f"from other machines of the network: {server.network_url}")
