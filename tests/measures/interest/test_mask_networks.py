"""Masks by networks: classes of interest, saliency, every layout, size and number of channels."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mask_files import Brightness, LastBrightness, Several, mask_left, red_left, red_network
from PIL import Image
from segmenter_files import by_colour, write_torchscript
from torch import Tensor, nn

from ganpress.errors import ConfigError, MissingExtra, WeightsError
from ganpress.measures.interest.interest import Counted, interest_for
from ganpress.measures.interest.network import _largest_is_kept
from ganpress.measures.interest.settings import MaskSettings


def interest(path: Path, card: str | None = None) -> Counted:
    found = interest_for(MaskSettings(source=str(path), card=card))
    assert found is not None
    return found


def network(folder: Path, net: nn.Module, toml: str) -> Path:
    return write_torchscript(folder / "net.pt", net, toml)


class Rigid(nn.Module):
    """The brightness of pictures of 16 x 32 pixels, and of no others."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 3, 16, 32).mean(1, keepdim=True)


def rigid(folder: Path, toml: str) -> Path:
    path = folder / "rigid.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Rigid(), torch.zeros(1, 3, 16, 32)), path)
    path.with_suffix(".toml").write_text(toml)
    return path


def onnx(path: Path, net: nn.Module, toml: str, shape: tuple[int, ...] = (1, 3, 8, 8)) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(shape),), path, dynamo=False)
    path.with_suffix(".toml").write_text(toml)
    return path


def test_without_a_source_or_with_ones_there_is_no_mask() -> None:
    assert interest_for(MaskSettings()) is None
    assert interest_for(MaskSettings(source="ones")) is None


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("shape", [(8, 8), (16, 64)], ids=str)
def test_a_mask_is_where_the_class_of_interest_is(
    tmp_path: Path, count: int, shape: tuple[int, int]
) -> None:
    found = interest(red_network(tmp_path))((), red_left(count, *shape))
    assert torch.equal(found, mask_left(count, *shape)) and not found.requires_grad


def test_classes_that_are_dropped_are_all_that_is_of_no_interest(tmp_path: Path) -> None:
    dropped = interest(red_network(tmp_path, "classes = 3\ndrop = [0, 1]\n"))
    assert torch.equal(dropped((), red_left()), 1 - mask_left())


@pytest.mark.parametrize("kept", [(0,), (1, 3), (4, 0, 2), (0, 1, 2, 3, 4)], ids=str)
def test_what_is_of_interest_is_where_the_largest_logit_is_one_of_its_classes(
    kept: tuple[int, ...],
) -> None:
    logits = torch.randn(2, 5, 6, 7)
    wanted = torch.isin(logits.argmax(1, keepdim=True), torch.tensor(kept)).float()
    assert torch.equal(_largest_is_kept(logits, kept), wanted)


def test_a_network_that_gives_several_outputs_is_read_by_its_first(tmp_path: Path) -> None:
    path = network(tmp_path, Several(), "classes = 3\nkeep = [0]\n")
    assert torch.equal(interest(path)((), red_left()), mask_left())


def test_channels_in_another_order_and_of_another_range_are_given_as_the_card_says(
    tmp_path: Path,
) -> None:
    """The network is told blue where it expects red, of values 0 to 255 that it divides itself."""
    toml = 'classes = 3\nkeep = [2]\nchannels = "BGR"\nwhite = 255\nstd = [255, 255, 255]\n'
    assert torch.equal(interest(network(tmp_path, by_colour(), toml))((), red_left()), mask_left())


def test_mean_and_std_are_of_the_channels_in_the_networks_order(tmp_path: Path) -> None:
    toml = 'output = "probability"\nmean = [0, 0, -0.3]\nstd = [1, 1, 2]\n'
    found = interest(network(tmp_path, Brightness(), toml))((), torch.ones(1, 3, 4, 4))
    assert found.flatten()[0] == pytest.approx((1 + 1 + 1.3 / 2) / 3)


@pytest.mark.parametrize(
    ("toml", "net", "wanted"),
    [
        ('output = "probability"', Brightness(), 0.75),
        ('output = "probability"\nthreshold = 0.7', Brightness(), 1.0),
        ('output = "logit"', Brightness(), 1 / (1 + np.exp(-0.75))),
        ('output = "probability"\nlayout = "nhwc"', LastBrightness(), 0.75),
        ('output = "probability"', nn.Sequential(Brightness(), nn.Flatten(1, 2)), 0.75),
    ],
    ids=["probability", "threshold", "logit", "nhwc", "without its channel"],
)
def test_a_saliency_map_is_the_mask_itself(
    tmp_path: Path, toml: str, net: nn.Module, wanted: float
) -> None:
    path = tmp_path / "net.pt"
    shape = (1, 8, 8, 3) if "nhwc" in toml else (1, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, torch.zeros(shape)), path)
    path.with_suffix(".toml").write_text(toml)
    found = interest(path)((), torch.full((2, 3, 4, 8), 0.5))
    assert found.shape == (2, 1, 4, 8)
    assert found.flatten().tolist() == pytest.approx([wanted] * 64)


def test_pictures_are_shown_at_the_networks_size_and_masks_come_back_soft(tmp_path: Path) -> None:
    path = rigid(tmp_path, 'size = "16x32"\noutput = "probability"')
    x = torch.full((1, 3, 8, 8), -1.0)
    x[..., :4] = 1
    found = interest(path)((), x)[0, 0]
    assert found.shape == (8, 8) and found[:, :2].min() > 0.9 and found[:, -2:].max() < 0.1
    assert 0 < found[0, 4] < found[0, 3] < 1  # the edge, resized twice


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_of_1_to_4_channels_have_masks(tmp_path: Path, channels: int) -> None:
    path = network(tmp_path, Brightness(), 'output = "probability"')
    x = torch.full((1, channels, 4, 4), 0.2)
    if channels in (2, 4):
        x[:, -1] = 0  # half opaque, over white
    wanted = 0.8 if channels in (2, 4) else 0.6
    assert interest(path)((), x).mean() == pytest.approx(wanted)


def test_an_onnx_file_and_its_torchscript_twin_give_the_same_masks(tmp_path: Path) -> None:
    toml = "size = 8\nclasses = 3\nkeep = [0]\n"
    exported = onnx(tmp_path / "red.onnx", by_colour(), toml)
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(interest(exported)((), x), interest(red_network(tmp_path, toml))((), x))


def test_an_onnx_file_that_reads_channels_last_is_shown_them_so(tmp_path: Path) -> None:
    toml = 'size = 8\nlayout = "nhwc"\noutput = "probability"\n'
    path = onnx(tmp_path / "last.onnx", LastBrightness(), toml, (1, 8, 8, 3))
    assert interest(path)((), torch.ones(2, 3, 8, 8)).mean() == 1


def test_without_onnxruntime_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = onnx(tmp_path / "red.onnx", by_colour(), "size = 8\nclasses = 3\nkeep = [0]\n")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ganpress\[onnx\]'"):
        interest(path)


def test_an_empty_mask_is_taken_as_the_whole_picture_counted_and_warned_of_once(
    tmp_path: Path,
) -> None:
    found, blue = interest(red_network(tmp_path)), red_left(columns=0)
    mask = found((), torch.cat([blue, red_left(), blue]))
    assert torch.equal(
        mask, torch.cat([torch.ones(1, 1, 8, 8), mask_left(), torch.ones(1, 1, 8, 8)])
    )
    found((), red_left(2))
    assert (found.empty, found.seen) == (2, 5)
    with pytest.warns(UserWarning, match="The mask of 2 of 5 pictures was empty") as said:
        found.warn()
    assert len(said) == 1


def test_a_mask_of_a_few_specks_is_empty_where_a_smallest_area_is_asked_for(tmp_path: Path) -> None:
    path = red_network(tmp_path)
    for area, wanted in ((0.0, 0), (0.25, 1), (0.375, 1), (0.5, 2)):  # of 1/8 and 3/8
        found = interest_for(MaskSettings(source=str(path), min_area=area))
        assert found is not None
        mask = found((), torch.cat([red_left(columns=1), red_left(columns=3)]))
        assert found.empty == wanted == int((mask.mean((1, 2, 3)) == 1).sum())


def test_masks_that_are_all_there_are_not_warned_of(tmp_path: Path) -> None:
    found = interest(red_network(tmp_path))
    found((), red_left())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found.warn()
    assert (found.empty, found.seen) == (0, 1) and not told


def test_a_saliency_map_that_is_sure_of_nothing_is_empty(tmp_path: Path) -> None:
    found = interest(network(tmp_path, Brightness(), 'output = "probability"'))
    mask = found((), torch.full((1, 3, 4, 4), -0.2))  # 0.4 everywhere
    assert mask.min() == 1 and found.empty == 1


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ("classes = 4\nkeep = [0]", r"gives \(1, 3, 64, 64\), and its card says \(1, 4, h, w\)"),
        ("classes = 4\nkeep = [0]", r"write classes = 3"),
        ('output = "probability"', r"says \(1, 1, h, w\): one channel"),
        ("classes = 3\nkeep = [0]\nsize = 8", None),
    ],
)
def test_a_network_of_other_classes_than_its_card_says_is_refused_when_it_is_opened(
    tmp_path: Path, toml: str, why: str | None
) -> None:
    path = red_network(tmp_path, toml)
    if why is None:
        assert torch.equal(interest(path)((), red_left()), mask_left())
        return
    with pytest.raises(ConfigError, match=why):
        interest(path)


def test_a_network_of_another_shape_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    path = network(tmp_path, flat, "classes = 3\nkeep = [0]")
    with pytest.raises(ConfigError, match=r"gives \(1, 3\), and its card says \(1, 3, h, w\)"):
        interest(path)


def test_values_that_are_no_probabilities_are_refused(tmp_path: Path) -> None:
    path = network(tmp_path, Brightness(), 'output = "probability"\nwhite = 255')
    with pytest.raises(ConfigError, match='no probabilities: of a logit, write output = "logit"'):
        interest(path)((), torch.ones(1, 3, 4, 4))


def test_a_network_that_fails_on_its_size_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = rigid(tmp_path, 'size = 9\noutput = "probability"')
    with pytest.raises(ConfigError, match="fails on a picture of 9 x 9 pixels"):
        interest(path)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"no network")
    path.with_suffix(".toml").write_text("classes = 3\nkeep = [0]")
    with pytest.raises(WeightsError, match="cannot be read as TorchScript"):
        interest(path)


def test_weights_without_their_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(by_colour().state_dict(), path)
    path.with_suffix(".toml").write_text("classes = 3\nkeep = [0]")
    with pytest.raises(ConfigError, match=r"mask\.card=sinet"):
        interest(path)
    with pytest.raises(WeightsError, match=r"encoder\.level1"):
        interest(path, "sinet")


@pytest.mark.shared_weights
@pytest.mark.shared_data
def test_sinet_finds_the_person_in_portraits_as_well_as_in_its_authors_code() -> None:
    """The intersection over union with the people of four labelled portraits, as the authors'
    network had them (INDEX.md): .906 .958 .976 .960."""
    found = interest(Path(os.environ["GANPRESS_WEIGHTS"], "sinet_portrait", "SINet.pth"), "sinet")
    samples = Path(os.environ["GANPRESS_DATA"], "celebamask_samples", "samples")
    for name, wanted in zip("0123", (0.906, 0.958, 0.976, 0.960), strict=True):
        photo = Image.open(samples / f"{name}.jpg").convert("RGB").resize((224, 224))
        pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 127.5 - 1
        truth = np.array(Image.open(samples / f"{name}.png").resize((224, 224), 0)) > 0
        mask = found((), pixels[None])[0, 0].numpy() > 0.5
        assert (mask & truth).sum() / (mask | truth).sum() == pytest.approx(wanted, abs=0.01)
