"""Recipes of GAN Compression resolve and pass the check against a teacher of their family; their
steps and budgets are the authors' epochs and MACs."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganpress.data import Images, open_images
from ganpress.measures.cost import CostTable
from ganpress.methods.base import Given
from ganpress.methods.once_for_all.requests import budget_of, check, resolve, space_of
from ganpress.methods.once_for_all.search.spaces import published_space
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.models.checkpoint import Model, full_model
from ganpress.models.families import family
from ganpress.run.recipes import recipes
from ganpress.run.settings import read_config

RECIPES = recipes(["once-for-all"])
ABLATIONS = {n: f for n, f in recipes(["ablate"]).items() if n.startswith("once-for-all")}
CITYSCAPES = {"labels": 35, "edges": True, "upsampling": "more"}
COCO = {"labels": 183, "edges": True, "upsampling": "normal"}
# Task -> family, options, pictures trained on, batch, size of the picture.
TASKS: dict[str, tuple[str, dict[str, Any], int, int, Any]] = {
    "horse2zebra": ("cyclegan", {}, 1334 - 120, 1, 256),
    "edges2shoes": ("cyclegan", {}, 45929, 4, 256),
    "cityscapes": ("cyclegan", {}, 2775, 1, 256),
    "maps": ("cyclegan", {}, 796, 1, 256),
    "gaugan-cityscapes": ("gaugan", CITYSCAPES, 2775, 16, (256, 512)),
    "gaugan-coco": ("gaugan", COCO, 118287 - 500, 32, 256),
    "munit-edges2shoes": ("munit", {"style_encoder": True}, 1, 1, 256),
}
# Recipe -> epochs of predistil, supernet, finetune; the authors' budget, in MACs of their own
# convention; the width set that they found.
PUBLISHED = {
    "full-horse2zebra": ((200, 400, 0), 3.0e9, "16_16_32_16_32_32_16_16"),
    "fast-horse2zebra": ((0, 400, 0), 3.0e9, "16_16_24_16_32_64_16_24"),
    "full-edges2shoes": ((20, 40, 20), 4.9e9, "32_32_48_32_48_48_16_16"),
    "fast-edges2shoes": ((0, 40, 0), 4.9e9, "24_24_40_56_24_56_16_40"),
    "full-cityscapes": ((250, 500, 0), 5.7e9, "32_32_48_32_32_48_24_24"),
    "fast-cityscapes": ((0, 500, 0), 5.7e9, "16_24_48_56_40_48_24_16"),
    "full-maps": ((300, 600, 300), 4.6e9, "32_32_48_32_48_32_16_16"),
    "fast-maps": ((0, 600, 0), 4.6e9, "16_16_40_40_40_64_24_16"),
    "full-gaugan-cityscapes": ((200, 200, 200), 32e9, "32_40_40_32_40_24_32_24"),
    "fast-gaugan-cityscapes": ((0, 400, 0), 32e9, "32_32_32_48_32_24_24_32"),
    "fast-gaugan-coco": ((0, 100, 0), 36e9, "40_32_32_40_32_40_24_24"),
    "fast-munit-edges2shoes": ((0, 2_000_000, 0), 2.7e9, "16_16_16_24_56_16_40_40_32_24"),
}
OUTSIDE = {"munit": 2.603 / 2.096}
"""The authors' MACs of their student over ours, where they count what a picture does not need."""


def teacher_of(task: str) -> Model:
    """The task's teacher in full width, without numbers."""
    name, options, *_ = TASKS[task]
    with torch.device("meta"):
        return full_model(name, **options)


@pytest.fixture(scope="module")
def given_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of three pictures, and of label maps."""
    root = tmp_path_factory.mktemp("pictures")
    for folder, shape in {"x": (40, 80, 3), "y": (40, 80, 3), "labels": (40, 80)}.items():
        (root / folder).mkdir()
        for n in range(3):
            Image.fromarray(np.full(shape, n, np.uint8)).save(root / folder / f"{n}.png")
    return root


def given_for(teacher: Model, task: str, root: Path) -> Given:
    if teacher.family.name == "gaugan":
        images = open_images(root / "x", labels=root / "labels", instances=root / "labels")
        return Given(teacher, images, None, None)
    if task in ("horse2zebra", "munit-edges2shoes"):
        reals: Images = open_images(root / "y")
        return Given(teacher, open_images(root / "x"), reals, None)
    return Given(teacher, open_images(root / "x", pairs=root / "y"), None, None)


ON_A_CPU = ("once-for-all-cpu", "once-for-all-shrinking-cpu")


def test_every_published_task_has_its_recipe_and_every_recipe_is_tested() -> None:
    named = {f"gan-compression-{name}" for name in PUBLISHED}
    assert set(RECIPES) == named | {*ON_A_CPU}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_resolves_and_passes_the_check_of_its_teacher(
    name: str, given_images: Path
) -> None:
    task = name.partition("-")[2]
    teacher = teacher_of(task)
    given = given_for(teacher, task, given_images)
    sets = ["device=cpu", "search.images=2"]  # the test has three pictures and no GPU
    config = resolve(given, read_config(OnceForAllConfig, RECIPES[f"gan-compression-{name}"], sets))
    check(given, config)
    space = space_of(teacher, config)
    chosen = space.widths(space.parse(PUBLISHED[name][2]))
    assert chosen.keys() <= set(teacher.widths)
    assert config.student.wiring == "separable"
    assert config.supernet.sort is False


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_steps_are_the_authors_epochs(name: str) -> None:
    config = tomllib.loads(RECIPES[f"gan-compression-{name}"].read_text())
    _, _, pictures, batch, _ = TASKS[name.partition("-")[2]]
    epoch = -(-pictures // batch)
    parts = ("predistil", "supernet", "finetune")
    steps = tuple(config.get(part, {}).get("steps", 0) for part in parts)
    assert steps == tuple(epochs * epoch for epochs in PUBLISHED[name][0])
    assert config["data"]["batch"] == batch


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_budget_is_the_authors_in_true_macs(name: str) -> None:
    text = RECIPES[f"gan-compression-{name}"].read_text()
    config = tomllib.loads(text)
    of, options, _, _, size = TASKS[name.partition("-")[2]]
    resolved = family(of).resolve({**options, "separable": True})
    with torch.device("meta"):
        dense, separable = full_model(of, **options).net, family(of).build(**resolved)
    teacher, student = CostTable(dense, size)(), CostTable(separable, size)
    _, budget, chosen = PUBLISHED[name]
    space = published_space(config["search"]["space"], of, resolved)
    found = student(space.widths(space.parse(chosen)))
    counted = found.macs_outres * OUTSIDE.get(of, 1.0)
    share = budget * found.macs / counted / teacher.macs
    assert config["target"]["macs"] == pytest.approx(share, abs=6e-5)
    assert chosen in text or of == "gaugan"


@pytest.mark.parametrize(("teacher", "options"), [("cyclegan", {}), ("pix2pix", {"downs": 6})])
@pytest.mark.parametrize(
    "file", [*(RECIPES[name] for name in ON_A_CPU), *ABLATIONS.values()], ids=lambda f: f.stem
)
def test_a_recipe_for_a_cpu_passes_the_check(
    teacher: str, options: dict[str, Any], file: Path, given_images: Path
) -> None:
    with torch.device("meta"):
        model = full_model(teacher, **options)
    images = open_images(given_images / "x", pairs=given_images / "y")
    given = Given(model, images, None, None)
    config = resolve(given, read_config(OnceForAllConfig, file, ["search.images=1"]))
    check(given, config)
    assert config.student.wiring == "dense"
    share = 0.111 if "shrinking" in file.stem else 0.25
    assert budget_of(model, config)["macs"] == pytest.approx(
        share * CostTable(model.net, model.family.image.size)().macs
    )
