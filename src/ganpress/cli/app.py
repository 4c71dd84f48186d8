"""The command line: each verb calls one public function and prints what it returns."""

from __future__ import annotations

import json
import os
import shlex
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand

from ganpress import __version__
from ganpress.cli import ablate as cli_ablate
from ganpress.cli import data as cli_data
from ganpress.cli import evaluation as cli_evaluation
from ganpress.cli import generation as cli_generation
from ganpress.cli import training as cli_training
from ganpress.cli.exporting import print_upstream
from ganpress.cli.options import (
    ConfigFile,
    Instances,
    Labels,
    Pairs,
    RunFolder,
    Sets,
    Strict,
    TestInstances,
    TestLabels,
    TestPhotos,
    Weights,
    check_file,
    size_option,
)
from ganpress.errors import ConfigError, GanpressError

app = typer.Typer(
    name="ganpress",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_data.app, name="data")
app.command()(cli_training.train)
app.command()(cli_training.families)
app.command("run")(cli_generation.run)
app.command()(cli_evaluation.evaluate)
app.command()(cli_evaluation.measure)
app.command()(cli_ablate.ablate)
app.command()(cli_ablate.report)
console, problems = Console(), Console(stderr=True)
STOPPED = 130  # the exit code of Ctrl-C

ModelPath = Annotated[Path, typer.Argument(help="a ganpress model (.safetensors)")]
Teacher = Annotated[Path, typer.Option("--teacher", "-t", help="the teacher's model file")]


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


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="auto, or the code base: 'ganpress kinds'")],
    source: Annotated[Path, typer.Argument(help="the checkpoint of the other code base")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the ganpress model to write")],
    config: Annotated[
        str | None, typer.Option("--config", help="config string of a GAN Compression student")
    ] = None,
    discriminator: Annotated[
        Path | None, typer.Option("--discriminator", help="the file of its discriminator")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", help="key=value that the file cannot say, as upsampling=more"),
    ] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", help="which generator of a file of several, as G_A2B")
    ] = None,
) -> None:
    """Read a checkpoint of another code base and write it as a ganpress model.

    Prints what the file cannot say and had to be assumed, with the alternatives.
    """
    from ganpress.formats.importers import import_model
    from ganpress.formats.importers.assumed import sentence
    from ganpress.measures.cost import measure
    from ganpress.models.checkpoint import save
    from ganpress.run.settings import pairs

    check_file(out, "model.safetensors")
    if out.suffix.lower() not in ("", ".safetensors"):
        raise ConfigError(
            f"A ganpress model is a .safetensors file: name it {out.with_suffix('.safetensors')}, "
            f"not {out}."
        )
    more = pairs(options or [], "--option")
    for name in more.keys() & {"kind", "source", "config", "discriminator", "entry"}:
        raise ConfigError(f"'{name}' is no --option, it stands by itself: ganpress import --help.")
    model = import_model(
        kind, source, config=config, discriminator=discriminator, entry=entry, **more
    )
    save(model, out)
    cost = measure(model.net, model.size)
    beside = f", with its discriminator ({model.discriminator.kind})" if model.discriminator else ""
    network = model.provenance.get("entry")
    which = f" of '{network}'" if network else ""
    console.print(
        f"{out}: {model.family.name}{which}, {cost.params:,} parameters{beside}.", soft_wrap=True
    )
    for option, found in model.provenance.get("assumed", {}).items():
        line = sentence(option, found)
        console.print(line, soft_wrap=True, markup=False, highlight=False)


@app.command()
def kinds() -> None:
    """The code bases whose files 'ganpress import' reads, and where 'export --to' goes back to."""
    from ganpress.formats.exporters.pth import LAYOUTS
    from ganpress.formats.importers.kinds import READERS

    table = Table("kind", "files", "its options", "discriminator", title="ganpress import KIND")
    for name, kind in READERS.items():
        has = "yes" if kind.discriminator else ""
        table.add_row(name, kind.title, ", ".join(kind.options), has)
    console.print(table)
    for target, families in LAYOUTS.items():
        console.print(f"export --to {target}: {', '.join(families)}", soft_wrap=True)
    console.print("export --to pth-plain: every family, a torch module of its own", soft_wrap=True)


@app.command()
def compress(
    method: Annotated[str, typer.Argument(help="one of 'ganpress methods'")],
    teacher: Teacher,
    run: RunFolder,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images", help="folder, .zip, .tar or .npz; not needed where it reads noise"
        ),
    ] = None,
    pairs: Pairs = None,
    labels: Labels = None,
    instances: Instances = None,
    reals: Annotated[
        list[Path] | None,
        typer.Option(
            "--reals", help="pictures of the target domain, for discriminator.real=images"
        ),
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    test: TestPhotos = None,
    test_labels: TestLabels = None,
    test_instances: TestInstances = None,
    match_colours: Annotated[
        bool,
        typer.Option("--match-colours", help="in the report, made pictures in the photo's colours"),
    ] = False,
    weights: Weights = None,
    strict: Strict = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="go on from this student of the teacher (file or run folder); targets are still "
            "fractions of the teacher's; the same files and settings give the same bits",
        ),
    ] = None,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="give a finished run more steps (--set finetune.steps=...): it goes on from its "
            "last state, at the rates of a run of the new length; repeatable to the bit",
        ),
    ] = False,
) -> None:
    """Compress a generator; leaves student, ONNX file and report in the run's folder."""
    from ganpress.data import open_images
    from ganpress.methods import method as method_of
    from ganpress.methods.compress import check_request
    from ganpress.methods.compress import compress as compress_model
    from ganpress.models.checkpoint import load
    from ganpress.run.settings import read_config
    from ganpress.training.start import open_start

    settings = read_config(method_of(method).settings, config, sets or ())
    check_request(method, settings)
    compress_model(
        load(teacher),
        open_images(images, pairs=pairs, labels=labels, instances=instances, strict=strict)
        if images
        else None,
        run=run,
        config=settings,
        method=method,
        test=open_images(test, labels=test_labels, instances=test_instances, strict=strict)
        if test
        else None,
        reals=open_images(reals, strict=strict) if reals else None,
        weights=weights,
        start=open_start(method, start) if start else None,
        extend=extend,
        match_colours=match_colours,
        command=shlex.join(["ganpress", *sys.argv[1:]]),
    )
    _print_run(run)


def _print_run(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    ratios = results["model"]["ratios"]
    shown = ", ".join(f"{k} 1/{v:.2f}" for k, v in ratios.items())
    console.print(f"student/teacher: {shown}", soft_wrap=True)
    for name, value in results["evaluation"]["metrics"].items():
        console.print(f"{name}: {value:.4f}", soft_wrap=True)
    console.print(f"student: {(run / 'student.safetensors').resolve()}", soft_wrap=True)
    console.print(f"report:  {(run / 'report.html').resolve()}", soft_wrap=True)


class _Export(TyperCommand):
    """`export`, whose help names its targets; torch is imported only where the help is asked."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from ganpress.formats.exporters import TARGETS

        for option in self.params:
            if option.name == "to":
                option.help = f"one of {', '.join(TARGETS)}"  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


@app.command(cls=_Export)
def export(
    model: ModelPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="the file to write")],
    to: Annotated[str, typer.Option("--to", help="the target")] = "onnx",
    size: Annotated[Any, size_option("example size in pixels, as 256 or 256x512")] = None,
    pad: Annotated[
        bool,
        typer.Option("--pad", help="to pth-*: zero channels up to widths that the class can have"),
    ] = False,
) -> None:
    """Export a model and verify the file against torch."""
    from ganpress.formats.exporters import SUFFIXES, check_suffix
    from ganpress.formats.exporters import export as write
    from ganpress.models.checkpoint import load

    check_file(out, f"model{SUFFIXES.get(to, ('.onnx',))[0]}")
    if to in SUFFIXES:
        check_suffix(out, to)
    student = load(model)
    facts = write(student, out, to=to, size=size, pad=pad)
    console.print(
        f"{facts.file}: {facts.bytes:,} bytes, differs from torch by at most "
        f"{facts.max_abs_diff:.2e} (mean {facts.mean_abs_diff:.2e}).",
        soft_wrap=True,
    )
    print_upstream(student, facts, size, pad=pad)


@app.command()
def methods() -> None:
    """The compression methods: their papers, and the variants that 'ganpress ablate' compares."""
    from ganpress.methods import METHODS

    for name, method in METHODS.items():
        console.print(f"[bold]{name}[/]: {method.paper}", highlight=False, soft_wrap=True)
        for variant, what in method.variants.items():
            console.print(f"  {variant}: {what.meaning}", highlight=False, soft_wrap=True)


@app.command()
def settings(
    of: Annotated[
        str, typer.Argument(help="a method, or the family that is to be trained")
    ] = "slim",
    listed: Annotated[
        bool, typer.Option("--list", help="the recipes that --config knows by name")
    ] = False,
) -> None:
    """Every setting with its default and meaning, as a file that --config reads."""
    from ganpress.methods import METHODS
    from ganpress.run.recipes import recipes, summary_of
    from ganpress.run.settings import as_toml
    from ganpress.training.train import trainer

    if listed:
        for kind in (*METHODS, "train", "ablate"):
            verb = kind if kind in ("train", "ablate") else f"compress {kind}"
            console.print(f"[bold]ganpress {verb}[/]", highlight=False)
            for name, file in sorted(recipes([kind]).items()):
                console.print(f"  {name}: {summary_of(file)}", highlight=False, soft_wrap=True)
        return
    known = METHODS[of].settings if of in METHODS else trainer(of).config
    console.out(as_toml(known), end="", highlight=False)


@app.command()
def demo(
    run: Annotated[Path, typer.Option("--run", help="folder")] = Path("runs/demo"),
) -> None:
    """The whole line on pictures drawn here: slim a small teacher, export, check, report."""
    from ganpress.cli.demo import run_demo

    run_demo(run)
    _print_run(run)


def main() -> None:
    """Run the CLI; a user's error is one message and exit code 2, without a traceback."""
    warnings.showwarning = _show_warning
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
