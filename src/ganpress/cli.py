"""The command line: each verb calls one public function and prints what it returns."""

from __future__ import annotations

import json
import shlex
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ganpress.errors import ConfigError, GanpressError, did_you_mean

app = typer.Typer(
    name="ganpress",
    help="Make trained GAN generators small and fast without losing their quality.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console, problems = Console(), Console(stderr=True)

ModelPath = Annotated[Path, typer.Argument(help="a ganpress model (.safetensors)")]
Photos = Annotated[
    list[Path], typer.Option("--images", help="folder or .npz pack of photos; may be repeated")
]
Teacher = Annotated[Path, typer.Option("--teacher", "-t", help="the teacher's model file")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="write the numbers there")]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="file or folder of feature-network weights")
]
Strict = Annotated[bool, typer.Option("--strict", help="refuse unreadable images")]


@app.command("import")
def import_(
    kind: Annotated[str, typer.Argument(help="cartoongan, cyclegan, gan-compression or auto")],
    source: Annotated[Path, typer.Argument(help="the checkpoint of the other code base")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the ganpress model to write")],
    config: Annotated[
        str | None, typer.Option("--config", help="config string of a GAN Compression student")
    ] = None,
) -> None:
    """Read a checkpoint of another code base and write it as a ganpress model."""
    from ganpress.checkpoint import save
    from ganpress.cost import measure
    from ganpress.importers import import_model

    model = import_model(kind, source, config=config)
    save(model, out)
    cost = measure(model.net, model.family.image.size)
    console.print(f"{out}: {model.family.name}, {cost.params:,} parameters.", soft_wrap=True)


@app.command()
def compress(
    method: Annotated[str, typer.Argument(help="slim (GAN Slimming)")],
    teacher: Teacher,
    images: Photos,
    run: Annotated[Path, typer.Option("--run", help="folder of the run; resumes if it exists")],
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML file")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, such as target.macs=0.05")
    ] = None,
    test: Annotated[
        list[Path] | None, typer.Option("--test", help="photos never trained on, for the report")
    ] = None,
    weights: Weights = None,
    strict: Strict = False,
) -> None:
    """Compress a generator; leaves student, ONNX file and report in the run's folder."""
    from ganpress.checkpoint import load
    from ganpress.compression import check_request
    from ganpress.compression import compress as compress_model
    from ganpress.config import SlimConfig, read_config
    from ganpress.data import open_images

    settings = read_config(SlimConfig, config, sets or ())
    check_request(method, settings)
    compress_model(
        load(teacher),
        open_images(images, strict=strict),
        run=run,
        config=settings,
        method=method,
        test=open_images(test, strict=strict) if test else None,
        weights=weights,
        command=shlex.join(["ganpress", *sys.argv[1:]]),
    )
    _tell_run(run)


def _tell_run(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    ratios = results["model"]["ratios"]
    told = ", ".join(f"{k} 1/{v:.2f}" for k, v in ratios.items())
    console.print(f"student/teacher: {told}", soft_wrap=True)
    for name, value in results["evaluation"]["metrics"].items():
        console.print(f"{name}: {value:.4f}", soft_wrap=True)
    console.print(f"student: {(run / 'student.safetensors').resolve()}", soft_wrap=True)
    console.print(f"report:  {(run / 'report.html').resolve()}", soft_wrap=True)


@app.command()
def measure(
    models: Annotated[list[str], typer.Argument(help="model files, or names of families")],
    size: Annotated[int, typer.Option("--size", help="height and width in pixels")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    time: Annotated[bool, typer.Option("--latency", help="measure latency, too")] = False,
) -> None:
    """Parameters, MACs in both conventions, bytes; a family's name means its full network."""
    from ganpress.cost import latency
    from ganpress.cost import measure as count

    found: dict[str, dict[str, Any]] = {}
    for name in models:
        model = _model_or_family(name)
        found[name] = asdict(count(model.net, size))
        if time:
            found[name]["latency"] = asdict(latency(model, size=size))
    if as_json:
        out: Any = found[models[0]] if len(models) == 1 else found
        print(json.dumps(out, indent=2))
        return
    table = Table(title=f"one image of {size} x {size}; 1 G = 1e9")
    for head in ("model", "params", "MACs (true)", "MACs (out-res)", "bytes"):
        table.add_column(head, justify="left" if head == "model" else "right")
    for name, c in found.items():
        macs = (f"{c[k] / 1e9:.3f} G" for k in ("macs", "macs_outres"))
        table.add_row(name, f"{c['params']:,}", *macs, f"{c['bytes']:,}")
    console.print(table)


def _model_or_family(name: str) -> Any:
    from ganpress.checkpoint import full_model, load
    from ganpress.families import FAMILIES

    if name in FAMILIES:
        return full_model(name)
    if not Path(name).exists() and "." not in name and "/" not in name:
        raise ConfigError(
            f"'{name}' is neither a file nor a family{did_you_mean(name, FAMILIES)}. "
            f"Families: {', '.join(FAMILIES)}."
        )
    return load(name)


@app.command()
def evaluate(
    student: ModelPath,
    teacher: Teacher,
    images: Photos,
    size: Annotated[int | None, typer.Option("--size", help="pixels; default: 256")] = None,
    features: Annotated[str, typer.Option("--features")] = "squeezenet",
    json_file: JsonFile = None,
    weights: Weights = None,
    strict: Strict = False,
) -> None:
    """Distance of a student's pictures to its teacher's on the same photos."""
    from ganpress.checkpoint import load
    from ganpress.data import open_images
    from ganpress.evaluation import evaluate as compare
    from ganpress.files import write_json

    found = compare(
        load(student),
        load(teacher),
        open_images(images, strict=strict),
        size=size,
        features=features,
        weights=weights,
    )
    for name, value in found.metrics.items():
        spread = found.spread[name]
        console.print(f"{name}: {value:.4f} (± {spread:.4f}, {found.count} photos)", soft_wrap=True)
    for name, text in found.protocol.items():
        console.print(f"  {name}: {text}", style="dim", soft_wrap=True)
    if json_file:
        write_json(json_file, found.as_dict())


@app.command()
def export(
    model: ModelPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="the file to write")],
    to: Annotated[str, typer.Option("--to", help="onnx")] = "onnx",
    size: Annotated[int | None, typer.Option("--size", help="example size in pixels")] = None,
) -> None:
    """Export a model and verify the file against torch."""
    from ganpress.checkpoint import load
    from ganpress.exporters import export as write

    loaded = load(model)
    facts = write(loaded, out, to=to, size=size or loaded.family.image.size)
    console.print(
        f"{facts.file}: {facts.bytes:,} bytes, differs from torch by at most "
        f"{facts.max_abs_diff:.2e} (mean {facts.mean_abs_diff:.2e}).",
        soft_wrap=True,
    )


@app.command()
def report(run: Annotated[Path, typer.Argument(help="folder of a run")]) -> None:
    """Write report.html again from what the run's folder holds."""
    from ganpress.report import write_report

    console.print(str(write_report(run).resolve()), soft_wrap=True)


@app.command()
def settings() -> None:
    """Every setting with its default and meaning."""
    from ganpress.config import SlimConfig, describe

    for name, default, meaning in describe(SlimConfig):
        console.print(
            f"{name} = {default}" + (f"   # {meaning}" if meaning else ""), soft_wrap=True
        )


@app.command()
def demo(
    run: Annotated[Path, typer.Option("--run", help="folder")] = Path("runs/demo"),
) -> None:
    """The whole line on pictures drawn here: slim a small teacher, export, check, report."""
    from ganpress.demo.line import run_demo

    run_demo(run)
    _tell_run(run)


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
    except KeyboardInterrupt:
        sys.exit(130)


def _os_trouble(error: OSError) -> str:
    return f"{error.filename} cannot be used: {error.strerror}. Choose another path."


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    problems.print(f"[yellow]warning:[/] {_plain(str(message))}", soft_wrap=True)


if __name__ == "__main__":
    main()
