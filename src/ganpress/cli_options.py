"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Photos = Annotated[
    list[Path], typer.Option("--images", help="folder or .npz pack of photos; may be repeated")
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="file or folder of feature-network weights")
]
Strict = Annotated[bool, typer.Option("--strict", help="refuse unreadable images")]
RunFolder = Annotated[Path, typer.Option("--run", help="folder of the run; resumes if it exists")]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file")]
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
TestLabels = Annotated[
    Path | None, typer.Option("--test-labels", help="label maps of the --test photos")
]
TestInstances = Annotated[
    Path | None, typer.Option("--test-instances", help="instance maps of the --test photos")
]
