"""The pictures of the parts: LFW without 300 photos, which no student sees, and photos to project.

The zoo's teacher was trained on the whole of LFW: photos held out of the compression are new to the
student, not to its teacher. Those of CelebAMask-HQ are new to both.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
TEACHER = ROOT / "zoo" / "stylegan2-lfw.safetensors"
CIFAR_TEACHER = ROOT / "zoo" / "sngan-cifar10.safetensors"
PHOTOS = 4
"""Of each set, to be projected."""
PHOTO_SETS = {"celeba": "celebamask_samples/test_img", "lfw": "lfw128/test"}
COSTS = {"quarter": 0.25, "eleventh": 0.09}
"""Part -> the students' MACs, as a fraction of the teacher's; 0.09 is the paper's."""


def data(name: str) -> Path:
    """A file or folder of the shared pictures."""
    return Path(os.environ["GANPRESS_DATA"]) / name


def sinet() -> list[str]:
    """The portrait network's mask, as options of a command."""
    file = Path(os.environ["GANPRESS_WEIGHTS"]) / "sinet_portrait" / "SINet.pth"
    return ["--mask", str(file), "--mask-card", str(Path(__file__).with_name("sinet.toml"))]


def saliency() -> list[str]:
    """U2-Net's mask, as options of a command; empty where the package that has it is not here."""
    from importlib.util import find_spec

    found = find_spec("rembg")
    for folder in (found.submodule_search_locations or []) if found else []:
        if (file := Path(folder) / "u2netp.onnx").exists():
            return ["--mask", str(file), "--mask-card", "u2netp"]
    return []


def split_faces(runs: Path) -> tuple[Path, Path]:
    """Packs of the faces that students are trained on, and of those held out (lfw128/test)."""
    train, test = runs / "faces.npz", runs / "faces-held-out.npz"
    if not test.exists():
        held = {path.stem for path in data("lfw128/test").iterdir()}
        with np.load(data("lfw64/all.npz")) as pack:
            is_held = np.isin(pack["names"], sorted(held))
            save_some(train, pack, np.flatnonzero(~is_held))
            save_some(test, pack, np.flatnonzero(is_held))
    return train, test


def save_some(path: Path, pack: np.lib.npyio.NpzFile, chosen: np.ndarray) -> None:
    """Write some pictures of a pack of JPEG files, with what it says of each.

    Args: pack: jpeg (bytes,) uint8, offsets (n + 1,), others. chosen: indices, (k,).
    """
    jpeg, offsets = pack["jpeg"], pack["offsets"]
    parts = [jpeg[offsets[i] : offsets[i + 1]] for i in chosen]
    ends = np.cumsum([0, *(len(part) for part in parts)])
    rest = {n: pack[n] for n in pack.files if n not in ("jpeg", "offsets")}
    of_each = {n: x[chosen] if len(x) == len(offsets) - 1 else x for n, x in rest.items()}
    part = path.with_name(f"part-{path.name}")
    arrays: dict[str, Any] = {"jpeg": np.concatenate(parts), "offsets": ends, **of_each}
    np.savez(part, **arrays)
    part.replace(path)


def some_of_cifar10(runs: Path, count: int) -> Path:
    """A pack of test pictures, evenly over the set's order."""
    path = runs / f"cifar10-test-{count}.npz"
    if not path.exists():
        with np.load(data("cifar10/test.npz")) as pack:
            whole = len(pack["offsets"]) - 1
            save_some(path, pack, np.linspace(0, whole - 1, count).astype(int))
    return path


def photos_to_project(runs: Path, count: int = PHOTOS) -> Path:
    """A folder of photos at their own sizes: ``count`` held-out ones of LFW, and as many of
    CelebAMask-HQ, which the teacher has not seen either."""
    folder = runs / f"photos-{count}"
    for name, at in PHOTO_SETS.items():
        for photo in sorted(p for p in data(at).iterdir() if p.suffix in (".jpg", ".png"))[:count]:
            goal = folder / f"{name}-{photo.name}"
            goal.parent.mkdir(parents=True, exist_ok=True)
            if not goal.exists():
                shutil.copyfile(photo, goal)
    return folder
