"""The recipe that trains a small segmenter of any photos with label maps."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from recipes import train_segmenter as recipe

from ganpress.data import open_images
from ganpress.losses.weights import fingerprint
from ganpress.measures.segmenter import load_segmenter
from ganpress.run.files import read_json

STEPS = 60


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos whose halves are dark and bright, a map of ids 2 and 5 for each; a clock that goes
    forward by a step's share whenever it is read."""
    for name in ("photos", "labels"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        ids = np.where(np.arange(24) < 6 + index, 2, 5).astype(np.uint8)
        ids = np.broadcast_to(ids, (24, 24)).copy()
        ids[0, 0] = 255
        photo = np.where(ids == 2, 60, 190)[..., None] + rng.integers(-20, 20, (24, 24, 3))
        Image.fromarray(ids).save(tmp_path / "labels" / f"{index:02}.png")
        Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "photos" / f"{index:02}.png")
    small = {"WIDTHS": (4, 6), "SIZE": 16, "LOAD": 20, "BATCH": 4, "RATE": 2e-2}
    for name, value in small.items():
        monkeypatch.setattr(recipe, name, value)
    ticks = itertools.count()
    monkeypatch.setattr(recipe.time, "monotonic", lambda: 60 * next(ticks) / STEPS)
    given = ("--labels", tmp_path / "labels", "--photos", tmp_path / "photos")
    argv = ["train_segmenter", *map(str, given), "--to", str(tmp_path / "net.safetensors")]
    monkeypatch.setattr(sys, "argv", [*argv, "--minutes", "1"])
    return tmp_path


def test_a_segmenter_of_any_maps_is_trained_and_says_what_it_is(home: Path) -> None:
    recipe.main()
    card, path = read_json(home / "net.json"), home / "net.safetensors"
    assert (card["sha256"], card["bytes"]) == (fingerprint(path), path.stat().st_size)
    assert card["classes"] == ["2", "5"] and card["steps"] == STEPS - 1
    assert card["held_out"]["photos"].startswith("2: ")
    assert card["held_out"]["accuracy"] > 0.9 and card["held_out"]["miou"] > 0.8
    segmenter = load_segmenter(path)
    assert segmenter.labelling.by_ids(np.array([2, 5, 255]), "ids").tolist() == [0, 1, -1]
    assert segmenter.geometry.size == 16


def test_the_held_out_pairs_are_those_of_split_pairs(home: Path) -> None:
    images = open_images(home / "photos", labels=home / "labels")
    trained, held_out = recipe.halves(images)
    assert held_out.names == ("00.png", "11.png")
    assert sorted((*trained.names, *held_out.names)) == list(images.names)


def test_rare_classes_weigh_more_by_the_root_of_their_share(home: Path) -> None:
    images = open_images(home / "photos", labels=home / "labels")
    index = torch.full((256,), recipe.IGNORED)
    index[[2, 5]] = torch.arange(2)
    weight = recipe.class_weights(images, index, 2)
    shares = np.mean([[6 + i, 18 - i] for i in range(12)], 0)
    assert float(weight[0] / weight[1]) == pytest.approx((shares[1] / shares[0]) ** 0.5, rel=0.05)


def test_the_cards_command_has_no_path_of_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANPRESS_DATA", "/mnt/some/data/")
    line = recipe.portable(
        ["python", "--photos", "/mnt/some/data/facades/photo", "--to", "zoo/a b"]
    )
    assert line == "python --photos $GANPRESS_DATA/facades/photo --to 'zoo/a b'"
    monkeypatch.delenv("GANPRESS_DATA")
    assert recipe.portable(["python", "/mnt/x"]) == "python /mnt/x"
