"""The commands that read other code bases' checkpoints and that export models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperCommand

from ganpress.cli.lines import say
from ganpress.cli.options import check_file, size_option
from ganpress.cli.tables import print_table
from ganpress.errors import ConfigError

if TYPE_CHECKING:
    from ganpress.data import Images
    from ganpress.formats.exporters import ExportFacts
    from ganpress.models.checkpoint import Model


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
    count = sum(p.numel() for p in model.net.parameters())
    beside = f", with its discriminator ({model.discriminator.kind})" if model.discriminator else ""
    network = model.provenance.get("entry")
    which = f" of '{network}'" if network else ""
    say(f"{out}: {model.family.name}{which}, {count:,} parameters{beside}.")
    for option, found in model.provenance.get("assumed", {}).items():
        say(sentence(option, found))


def kinds() -> None:
    """The code bases whose files 'ganpress import' reads, and where 'export --to' goes back to."""
    from ganpress.formats.exporters.pth import LAYOUTS
    from ganpress.formats.importers.kinds import READERS

    table = Table("kind", "files", "its options", "discriminator", title="ganpress import KIND")
    for name, kind in READERS.items():
        has = "yes" if kind.discriminator else ""
        table.add_row(name, kind.title, ", ".join(kind.options), has)
    print_table(table)
    for target, families in LAYOUTS.items():
        say(f"export --to {target}: {', '.join(families)}")
    say("export --to pth-plain: every family, a torch module of its own")


class ExportCommand(TyperCommand):
    """`export`, whose help names its targets; torch is imported only where the help is asked."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from ganpress.formats.exporters import TARGETS

        for option in self.params:
            if option.name == "to":
                option.help = f"one of {', '.join(TARGETS)}"  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


def export(
    model: Annotated[Path, typer.Argument(help="a ganpress model (.safetensors)")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the file to write")],
    to: Annotated[str, typer.Option("--to", help="the target")] = "onnx",
    size: Annotated[
        Any, size_option("of the pictures that the file takes, as 256 or 256x512")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="pictures at a time")] = 1,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="any batch, and any size that the network takes")
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="fp32, fp16, bf16 or int8; default: the model's own"),
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option("--calibrate", help="pictures that an int8 file's ranges are found on"),
    ] = None,
    as_bytes: Annotated[
        bool, typer.Option("--bytes", help="pictures in and out as uint8, (n, h, w, c)")
    ] = False,
    opset: Annotated[
        int | None, typer.Option("--opset", help="of ONNX; default: the lowest that can be")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="check on 20 of these, and write <file>.parity.json"),
    ] = None,
    instances: Annotated[
        Path | None,
        typer.Option("--instances", help="instance maps, where --images are label maps"),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="check on so many draws of noise")
    ] = None,
    pad: Annotated[
        bool,
        typer.Option("--pad", help="to pth-*: zero channels up to widths that the class can have"),
    ] = False,
) -> None:
    """Export a model and verify the file against torch."""
    from ganpress.formats.exporters import SUFFIXES, Form, check_suffix
    from ganpress.formats.exporters import export as write
    from ganpress.formats.exporters.form import as_precision
    from ganpress.models.checkpoint import load

    check_file(out, f"model{SUFFIXES.get(to, ('.onnx',))[0]}")
    if to in SUFFIXES:
        check_suffix(out, to)
    student = load(model)
    _check_instances(student, given=instances is not None, of_maps=bool(images or calibrate))
    form = Form(
        student.resolve_size(size), batch, dynamic, opset,
        None if precision is None else as_precision(precision), as_bytes,
    )  # fmt: skip
    facts = write(
        student,
        out,
        to=to,
        pad=pad,
        form=form,
        images=_checked_on(student, images, instances, count),
        calibrate=_opened(student, calibrate, instances),
    )
    at = f"opset {facts.opset}, IR {facts.ir}, " if facts.ir and to == "onnx" else ""
    say(
        f"{facts.file}: {at}{facts.bytes:,} bytes, differs from torch by at most "
        f"{facts.max_abs_diff:.2e} (mean {facts.mean_abs_diff:.2e})."
    )
    if facts.parity:
        say(f"checked on pictures: {facts.parity}")
    print_upstream(student, facts, size, pad=pad)


def _checked_on(
    model: Model, images: list[Path] | None, instances: Path | None, count: int | None
) -> Images | int | None:
    """What a file is checked on: pictures, or a number of draws. Raises ConfigError."""
    from ganpress.models.inputs import from_noise

    if count is not None and not from_noise(model):
        raise ConfigError(
            f"A '{model.family.name}' generator reads pictures: give them (--images DIR) in place "
            "of --count."
        )
    if images and from_noise(model):
        raise ConfigError(
            f"A '{model.family.name}' generator reads noise: check it on draws (--count 20) in "
            "place of --images."
        )
    return count if count is not None else _opened(model, images, instances)


def _check_instances(model: Model, *, given: bool, of_maps: bool) -> None:
    """Refuse instance maps without the label maps that they belong to: ConfigError."""
    from ganpress.models.inputs import reads

    if given and "semantics" not in reads(model):
        raise ConfigError(
            f"A '{model.family.name}' generator reads no label maps: leave --instances out."
        )
    if given and not of_maps:
        raise ConfigError(
            "--instances belong to the label maps of --images or --calibrate: give one of these, "
            "or leave --instances out."
        )


def _opened(model: Model, folders: list[Path] | None, instances: Path | None) -> Images | None:
    """Pictures as the network reads them: label maps where it reads those."""
    from ganpress.data import open_images
    from ganpress.models.inputs import reads

    if not folders:
        return None
    if "semantics" not in reads(model):
        return open_images(folders, single=True)
    if len(folders) > 1:
        raise ConfigError("Label maps come from one folder: give one.")
    return open_images(folders, labels=folders[0], instances=instances)


def print_upstream(student: Model, facts: ExportFacts, size: int | None, *, pad: bool) -> None:
    """The class that takes the file, what padding costs, and what lies beside the file."""
    from ganpress.measures.cost import CostTable

    lines = [f"taken by {facts.upstream}"] if facts.upstream else []
    if facts.widths:
        table = CostTable(student.net, size or student.size)
        own, wide = table(), table(facts.widths)
        lines.append(
            f"padded with zero channels: {own.macs / 1e9:.3f} G MACs -> {wide.macs / 1e9:.3f} G "
            f"({wide.macs / own.macs:.2f} times), {own.bytes:,} bytes -> {wide.bytes:,} "
            f"({wide.bytes / own.bytes:.2f} times)"
        )
    elif pad:
        lines.append("--pad: nothing to pad, the widths are the class's own")
    if facts.beside:
        beside = " with ".join(str(path) for path in facts.beside)
        lines.append(f"beside it, in plain torch at the student's own widths: {beside}")
    for line in lines:
        say(line)
