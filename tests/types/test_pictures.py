"""Pictures of other channels as RGB and as grey, against the formulas and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from picture_files import picture
from PIL import Image
from torch import Tensor

from ganpress.losses.features import load_features
from ganpress.measures.metrics.classifier import CifarResNet
from ganpress.nn.edges import canny
from ganpress.run.grid import first_rows, grid
from ganpress.types.pictures import as_grey, as_rgb, as_widest


def tensor(image: Image.Image) -> Tensor:
    """(1, c, h, w) in [-1, 1]."""
    pixels = np.asarray(image)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(planes.astype(np.float32))[None] / 127.5 - 1


def over_white(image: Image.Image) -> Image.Image:
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_is_seen_as_pillow_lays_it_over_white(channels: int) -> None:
    image = picture(channels, seed=3)
    wanted = tensor(over_white(image))
    assert (as_rgb(tensor(image)) - wanted).abs().max() <= 1.01 / 127.5  # Pillow's rounding
    grey = tensor(over_white(image).convert("L"))
    assert (as_grey(tensor(image)) - grey).abs().max() <= 2.01 / 127.5


def test_white_shows_through_clear_pixels_and_the_gradient_reaches_colour_and_alpha() -> None:
    x = torch.tensor([-1.0, 0.0, 0.5, 0.0]).view(1, 4, 1, 1).requires_grad_()  # alpha: a half
    seen = as_rgb(x)
    assert seen.flatten().tolist() == [0.0, 0.5, 0.75]
    seen.sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.5, 0.5, 0.5, (-2 - 1 - 0.5) / 2]
    clear, opaque = (torch.tensor([-1.0, a]).view(1, 2, 1, 1) for a in (-1.0, 1.0))
    assert as_rgb(clear).unique().tolist() == [1.0]
    assert as_rgb(opaque).unique().tolist() == [-1.0]


@pytest.mark.parametrize(
    ("kinds", "widest"), [((1, 1), 1), ((1, 3), 3), ((1, 2), 2), ((2, 3), 4), ((1, 4), 4)]
)
def test_pictures_side_by_side_keep_what_each_has(kinds: tuple[int, int], widest: int) -> None:
    pictures = [tensor(picture(c, seed=c)) for c in kinds]
    shown = as_widest(*pictures)
    assert [p.shape[1] for p in shown] == [widest] * 2
    for before, after in zip(pictures, shown, strict=True):
        assert torch.equal(as_rgb(before), as_rgb(after))
    assert first_rows(*pictures).shape == (2, widest, 40, 40)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_a_grid_is_a_picture_of_the_same_channels(channels: int, mode: str) -> None:
    images = [picture(channels, seed=s) for s in (1, 2)]
    made = Image.fromarray(grid(torch.cat([tensor(i) for i in images]), columns=2))
    assert made.mode == mode and made.size == (82, 40)
    for left, image in zip((0, 42), images, strict=True):
        assert made.crop((left, 0, left + 40, 40)).tobytes() == image.tobytes()
    assert set(made.crop((40, 0, 42, 40)).tobytes()) == {255}  # the gap, white and opaque


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_feature_networks_classifiers_and_edges_see_rgb(channels: int) -> None:
    x = tensor(picture(channels, seed=4))
    net = load_features("tiny")
    for tap, seen in net(x).items():
        assert torch.equal(seen, net(as_rgb(x))[tap])
    assert (canny(x) != canny(as_rgb(x))).float().mean() < 0.01  # but for rounding
    small = x[:, :, :32, :32]
    torch.manual_seed(0)
    classifier = CifarResNet(1)
    assert torch.equal(classifier(small), classifier(as_rgb(small)))
