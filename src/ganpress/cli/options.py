"""Options that several commands take, and the check of a file to write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ganpress.errors import ConfigError
from ganpress.run.files import check_ordinary
from ganpress.types.sizes import Size, as_size


def _read_size(text: str) -> Size:
    return as_size(text, "--size")


def size_option(help_: str) -> Any:
    """The option --size: 256, or height x width as 256x512; None where it is not given."""
    return typer.Option("--size", parser=_read_size, metavar="HxW", help=help_)


Photos = Annotated[
    list[Path],
    typer.Option("--images", help="folder, .zip, .tar or .npz of photos; may be repeated"),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="file or folder of feature-network weights")
]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        help="such as efficientnet-lite0,inception-pytorch, of label maps miou-facades; auto: "
        "those whose weights are here; none: the usual ones alone",
    ),
]
FurtherMetrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        help="beside the usual ones, such as efficientnet-lite0,st-lpips-alex; also of variants "
        "that are finished",
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        help="where pictures matter: a network (.onnx, TorchScript, SINet's .pth), boxes (.toml, "
        ".json) or a folder of mask files; as --set mask.source",
    ),
]
MaskCard = Annotated[
    str | None,
    typer.Option("--mask-card", help="of the network: bisenet, sinet, u2netp, or a TOML file"),
]
MaskArea = Annotated[
    float,
    typer.Option(
        "--mask-min-area",
        min=0.0,
        max=0.99,
        help="fraction of the picture below which a mask is taken as empty",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="refuse unreadable images, and files that are not read")
]
RunFolder = Annotated[Path, typer.Option("--run", help="folder of the run; resumes if it exists")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file, or a recipe: 'ganpress settings --list'"),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value, such as target.macs=0.05; key= is the default"),
]
TestPhotos = Annotated[
    list[Path] | None, typer.Option("--test", help="photos never trained on, for the report")
]
Other = Annotated[
    list[Path] | None, typer.Option("--other", help="photos of the other, unpaired domain")
]
Pairs = Annotated[
    Path | None, typer.Option("--pairs", help="targets, paired with the images by name")
]
SideBySide = Annotated[
    str | None, typer.Option("--side-by-side", help="AB: input left, target right; or BA")
]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="label maps, paired with the images by name")
]
Instances = Annotated[Path | None, typer.Option("--instances", help="instance maps, likewise")]
TestPairs = Annotated[
    Path | None, typer.Option("--test-pairs", help="targets of the --test photos")
]
TestLabels = Annotated[
    Path | None, typer.Option("--test-labels", help="label maps of the --test photos")
]
TestInstances = Annotated[
    Path | None, typer.Option("--test-instances", help="instance maps of the --test photos")
]


def with_mask(sets: list[str] | None, mask: Path | None, card: str | None) -> list[str]:
    """What --set gives, and --mask and --mask-card as settings."""
    given = {"mask.source": mask, "mask.card": card}
    return [*(sets or ()), *(f"{name}={value}" for name, value in given.items() if value)]


def check_goes_with(option: str, given: object, **others: object) -> None:
    """Refuse options that say more of what another one gives, where that is not given, so that none
    is passed over in silence. Raises ConfigError.

    Args:
        option: such as "--images"; ``given`` its value.
        others: values by the names of their options, with "_" for "-": side_by_side.
    """
    alone = [f"--{name.replace('_', '-')}" for name, value in others.items() if value]
    if alone and not given:
        raise ConfigError(
            f"{' and '.join(alone)} {'says' if len(alone) == 1 else 'say'} more of {option}, which "
            f"is not given: give that, too, or leave {'it' if len(alone) == 1 else 'them'} out."
        )


def check_file(path: Path, example: str) -> None:
    """Refuse a path where no file can be written, before any work. Raises ConfigError.

    Args: example: a good name for the file, for the message where ``path`` is a folder.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name the file to write, as {path / example}.")
    check_ordinary(path)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"{path} cannot be written: {above} is a file. Choose another path.")


def read_layers(text: str) -> tuple[int, int]:
    """'0-3' or '4' -> the first and the last. Raises ConfigError."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text.strip())
    if not found:
        raise ConfigError(f"--layers {text}: give the first and the last, such as 0-3, or one.")
    return int(found[1]), int(found[2] or found[1])


def listed(text: str) -> list[str]:
    """'a, b' -> ['a', 'b']."""
    return [part.strip() for part in text.split(",") if part.strip()]


def metrics_named(text: str) -> list[str]:
    """The names in --metrics, of which 'none' stands for no metric. Raises ConfigError."""
    from ganpress.measures.image_metrics import check_names

    names = [] if text.strip() == "none" else listed(text)
    check_names(names)
    return names
