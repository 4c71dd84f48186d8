"""A training on from a file (`--from`), stopped after some steps and gone on with, ends as one that
was left alone: the weights, the optimisers and all else that its loop keeps, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import pytest
import torch
from stops import same_bits, stopping_after
from test_start import config, same

from ganpress.errors import Interrupted
from ganpress.models.checkpoint import Model, save
from ganpress.run.files import read_json
from ganpress.run.snapshot import read_state
from ganpress.training.start import Start, open_start
from ganpress.training.train import train, trainer

ALL = sorted(golden.RECIPES)
Begin = Callable[[str, dict[str, Model], Path], Start]
"""What a command reads after --from: recipe, models of a finished run, the run's folder."""


def from_file(name: str, first: dict[str, Model], run: Path) -> Start:
    """The first generator's file, with its discriminator."""
    return open_start(name, save(next(iter(first.values())), run / "one.safetensors"))


def from_generator(name: str, first: dict[str, Model], run: Path) -> Start:
    """A file without a discriminator: that one is fresh."""
    alone = replace(next(iter(first.values())), discriminator=None)
    return open_start(name, save(alone, run / "alone.safetensors"))


def from_narrow(name: str, first: dict[str, Model], run: Path) -> Start:
    """A file of uneven widths."""
    model = next(iter(first.values()))
    torch.manual_seed(5)
    net = model.build({g: max(1, w - 1 - i % 2) for i, (g, w) in enumerate(model.widths.items())})
    return open_start(name, save(replace(model, net=net), run / "narrow.safetensors"))


def from_folder(name: str, first: dict[str, Model], run: Path) -> Start:
    """The folder of a finished run: both directions, where there are two."""
    return open_start(name, run)


def from_two_files(name: str, first: dict[str, Model], run: Path) -> Start:
    """A file for each direction (--from-back)."""
    files = [save(model, run / f"{way}.safetensors") for way, model in first.items()]
    return open_start(name, *files)


WAYS: tuple[Begin, ...] = (from_file, from_generator, from_narrow, from_folder)
USUAL = [
    ("sngan", from_folder),
    ("cyclegan", from_file),
    ("munit", from_two_files),
    ("pix2pix", from_generator),
    ("cartoongan", from_narrow),
]
"""Each way of starting once; the other pairs run on request (`pytest -m slow`)."""
OTHERS = [
    *((name, way) for way in WAYS for name in ALL if (name, way) not in USUAL),
    ("cyclegan", from_two_files),
]


@pytest.mark.parametrize(
    ("name", "begin"), [*USUAL, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS)]
)
def test_a_stopped_training_that_began_from_a_file_ends_as_one_left_alone(
    name: str, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    (tmp_path / "data").mkdir()
    images, other = golden.data(trainer(name).needs, tmp_path / "data")

    def learn(folder: str, settings: Any, start: Start | None) -> dict[str, Model]:
        run = tmp_path / folder
        return train(name, images, run=run, config=settings, other=other, start=start, quiet=True)

    first = learn("first", config(name, steps=1), None)
    settings = config(name, bare=True, steps=3)

    def go_on(folder: str) -> dict[str, Model]:  # the file is read anew, as by the same command
        return learn(folder, settings, begin(name, first, tmp_path / "first"))

    whole = go_on("whole")
    with stopping_after(2, monkeypatch), pytest.raises(Interrupted, match="after 2 of 3 steps"):
        go_on("stopped")
    resumed = go_on("stopped")
    assert read_json(tmp_path / "stopped" / "card.json")["resumed"][0]["step"] == 2
    one, two = (read_state(tmp_path / run / "train" / "state.pt") for run in ("whole", "stopped"))
    assert one["step"] == two["step"] == 3
    assert same_bits(one["of"], two["of"]) == []
    for way, model in whole.items():
        assert same(model.net, resumed[way].net)
        ours, theirs = model.discriminator, resumed[way].discriminator
        assert ours and theirs and same(ours.net, theirs.net)
