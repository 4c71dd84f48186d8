"""What tests of the page share: a stand-in for onnxruntime-web's npm package, and small models."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
import torch
from nets import Wiring

from ganpress.models.checkpoint import Model, save
from ganpress.web import runtime
from ganpress.web.runtime import WASM, WEBGPU, Package


def archive(path: Path, *, text: str = "stand-in") -> Path:
    """An .tgz with the files that pages take of the package, none of which does anything."""
    with tarfile.open(path, "w:gz") as opened:
        for name in (*WASM, *WEBGPU, "ort.all.min.js"):
            data = f"// {text}: {name}".encode()
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            opened.addfile(member, io.BytesIO(data))
    return path


def integrity(path: Path) -> str:
    """SHA-512 as npm's lock files have it."""
    return f"sha512-{base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()}"


def stand_in(patch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Pin an archive of one's own in place of onnxruntime-web's; kept in a cache of its own."""
    made = archive(folder / "stand-in.tgz")
    patch.setattr(runtime, "PACKAGE", Package("onnxruntime-web", "0.0.1", integrity(made)))
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    patch.setenv(runtime.VARIABLE, str(made))
    return made


def saved(path: Path, wiring: Wiring, seed: int = 0) -> tuple[Path, Model]:
    """A tiny model of a family, and its file."""
    torch.manual_seed(seed)
    model = wiring.model(seed)
    return save(model, path), model
