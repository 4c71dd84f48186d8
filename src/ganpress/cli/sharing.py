"""The commands that share models: to and from the hub, and model cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganpress.cli.lines import say
from ganpress.cli.options import check_file

Shared = Annotated[Path, typer.Argument(help="a ganpress model (.safetensors), or a run's folder")]
Repo = Annotated[str, typer.Argument(help="owner/name on the hub")]
Licence = Annotated[
    str | None,
    typer.Option("--licence", help="identifier of the hub's list, such as cc-by-4.0 or other"),
]
Terms = Annotated[
    str | None,
    typer.Option("--terms", help="a sentence: whose the data are, and on what terms"),
]
Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", help="a data set's name; may be repeated")
]
Revision = Annotated[str | None, typer.Option("--revision", help="branch, tag or commit")]


def push(
    source: Shared,
    repo: Repo,
    private: Annotated[
        bool, typer.Option("--private", help="a repository that only its owner sees")
    ] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="of the commit")] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="branch; made where there is none")
    ] = None,
    licence: Licence = None,
    terms: Terms = None,
    datasets: Datasets = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help=".png or .jpg file to show; default: samples")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="share an ONNX file, too")] = True,
) -> None:
    """Share a model on the hub: weights, ONNX file, card with costs and terms, a picture.

    The token is that of 'hf auth login', or HF_TOKEN; HF_ENDPOINT names another hub.
    """
    from ganpress.sharing.push import push as send

    made = send(
        source,
        repo,
        private=private,
        message=message,
        revision=revision,
        licence=licence,
        terms=terms,
        datasets=datasets or (),
        picture=picture,
        onnx=onnx,
    )
    say(f"{made.url}: {', '.join(made.files)}, {sum(made.files.values()):,} bytes")
    say(f'load it with ganpress.load("{made.address}"), or --teacher {made.address}')


def pull(
    repo: Annotated[str, typer.Argument(help="owner/name, or owner/name@revision/file")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="folder; default: the repository's name")
    ] = None,
    revision: Revision = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="over other files of the same names")
    ] = False,
) -> None:
    """Fetch a model and what lies beside it from the hub; nothing that could run code."""
    from ganpress.sharing.pull import pull as fetch

    found = fetch(repo, out, revision=revision, overwrite=overwrite)
    names = ", ".join(path.name for path in found.files)
    say(f"{found.folder}: {names}, of commit {found.commit[:12]}")
    if found.left:
        say(f"not fetched, as of no kind that ganpress reads: {', '.join(found.left)}")


def card(
    source: Shared,
    out: Annotated[Path, typer.Option("-o", "--out", help="the Markdown file to write")],
    repo: Annotated[
        str | None, typer.Option("--repo", help="owner/name where it is, or will be, on the hub")
    ] = None,
    licence: Licence = None,
    terms: Terms = None,
    datasets: Datasets = None,
) -> None:
    """Write a model's card: costs, metrics and protocol, where it comes from, on whose terms."""
    from ganpress.run.hub.address import check_repo
    from ganpress.sharing.model_card import write_card

    check_file(out, "README.md")
    if repo is not None:
        check_repo(repo)
    stated = write_card(
        source, out, repo=repo, licence=licence, terms=terms, datasets=datasets or ()
    )
    say(str(out))
    if stated.advice:
        say(stated.advice)
