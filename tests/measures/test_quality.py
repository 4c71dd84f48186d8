"""Generators against real pictures: sets, pairs and noise, and the yardsticks beside them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from eval_inputs import label_maps, model
from nets import WIRINGS
from torch import Tensor

from ganpress.data import Images, evaluation, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import CheckpointError, ConfigError
from ganpress.losses.features import load_features
from ganpress.measures import quality
from ganpress.measures.comparison import eight_bit
from ganpress.measures.metrics import (
    CifarResNet,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from ganpress.measures.metrics.classifier import CLASSES
from ganpress.measures.quality import evaluate_quality, trained_size
from ganpress.models.checkpoint import Model, save
from ganpress.run.files import read_json


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("judging")
    write_folder(home / "photos", 9, seed=2, size=48)
    write_folder(home / "targets", 9, seed=2, size=48, stylised=True)
    write_folder(home / "other", 7, seed=5, size=48, stylised=True)
    return home


@pytest.fixture(scope="module")
def photos(home: Path) -> Images:
    return open_images(home / "photos")


@pytest.fixture(scope="module")
def pairs(home: Path) -> Images:
    return open_images(home / "photos", pairs=home / "targets")


@pytest.fixture(scope="module")
def other(home: Path) -> Images:
    return open_images(home / "other")


def pictures(images: Images, size: int = 32) -> Tensor:
    return torch.cat([batch.x for batch in evaluation(images, batch=4, size=size)])


def pooled(x: Tensor) -> Tensor:
    return load_features("tiny")(x)["relu4"].mean((2, 3))


class Copies(torch.nn.Module):
    """Returns its first input: a generator that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x


def copies(like: Model) -> Model:
    return Model(Copies(), like.family, like.options)


def test_rounding_is_that_of_a_file() -> None:
    levels = torch.arange(256) / 127.5 - 1
    assert torch.allclose(eight_bit(levels + 0.003), levels, atol=1e-6)
    assert eight_bit(torch.tensor([-3.0, 2.0])).tolist() == [-1.0, 1.0]
    with pytest.raises(CheckpointError, match="not finite"):
        eight_bit(torch.tensor([float("nan")]))


def test_translations_are_compared_with_the_other_domain(photos: Images, other: Images) -> None:
    found = evaluate_quality(model(0), photos, other=other, size=32, features="tiny")
    made, real = pooled(eight_bit(model(0)(pictures(photos)))), pooled(pictures(other))
    assert found.metrics["frechet-tiny"] == pytest.approx(frechet_distance(real, made), rel=1e-4)
    assert found.metrics["kernel-tiny"] == pytest.approx(kernel_distance(real, made), rel=1e-4)
    assert found.metrics["tiny-unit-distance-to-photo"] > 0.01
    raw = found.yardsticks["frechet-tiny, the photos untranslated"]
    assert raw == pytest.approx(frechet_distance(real, pooled(pictures(photos))), rel=1e-4)
    assert "frechet-tiny, real against real, 3 each" in found.yardsticks
    assert (found.count, found.protocol["reference"][:9]) == (9, "7 images ")
    assert photos.digest()[:12] in found.protocol["photos"]


def test_a_generator_that_changes_nothing_is_its_yardstick(photos: Images, other: Images) -> None:
    found = evaluate_quality(copies(model(0)), photos, other=other, size=32, features="tiny")
    assert found.metrics["tiny-unit-distance-to-photo"] == pytest.approx(0, abs=1e-5)
    assert found.metrics["frechet-tiny"] == pytest.approx(
        found.yardsticks["frechet-tiny, the photos untranslated"], rel=1e-4
    )


def test_pairs_are_compared_with_their_targets(pairs: Images, home: Path) -> None:
    found = evaluate_quality(WIRINGS["pix2pix"].model(), pairs, size=32, features="tiny")
    truth = pictures(open_images(home / "targets"))
    made = eight_bit(WIRINGS["pix2pix"].model()(pictures(pairs)))
    each = (made - truth).abs().mean((1, 2, 3)) / 2
    assert found.metrics["l1"] == pytest.approx(float(each.mean()), rel=1e-4)
    assert found.spread["l1"] == pytest.approx(float(each.std() / 3), rel=1e-3)
    mean = (truth - truth.mean(0)).abs().mean() / 2
    assert found.yardsticks["l1, the mean picture"] == pytest.approx(float(mean), abs=2e-3)
    assert {"tiny-unit-distance", "frechet-tiny", "kernel-tiny"} < found.metrics.keys()


def test_the_truth_itself_is_at_distance_nought(home: Path) -> None:
    same = open_images(home / "targets", pairs=home / "targets")
    found = evaluate_quality(copies(WIRINGS["pix2pix"].model()), same, size=32, features="tiny")
    for name in ("l1", "tiny-unit-distance", "frechet-tiny"):
        assert found.metrics[name] == pytest.approx(0, abs=1e-5)
    assert found.yardsticks["l1, the mean picture"] > 0.05


def test_label_maps_are_judged_by_the_photos_they_belong_to(tmp_path: Path) -> None:
    images = label_maps(tmp_path)
    found = evaluate_quality(WIRINGS["gaugan"].model(), images, size=32, features="tiny")
    assert found.metrics.keys() == {"tiny-unit-distance", "l1", "frechet-tiny", "kernel-tiny"}
    assert found.count == 5


def pixels(path: Path, brightest: int) -> Images:
    """A pack of six pictures, from black to ``brightest``."""
    draw = np.random.default_rng(brightest)
    np.savez(path, images=draw.integers(0, brightest, (6, 32, 32, 3), dtype=np.uint8))
    return open_images(path)


def test_packs_that_differ_in_their_pixels_alone_are_not_taken_for_each_other(
    tmp_path: Path, photos: Images
) -> None:
    dark, bright = (pixels(tmp_path / f"{most}.npz", most) for most in (40, 256))
    assert dark.digest() == bright.digest()  # names, sizes and numbers of bytes
    for other in (dark, bright):
        found = evaluate_quality(model(0), photos, other=other, size=32, features="tiny")
        wanted = frechet_distance(
            pooled(pictures(other)), pooled(eight_bit(model(0)(pictures(photos))))
        )
        assert found.metrics["frechet-tiny"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.filterwarnings("ignore::ganpress.data.colours.ColoursLost")
def test_the_same_pictures_in_grey_are_measured_anew(photos: Images) -> None:
    like = model(0)
    for channels in (3, 1):
        net = Copies()
        net.in_channels = net.out_channels = channels  # type: ignore[assignment]
        same = Model(net, like.family, like.options)
        found = evaluate_quality(same, photos, other=photos, size=32, features="tiny")
        assert found.metrics["frechet-tiny"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", ["sngan", "sngan conditional", "stylegan2"])
def test_noise_is_judged_against_as_many_real_images(name: str, photos: Images) -> None:
    found = [
        evaluate_quality(WIRINGS[name].model(), photos, count=4, batch=n, features="tiny")
        for n in (3, 4)
    ]
    assert found[0].metrics == pytest.approx(found[1].metrics, rel=1e-3)
    assert found[0].yardsticks == pytest.approx(found[1].yardsticks, rel=1e-3)
    assert "frechet-tiny, real against real, 4 each" in found[0].yardsticks
    assert found[0].protocol["reference"].startswith("4 real images")
    side = 16 if name == "stylegan2" else 32
    assert f" {side} px" in f" {found[0].protocol['geometry']}"
    every = evaluate_quality(WIRINGS[name].model(), photos, features="tiny")
    assert every.count == 9 and every.metrics != found[0].metrics
    other = evaluate_quality(WIRINGS[name].model(), photos, features="tiny", seed=1)
    assert other.metrics != pytest.approx(every.metrics, rel=1e-4)


def cifar(path: Path, names: tuple[str, ...] = CLASSES) -> Images:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(24) % 10, classes=np.array(names))
    return open_images(path)


def test_pictures_of_the_classes_of_cifar_are_scored_by_a_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = CifarResNet(1, "resnet56", "ab" * 32)
    monkeypatch.setattr("ganpress.measures.quality.load_classifier", lambda *_, **__: net)
    images, generator = cifar(tmp_path / "cifar.npz"), WIRINGS["sngan conditional"].model()
    found = evaluate_quality(generator, images, count=10, features="tiny")
    draw = torch.Generator().manual_seed(0)
    inputs = [generator.net.draw(1, 16, draw) for _ in range(10)]
    z, y = (torch.cat(column) for column in zip(*inputs, strict=True))
    score = inception_score(net(eight_bit(generator(z, y))))
    assert found.metrics["is-resnet56"] == pytest.approx(score.mean, rel=1e-4)
    assert 1 <= found.yardsticks["is-resnet56, real"] <= 10
    assert "abababababab" in found.protocol["is-resnet56"]
    assert "splits: 10;" in found.protocol["is-resnet56"]
    few = evaluate_quality(generator, images, count=4, features="tiny")
    assert "splits: 4;" in few.protocol["is-resnet56"]
    others = cifar(tmp_path / "digits.npz", tuple("0123456789"))
    assert "is-resnet56" not in evaluate_quality(generator, others, features="tiny").metrics


def test_the_scores_beside_are_those_of_the_real_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made pictures are all of one class to both classifiers, real ones each of its own."""
    classifier, net = CifarResNet(1, "resnet56", "ab" * 32), object()
    alike, various = torch.zeros(10, 10), 1e3 * torch.eye(10)
    rows = (
        {"other": x, quality._logits(classifier): x} for x in (alike, various)
    )  # fmt: skip
    monkeypatch.setattr(quality, "SPLITS", 1)
    monkeypatch.setattr(
        quality, "score_of", lambda _, x: ("is-other", inception_score(x, splits=1))
    )
    context = SimpleNamespace(embeddings={"other": net})
    found, _, best = quality._scores(context, *rows, classifier)  # type: ignore[arg-type]
    assert found == pytest.approx({"is-resnet56": 1, "is-other": 1})
    assert best == pytest.approx({"is-resnet56, real": 10, "is-other, real": 10})


def test_without_the_classifiers_file_the_protocol_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANPRESS_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = cifar(tmp_path / "cifar.npz")
    found = evaluate_quality(WIRINGS["sngan"].model(), images, features="tiny")
    assert found.protocol["is-resnet56"].startswith("not measured: ")
    assert "is-resnet56" not in found.metrics


def test_the_crop_it_was_trained_on_is_the_default(photos: Images, other: Images) -> None:
    net = model(0)
    assert trained_size(net) == 256
    net.provenance = {"recipe": {"data": {"size": 32}}}
    assert trained_size(net) == 32
    found = evaluate_quality(net, photos, other=other, features="tiny")
    assert found.protocol["geometry"].startswith("shorter side to 32 px")
    net.provenance = {"recipe": "recipes/train.py"}
    assert trained_size(net) == 256


def test_what_does_not_suit_the_generator_is_refused(
    photos: Images, pairs: Images, other: Images
) -> None:
    cases = [
        ("sngan", photos, {"other": other}, "give --images alone"),
        ("sngan", pairs, {}, "give --images alone"),
        ("stylegan2", photos, {"count": 1}, "at least 2"),
        ("gaugan", photos, {}, "--labels"),
        ("pix2pix", photos, {}, "--pairs, --side-by-side"),
        ("cyclegan instance", pairs, {"other": other}, "leave --other out"),
        ("cyclegan instance", pairs, {"count": 4}, "count is for pictures made from noise"),
        ("cyclegan instance", pairs, {"size": 30}, "divisible by 4"),
        ("cyclegan instance", pairs, {"batch": -1}, "batch is -1; it must be at least 1"),
        ("cyclegan instance", pairs, {"device": "gpu"}, "device is 'gpu': it is one of cpu, cuda"),
    ]
    if not torch.cuda.is_available():
        cases.append(("cyclegan instance", pairs, {"device": "cuda"}, "no CUDA device"))
    for name, images, more, message in cases:
        with pytest.raises(ConfigError, match=message):
            evaluate_quality(WIRINGS[name].model(), images, features="tiny", **more)


def test_the_command_judges_without_a_teacher(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save(model(0), tmp_path / "model.safetensors")
    line = ["evaluate", file, "--features", "tiny", "--size", 32, "--json", tmp_path / "n.json"]
    told = run_cli(capsys, *line, "--images", home / "photos", "--other", home / "other")
    assert told.code == 0, told.err
    found = read_json(tmp_path / "n.json")
    assert f"frechet-tiny: {found['metrics']['frechet-tiny']:.4f}" in told.out
    assert "yardstick frechet-tiny, the photos untranslated: " in told.out
    told = run_cli(capsys, *line, "--images", home / "photos", "--pairs", home / "targets")
    assert told.code == 0 and "l1: " in told.out


def test_the_command_wants_images_or_a_teacher(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save(WIRINGS["sngan"].model(), tmp_path / "model.safetensors")
    told = run_cli(capsys, "evaluate", file)
    assert told.code == 2 and "--images" in told.err
    told = run_cli(capsys, "evaluate", file, "-t", file, "--other", home / "other")
    assert told.code == 2 and "leave --other out" in told.err
    told = run_cli(capsys, "evaluate", file, "-t", file, "--count", 3, "--features", "tiny")
    assert told.code == 0 and "l1: 0.0000 (± 0.0000, 3 pictures)" in told.out


@pytest.mark.shared_data
@pytest.mark.shared_weights
def test_real_photos_are_nearer_to_photos_than_noise_is() -> None:
    folder = Path(os.environ["GANPRESS_DATA"]) / "lfw128" / "test"
    images = open_images(folder)
    found = evaluate_quality(WIRINGS["sngan"].model(), images, count=40, batch=20)
    name = "frechet-squeezenet-1.1-caffe"
    assert found.yardsticks[f"{name}, real against real, 40 each"] < found.metrics[name] / 2
