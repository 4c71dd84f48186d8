"""The command line in this process, and a small teacher to give it."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ganpress.cli import app as cli
from ganpress.models.checkpoint import Model, full_model, save


@dataclass(frozen=True)
class Told:
    """What a command left."""

    code: int
    out: str
    err: str


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> Told:
    """`ganpress ...` in this process, through the entry point."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        patch.setattr(sys, "argv", ["ganpress", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return Told(code, said.out, said.err)


def teacher_file(path: Path, family: str = "cartoongan") -> Path:
    torch.manual_seed(0)
    model = full_model(family, blocks=1)
    small = model.build(dict.fromkeys(model.widths, 6))
    return save(Model(small, model.family, model.options), path)
