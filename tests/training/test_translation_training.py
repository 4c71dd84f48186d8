"""Training pix2pix and CycleGAN: what comes out, resuming, accumulating, and what is refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import difference, photos
from torch import nn

from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, Interrupted
from ganpress.models.checkpoint import Model
from ganpress.models.families import FAMILIES
from ganpress.nn.init import learning
from ganpress.run.logs import read_log
from ganpress.run.run import Run, Stage
from ganpress.training.cyclegan import CycleGANTraining, train_cyclegan
from ganpress.training.pix2pix import Pix2PixTraining, train_pix2pix

DATA = {"size": 32, "load_size": 36, "workers": 0}
COMMON = {"steps": 4, "batch": 2, "width": 0.05, "data": DATA, "sample_every": 2, "ema": 0.9}
UNET = {**COMMON, "options": {"downs": 4, "norm": "instance"}}
RESNET = {**COMMON, "options": {"blocks": 1}}
PATCH = {"width": 4, "layers": 2, "norm": "instance"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Images:
    root = tmp_path_factory.mktemp("pairs")
    write_folder(root / "x", 3, size=40)
    return open_images(root / "x", pairs=write_folder(root / "y", 3, size=40, stylised=True))


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Images, Images]:
    root = tmp_path_factory.mktemp("domains")
    a = open_images(write_folder(root / "a", 4, size=40))
    return a, open_images(write_folder(root / "b", 3, seed=1, size=40, stylised=True))


def pix2pix(root: Path, pairs: Images, **changed: Any) -> Model:
    config = Pix2PixTraining(**{**UNET, "discriminator": PATCH, **changed})
    return train_pix2pix(Run(root, quiet=True), pairs, None, config)[""]


def cyclegan(root: Path, domains: tuple[Images, Images], **changed: Any) -> dict[str, Model]:
    config = CycleGANTraining(**{**RESNET, "discriminator": PATCH, "pool": 2, **changed})
    return train_cyclegan(Run(root, quiet=True), *domains, config)


def states(model: Model) -> dict[str, torch.Tensor]:
    assert model.discriminator is not None
    return model.net.state_dict() | {
        f"D.{n}": t for n, t in model.discriminator.net.state_dict().items()
    }


@pytest.mark.parametrize(
    ("family", "changed"),
    [
        ("pix2pix", {}),
        ("pix2pix", {"options": {"downs": 4, "dropout": True}, "objective": "lsgan"}),
        ("cyclegan", {**RESNET, "generator": "resnet", "objective": "hinge"}),
    ],
)
def test_pix2pix_gives_a_generator_and_its_conditional_discriminator(
    tmp_path: Path, pairs: Images, family: str, changed: dict[str, Any]
) -> None:
    model = pix2pix(tmp_path, pairs, **changed)
    assert model.family is FAMILIES[family]
    assert not model.net.training
    assert model(photos()).shape == (2, 3, 32, 32)
    assert model.discriminator is not None
    assert model.discriminator.net(torch.cat([photos(), model(photos())], 1)).shape[:2] == (2, 1)
    assert sorted(p.name for p in (tmp_path / "train/images").iterdir()) == [
        "samples-0000000.png",
        "samples-0000002.png",
    ]


def test_pix2pix_comes_nearer_to_the_targets(tmp_path: Path, pairs: Images) -> None:
    pix2pix(tmp_path, pairs, steps=60, lr=2e-3)
    log = read_log(tmp_path / "train/log.jsonl")
    assert log[-1]["loss/l1"] < 0.7 * log[0]["loss/l1"]


def test_parts_of_a_batch_add_up_to_it(tmp_path: Path, pairs: Images, domains: Any) -> None:
    whole, parts = (
        pix2pix(tmp_path / str(n), pairs, steps=1, accumulate=n, ema=0.0) for n in (1, 2)
    )
    assert difference(whole(photos()), parts(photos())) < 1e-4
    whole, parts = (
        cyclegan(tmp_path / f"c{n}", domains, steps=1, accumulate=n, ema=0.0)["A2B"] for n in (1, 2)
    )
    assert difference(whole(photos()), parts(photos())) < 1e-4


def test_cyclegan_gives_both_ways_with_the_discriminator_of_where_they_lead(
    tmp_path: Path, domains: tuple[Images, Images]
) -> None:
    models = cyclegan(tmp_path, domains)
    assert models.keys() == {"A2B", "B2A"}
    assert models["A2B"](photos()).shape == (2, 3, 32, 32)
    discriminators = [m.discriminator for m in models.values() if m.discriminator]
    assert len(discriminators) == 2
    assert difference(discriminators[0].net(photos()), discriminators[1].net(photos())) > 0
    last = read_log(tmp_path / "train/log.jsonl")[-1]
    assert {"loss/gan", "loss/cycle", "loss/identity", "loss/d", "lr"} <= last.keys()


@pytest.mark.parametrize("which", ["pix2pix", "cyclegan"])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, pairs: Images, domains: Any, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(root: Path) -> dict[str, torch.Tensor]:
        if which == "pix2pix":
            return states(pix2pix(root, pairs))
        return states(cyclegan(root, domains)["B2A"])

    straight, images = trained(tmp_path / "straight"), Stage.images

    def stop(stage: Stage, step: int, *rest: Any, **named: Any) -> None:
        images(stage, step, *rest, **named)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "images", stop)
        with pytest.raises(Interrupted):
            trained(tmp_path / "broken")
    resumed = trained(tmp_path / "broken")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in straight.items())


def test_biases_that_a_norm_takes_away_do_not_learn(tmp_path: Path, domains: Any) -> None:
    state = states(cyclegan(tmp_path, domains)["A2B"])
    dead = [n for n in state if n.endswith("conv.bias") and n != "out.conv.bias"]
    assert dead
    assert not any(state[n].any() for n in (*dead, "blocks.0.conv1.bias", "D.model.2.bias"))
    assert state["out.conv.bias"].any()
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    assert len(learning(plain)) == 4
    separable = FAMILIES["cyclegan"].build(blocks=1, separable=True)
    left = {n for n, p in separable.named_parameters() if any(p is q for q in learning(separable))}
    assert {n for n in left if n.endswith("bias")} == {"out.conv.bias"}


def test_data_of_another_kind_is_refused(tmp_path: Path, pairs: Images, domains: Any) -> None:
    with pytest.raises(ConfigError, match="pairs"):
        pix2pix(tmp_path, domains[0])
    with pytest.raises(ConfigError, match="second"):
        cyclegan(tmp_path, (domains[0], None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "changed", "says"),
    [
        (Pix2PixTraining, {"data": {"size": 128}}, "multiple of 256"),
        (Pix2PixTraining, {"generator": "resnet", "data": {"size": 130}}, "multiple of 4"),
        (CycleGANTraining, {"data": {"size": 16}}, "at least 24"),
        (CycleGANTraining, {"data": {"size": 130}}, "multiple of 4"),
    ],
)
def test_sizes_that_the_networks_cannot_read_are_refused(
    config: type[Any], changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        config(**changed)
