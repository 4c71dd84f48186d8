"""The commands of `ganpress data`: public data sets, fetched or prepared."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ganpress.cli.lines import say

app = typer.Typer(help="Public data sets of the papers.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="a name that `ganpress data list` shows")]
To = Annotated[Path, typer.Option("--to", help="folder that gets a folder of the set's name")]


@app.command("list")
def list_() -> None:
    """Every set: what it is, how it comes, on whose terms, and how to train with it."""
    from ganpress.data.public import PUBLIC

    for name, entry in PUBLIC.items():
        verb = f"get {name}" if entry.url else f"prepare {name} --from FOLDER"
        train = entry.train.format(f"data/{name}", 64)
        say(f": {entry.what}", title=name)
        say(f"  {entry.kind}, {entry.size}; terms: {entry.terms}")
        for line in (f"data {verb}", f"train {train}"):
            say(f"  ganpress {line}")


@app.command()
def get(name: Name, to: To = Path("data")) -> None:
    """Fetch a set; a broken download goes on where it stopped.

    GANPRESS_MIRROR names another host (http://...) with the same paths.
    """
    from ganpress.data.fetch import get_public

    _print_set(name, get_public(name, to))


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="cityscapes, coco_stuff, celeba or ffhq")],
    source: Annotated[Path, typer.Option("--from", help="folder of the publisher's files")],
    to: To = Path("data"),
    side: Annotated[int, typer.Option("--side", help="of a face picture, pixels")] = 64,
    pack: Annotated[bool, typer.Option("--pack", help="faces in one .npz")] = False,
) -> None:
    """Lay out a set that its publisher gives to registered users, or that is very large."""
    from ganpress.data.prepare import prepare as lay_out

    _print_set(name, lay_out(name, source, to, side=side, pack=pack), side)


def _print_set(name: str, folder: Path, side: int = 0) -> None:
    from ganpress.data.public import PUBLIC

    entry = PUBLIC[name]
    packed = folder / "faces.npz"
    where = shlex.quote(str(packed if packed.exists() else folder))
    say(f"{folder}: {entry.what}. Terms: {entry.terms}.")
    say(f"ganpress train {entry.train.format(where, side)}")
