"""The command line: each verb calls one public function and prints what it returns."""

from __future__ import annotations

import os
import re
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ganpress import __version__
from ganpress.cli import ablate as cli_ablate
from ganpress.cli import bench as cli_bench
from ganpress.cli import compression as cli_compression
from ganpress.cli import data as cli_data
from ganpress.cli import edit_directions as cli_edit_directions
from ganpress.cli import editing as cli_editing
from ganpress.cli import evaluation as cli_evaluation
from ganpress.cli import formats as cli_formats
from ganpress.cli import generation as cli_generation
from ganpress.cli import sharing as cli_sharing
from ganpress.cli import training as cli_training
from ganpress.cli import web as cli_web
from ganpress.errors import GanpressError

app = typer.Typer(
    name="ganpress",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_data.app, name="data")
cli_editing.app.command()(cli_edit_directions.directions)
cli_editing.app.command()(cli_edit_directions.sliders)
app.add_typer(cli_editing.app, name="edit")
app.command()(cli_training.train)
app.command()(cli_training.families)
app.command("run")(cli_generation.run)
app.command()(cli_evaluation.evaluate)
app.command()(cli_evaluation.measure)
app.command()(cli_bench.bench)
app.command()(cli_ablate.ablate)
app.command()(cli_ablate.report)
app.command()(cli_sharing.push)
app.command()(cli_sharing.pull)
app.command()(cli_sharing.card)
app.command("import")(cli_formats.import_)
app.command()(cli_formats.kinds)
app.command()(cli_compression.compress)
app.command(cls=cli_formats.ExportCommand)(cli_formats.export)
app.command()(cli_web.serve)
app.command()(cli_web.site)
app.command()(cli_compression.methods)
app.command()(cli_compression.settings)
app.command()(cli_compression.demo)
problems = Console(stderr=True)
STOPPED = 130  # the exit code of Ctrl-C


def _print_versions(asked: bool) -> None:
    if not asked:
        return
    try:
        torch = version("torch")  # without importing it
    except PackageNotFoundError:
        torch = "unknown"
    print(f"ganpress {__version__}, torch {torch}, python {sys.version.split()[0]}")
    raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_versions,
            is_eager=True,
            help="versions of ganpress, torch and python",
        ),
    ] = False,
) -> None:
    """Make trained GAN generators small and fast without losing their quality."""


def main() -> None:
    """Run the CLI; a user's error is one message and exit code 2, without a traceback."""
    warnings.showwarning = _show_warning
    sys.argv[1:] = map(_at_home, sys.argv[1:])
    try:
        app()
    except GanpressError as error:
        problems.print(f"[bold red]error:[/] {_plain(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        problems.print(f"[bold red]error:[/] {_plain(_os_trouble(error))}", soft_wrap=True)
        sys.exit(GanpressError.exit_code)
    except SystemExit as end:  # typer makes this of a Ctrl-C while a command runs
        if end.code == STOPPED:
            _print_stopped()
        raise
    except KeyboardInterrupt:
        _print_stopped()
        sys.exit(STOPPED)


def _at_home(word: str) -> str:
    """'~/x' and 'anything=~/x' with the home folder, which shells put into the first, unquoted."""
    found = re.fullmatch(r"((?:[\w.-]+=)?)(~(?:/.*)?)", word, re.DOTALL)
    return found[1] + os.path.expanduser(found[2]) if found else word


def _print_stopped() -> None:
    """One line on stderr: whether the same command goes on where this one was stopped."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    asked = next((commands[word] for word in sys.argv[1:] if word in commands), None)
    goes_on = asked is not None and any("--run" in option.opts for option in asked.params)
    print(f"Stopped.{' Run the same command again to go on.' if goes_on else ''}", file=sys.stderr)


def _os_trouble(error: OSError) -> str:
    name = error.filename2 or error.filename
    path = Path(os.fsdecode(name) if isinstance(name, str | bytes) else str(name))
    if path.is_dir():
        return f"{path} is a folder, where a file is needed. Choose another path."
    return f"{path} cannot be used: {error.strerror}. Choose another path."


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    problems.print(f"[yellow]warning:[/] {_plain(str(message))}", soft_wrap=True)


if __name__ == "__main__":
    main()
