"""CartoonGAN: edge-smoothed negatives, the warm-up, and the game."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import difference
from PIL import Image
from torch import Tensor

from ganpress.data import Images, open_images
from ganpress.errors import ConfigError, Interrupted
from ganpress.models.checkpoint import Model
from ganpress.nn.edges import canny, gaussian, smooth_edges
from ganpress.run.run import Run, Stage
from ganpress.run.settings import checked
from ganpress.training.cartoongan import CartoonganTraining, train_cartoongan

# --- edges ---------------------------------------------------------------------------------------


def halves(contrast: float = 1.0) -> Tensor:
    """Dark left, light right; the step lies between columns 15 and 16."""
    x = torch.full((1, 3, 24, 32), -contrast)
    x[..., 16:] = contrast
    return x


@pytest.mark.parametrize("turned", [False, True])
def test_a_step_is_one_thin_edge(turned: bool) -> None:
    x = halves().transpose(2, 3) if turned else halves()
    edges = canny(x)
    assert edges.unique().tolist() == [0, 1]
    lines = edges[0, 0].sum(1 if not turned else 0)
    assert (lines == 1).all()


def test_a_diagonal_step_is_found() -> None:
    x = torch.full((1, 3, 32, 32), -1.0)
    x[:, :, *torch.tril_indices(32, 32)] = 1.0
    assert 24 <= canny(x).sum() <= 64


def test_a_flat_picture_and_a_faint_step_have_no_edges() -> None:
    assert canny(torch.full((2, 3, 16, 16), 0.3)).sum() == 0
    assert canny(halves(contrast=0.05)).sum() == 0


def test_a_weak_edge_is_kept_where_it_hangs_on_a_strong_one() -> None:
    x = halves(contrast=0.15)  # between the thresholds
    assert canny(x).sum() == 0
    x[:, :, :4] = halves()[:, :, :4]
    edges = canny(x)[0, 0, :, 14:18].amax(1)
    assert edges[:16].all()


def test_only_the_neighbourhood_of_edges_is_smoothed() -> None:
    x = halves() + 0.02 * torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    y = smooth_edges(x)
    assert torch.equal(y[..., :12], x[..., :12])
    assert torch.equal(y[..., 20:], x[..., 20:])
    assert torch.equal(y[..., 15:17], gaussian(x, 5)[..., 15:17])
    step = (y[..., 16] - y[..., 15]).mean()
    assert 0 < step < 1.5


def test_a_blur_keeps_a_flat_picture() -> None:
    flat = torch.full((1, 3, 8, 8), 0.4)
    assert difference(gaussian(flat, 5), flat) < 1e-6


# --- training ------------------------------------------------------------------------------------


def pictures(folder: Path, seed: int) -> Images:
    if not folder.exists():
        folder.mkdir()
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 20, 24, 3), dtype=np.uint8)
        for i, picture in enumerate(pixels):
            Image.fromarray(picture).save(folder / f"{i}.png")
    return open_images(folder)


def settings(**changed: object) -> CartoonganTraining:
    values = {
        **{"steps": 4, "warm_up": 2, "batch": 2, "width": 0.05, "sample_every": 2},
        **{"options": {"blocks": 1}, "discriminator_width": 4, "discriminator_layers": 2},
        **{"data": {"size": 16, "workers": 0}, "content": {"features": "tiny"}},
    }
    return checked(CartoonganTraining, values | changed)


def trained(tmp_path: Path, name: str, **changed: object) -> Model:
    photos, cartoons = pictures(tmp_path / "a", 1), pictures(tmp_path / "b", 2)
    run = Run(tmp_path / name, quiet=True, log_every=1)
    return train_cartoongan(run, photos, cartoons, settings(**changed))[""]


def test_the_game_begins_after_the_warm_up(tmp_path: Path) -> None:
    model = trained(tmp_path, "run")
    lines = (tmp_path / "run" / "train" / "log.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    assert [line["loss/d"] > 0 for line in logged] == [False, False, True, True]
    assert [line["loss/gan"] > 0 for line in logged] == [False, False, True, True]
    assert model.discriminator is not None
    assert model.discriminator.kind == "patch"
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)


def test_the_edge_smoothed_negatives_add_to_the_discriminators_loss(tmp_path: Path) -> None:
    def d_loss(name: str, edges: float) -> float:
        trained(tmp_path, name, steps=1, warm_up=0, edges=edges)
        return float(json.loads((tmp_path / name / "train" / "log.jsonl").read_text())["loss/d"])

    assert d_loss("with", 1.0) - d_loss("without", 0.0) == pytest.approx(0.7, abs=0.3)


def test_a_batch_in_parts_trains_as_a_whole_one(tmp_path: Path) -> None:
    whole = trained(tmp_path, "whole", steps=1, warm_up=0).net.state_dict()
    parts = trained(tmp_path, "parts", steps=1, warm_up=0, accumulate=2).net.state_dict()
    out = [n for n in whole if n.startswith("out")]  # no norm behind it that cancels its bias
    assert max(difference(whole[n], parts[n]) for n in out) < 1e-6


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path, "whole", ema=0.5).net.state_dict()
    write, steps = Stage.log, list[int]()

    def log(self: Stage, step: int, /, **values: float | Tensor) -> None:
        write(self, step, **values)
        steps.append(step)
        if steps == [0, 1, 2]:
            os.kill(os.getpid(), 2)

    monkeypatch.setattr(Stage, "log", log)
    with pytest.raises(Interrupted):
        trained(tmp_path, "run", ema=0.5)
    again = trained(tmp_path, "run", ema=0.5).net.state_dict()
    assert steps == [0, 1, 2, 3]
    assert all(torch.equal(whole[n], again[n]) for n in whole)


def test_cartoons_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cartoons"):
        train_cartoongan(Run(tmp_path / "r"), pictures(tmp_path / "a", 1), None, settings())
