"""Feature networks: what enters, what comes out, and that nothing in them ever changes."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganpress.data.drawn.draw import draw
from ganpress.errors import ConfigError, WeightsError
from ganpress.losses.feature_nets import SQUEEZENET, SQUEEZENET_CAFFE
from ganpress.losses.features import load_features
from ganpress.losses.networks import squeezenet_layers, vgg16_layers
from ganpress.losses.weights import fingerprint, zoo_path

ROOT = Path(__file__).resolve().parents[2]
MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


def pictures(n: int = 2, size: int = 64) -> Tensor:
    """(n, 3, size, size) in [-1, 1]."""
    found = [torch.from_numpy(draw(0, index, size)).permute(2, 0, 1) for index in range(n)]
    return torch.stack(found).float() / 127.5 - 1


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def saved(layers: nn.Sequential, path: Path) -> Path:
    """The layers' random weights in torchvision's layout, with a classifier that is not read."""
    state = {f"features.{key}": tensor for key, tensor in layers.state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(3, 3)}, path)
    return path


@pytest.mark.parametrize("size", [32, 64, 96])
def test_tiny_taps_have_strides_one_two_four_eight(size: int) -> None:
    found = load_features("tiny")(pictures(2, size))
    assert {tap: tuple(value.shape) for tap, value in found.items()} == {
        "relu1": (2, 16, size, size),
        "relu2": (2, 32, size // 2, size // 2),
        "relu3": (2, 64, size // 4, size // 4),
        "relu4": (2, 96, size // 8, size // 8),
    }
    assert all(value.min() >= 0 and value.isfinite().all() for value in found.values())


def test_no_tiny_tap_is_dead() -> None:
    for value in load_features("tiny")(pictures(8)).values():
        alive = (value.amax((0, 2, 3)) > 0).float().mean()
        assert alive > 0.7


def test_tiny_is_small_and_is_the_file_its_card_describes() -> None:
    path = zoo_path("tiny_features.safetensors")
    card = json.loads(zoo_path("tiny_features.json").read_text())
    features = load_features("tiny")
    assert path.stat().st_size < 500_000
    assert card["sha256"] == fingerprint(path) == features.digest
    assert card["params"] == sum(p.numel() for p in features.parameters())
    assert features.name == card["name"] == "tiny"
    assert features.taps == tuple(card["taps"])


def test_tiny_learnt_to_tell_what_is_drawn() -> None:
    card = json.loads(zoo_path("tiny_features.json").read_text())
    for name, found in card["accuracy"].items():
        assert found["accuracy"] > found["commonest"], name


def test_tiny_tells_the_same_picture_with_noise_from_another_picture() -> None:
    features, x = load_features("tiny"), pictures(2)
    noisy = x[:1] + 0.01 * torch.randn_like(x[:1])
    for here, there, far in zip(
        features(x[:1]).values(), features(noisy).values(), features(x[1:]).values(), strict=True
    ):
        assert (here - there).abs().mean() < 0.5 * (here - far).abs().mean()


def test_features_stay_frozen_and_in_eval_and_only_the_picture_gets_a_gradient() -> None:
    features = load_features("tiny")
    features.train()
    nn.ModuleList([features]).train()
    assert not any(module.training for module in features.modules())
    before = {key: value.clone() for key, value in features.state_dict().items()}
    x = pictures().requires_grad_()
    sum(value.mean() for value in features(x).values()).backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in features.parameters())
    assert all(torch.equal(value, before[key]) for key, value in features.state_dict().items())


def test_some_taps_are_the_same_as_among_all_and_later_layers_are_not_there() -> None:
    whole, x = load_features("tiny"), pictures()
    some = load_features("tiny", taps=["relu3", "relu1"])
    assert some.taps == tuple(some(x)) == ("relu1", "relu3")
    assert len(some.layers) < len(whole.layers)
    assert all(torch.equal(value, whole(x)[tap]) for tap, value in some(x).items())


@pytest.mark.parametrize("normalise", [False, True])
def test_vgg16_takes_pictures_in_0_to_1_and_imagenet_statistics_on_demand(
    tmp_path: Path, normalise: bool
) -> None:
    layers = vgg16_layers()
    path = saved(layers, tmp_path / "own.pth")
    features = load_features("vgg16", weights=path, normalise=normalise)
    x = pictures(1, 32)
    hidden = (x + 1) / 2
    hidden = (hidden - MEAN) / STD if normalise else hidden
    wanted = []
    for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21):  # torchvision's features.N
        if index in (5, 10, 17):
            hidden = F.max_pool2d(hidden, 2)
        state = torch.load(path, weights_only=True)
        hidden = F.conv2d(
            hidden, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1
        ).relu()
        if index in (2, 7, 14, 21):
            wanted.append(hidden)
    found = features(x)
    assert tuple(found) == ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    assert [tuple(value.shape[1:]) for value in found.values()] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]
    for value, want in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(value, want)


def test_a_file_that_is_not_the_published_one_shows_in_the_name(tmp_path: Path) -> None:
    path = saved(vgg16_layers(), tmp_path / "own.pth")
    assert load_features("vgg16", weights=path).name == f"vgg16@{fingerprint(path)[:8]}"
    named = load_features("vgg16", weights=path, normalise=True).name
    assert named == f"vgg16-normalised@{fingerprint(path)[:8]}"


def by_hand(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """SqueezeNet 1.1 written out with functions; x as the weights want it. The 7 LPIPS slices."""

    def convolve(name: str, x: Tensor, **how: int) -> Tensor:
        weight, bias = (state[f"features.{name}.{part}"].float() for part in ("weight", "bias"))
        return F.conv2d(x, weight, bias, **how).relu()

    x = convolve("0", x, stride=2)
    found = [x]
    for index in range(3, 13):
        if index in (3, 6, 9):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        if index in (5, 8):
            continue
        x = convolve(f"{index}.squeeze", x)
        wide = convolve(f"{index}.expand3x3", x, padding=1)
        x = torch.cat([convolve(f"{index}.expand1x1", x), wide], 1)
        if index in (4, 7, 9, 10, 11, 12):
            found.append(x)
    return found


def test_the_caffe_squeezenet_gets_blue_green_red_less_the_mean(tmp_path: Path) -> None:
    path = saved(squeezenet_layers().half(), tmp_path / SQUEEZENET_CAFFE.file)
    features = load_features("squeezenet", weights=path)
    assert features.name == "squeezenet-1.1-caffe"
    x = pictures(1)
    caffe = (x.flip(1) + 1) * 127.5 - torch.tensor((104.0, 117.0, 123.0)).view(3, 1, 1)
    for value, want in zip(
        features(x).values(), by_hand(torch.load(path, weights_only=True), caffe), strict=True
    ):
        torch.testing.assert_close(value, want, rtol=1e-4, atol=1e-3)


def test_torchvisions_squeezenet_gets_imagenets_normalisation(tmp_path: Path) -> None:
    path = saved(squeezenet_layers(), tmp_path / "own.pth")
    features = load_features("squeezenet-1.1", weights=path)
    assert features.name.startswith("squeezenet-1.1@")
    x = pictures(1)
    wanted = by_hand(torch.load(path, weights_only=True), ((x + 1) / 2 - MEAN) / STD)
    for value, want in zip(features(x).values(), wanted, strict=True):
        torch.testing.assert_close(value, want, rtol=1e-4, atol=1e-5)


def test_a_squeezenet_that_could_be_either_is_refused(tmp_path: Path) -> None:
    path = saved(squeezenet_layers(), tmp_path / "own.pth")
    with pytest.raises(WeightsError, match="two want different input"):
        load_features("squeezenet", weights=path)


def test_a_false_torchvision_squeezenet_is_refused_by_its_hash(tmp_path: Path) -> None:
    path = saved(squeezenet_layers(), tmp_path / SQUEEZENET.file)
    with pytest.raises(WeightsError, match="published is b8a52dc0"):
        load_features("squeezenet", weights=path)


@pytest.mark.shared_weights
def test_the_real_squeezenet_agrees_with_one_written_by_hand() -> None:
    features, x = load_features("squeezenet"), pictures(2, 97)
    assert features.name == "squeezenet-1.1-caffe"
    folder = Path(os.environ["GANPRESS_WEIGHTS"]) / "squeezenet1_1_imagenet_caffe"
    state = torch.load(folder / SQUEEZENET_CAFFE.file, weights_only=True)
    caffe = (x.flip(1) + 1) * 127.5 - torch.tensor((104.0, 117.0, 123.0)).view(3, 1, 1)
    found = features(x)
    assert [value.shape[1] for value in found.values()] == [64, 128, 256, 384, 384, 512, 512]
    for value, want in zip(found.values(), by_hand(state, caffe), strict=True):
        torch.testing.assert_close(value, want, rtol=1e-4, atol=1e-2)


def test_unknown_names_taps_and_choices_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'vgg16'"):
        load_features("vgg-16")
    with pytest.raises(ConfigError, match="did you mean 'relu1'"):
        load_features("tiny", taps=["relu_1"])
    with pytest.raises(ConfigError, match="is empty"):
        load_features("tiny", taps=[])
    with pytest.raises(ConfigError, match="'vgg16' only"):
        load_features("tiny", normalise=True)


def test_a_folder_of_weights_for_other_networks_is_no_hindrance_to_our_own(tmp_path: Path) -> None:
    assert load_features("tiny", weights=tmp_path).name == "tiny"
    own = tmp_path / "mine.safetensors"
    own.write_bytes(zoo_path("tiny_features.safetensors").read_bytes())
    assert load_features("tiny", weights=own).name == f"tiny@{fingerprint(own)[:8]}"
    with pytest.raises(WeightsError, match=r"mine\.pth"):
        load_features("tiny", weights=tmp_path / "mine.pth")


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 5, 64, 64), (1, 3, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(n, 1 to 4, h, w\)"):
        load_features("tiny")(torch.zeros(shape))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"not a file of tensors", "is a text .*, not a file of weights"),
        (bytes(range(128, 256)), "cannot be read as weights"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"own\.pth' {message}"):
        load_features("vgg16", weights=path)


def test_weights_of_another_network_are_refused_with_the_first_tensor_that_differs(
    tmp_path: Path,
) -> None:
    path = saved(squeezenet_layers(), tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=r"features\.2\.weight"):
        load_features("vgg16", weights=path)


def test_the_recipe_folds_its_norms_exactly() -> None:
    recipe = runpy.run_path(str(ROOT / "recipes" / "train_tiny_features.py"))
    learner = recipe["Learner"]()
    learner(pictures(4, 32))  # running statistics that are not 0 and 1
    learner.eval()
    plain = recipe["tiny_layers"]()
    plain.load_state_dict(learner.folded())
    x = wanted = pictures(2, 32)
    for index, layer in enumerate(learner.layers):
        wanted = layer(wanted)
        wanted = learner.norms[str(index)](wanted) if str(index) in learner.norms else wanted
    torch.testing.assert_close(plain(x), wanted, rtol=1e-4, atol=1e-5)


def test_the_recipe_draws_the_same_pictures_for_the_same_seed() -> None:
    recipe = runpy.run_path(str(ROOT / "recipes" / "train_tiny_features.py"))
    first, second = (recipe["pictures"](5, 4, 4) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
