"""Mean IoU and pixel accuracy of a generator's pictures: the function, the command, ablations."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from eval_inputs import model
from nets import WIRINGS
from PIL import Image
from segmenter_files import COLOURS, colour_segmenter, described, write_torchscript
from test_quality import copies
from torch import Tensor, nn

from ganpress.data import Batch, Images, evaluation, open_images
from ganpress.errors import ConfigError, ImagesError
from ganpress.losses.weights import zoo_path
from ganpress.measures import segmentation
from ganpress.measures.fidelity import evaluate
from ganpress.measures.label_sets import CITYSCAPES
from ganpress.measures.labels import truth_of
from ganpress.measures.quality import evaluate_quality
from ganpress.measures.segmentation import segmentation_quality
from ganpress.measures.segmenter import load_segmenter
from ganpress.measures.segmenter_file import checked
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.methods.measured import Measured, Pictures, evaluate_once, lacks
from ganpress.models.checkpoint import Model, save
from ganpress.run.files import read_json
from ganpress.run.settings import checked as checked_settings

PALETTE = np.array([(0, 0, 0), *COLOURS.values()], np.uint8)


@pytest.fixture(autouse=True)
def _forget() -> None:
    segmentation._real.clear()


def ids(index: int, side: int = 64) -> np.ndarray:
    """Blocks of the ids 0 to 3."""
    cells = np.random.default_rng(index).integers(0, 4, (side // 16, side // 16))
    return cells.astype(np.uint8).repeat(16, 0).repeat(16, 1)


def spoilt(index: int) -> np.ndarray:
    """The map of a photo that shows the classes but for its left quarter, which is red."""
    found = ids(index).copy()
    found[:, :16] = 1
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Label maps, their pictures, and photos that show some of the classes wrongly."""
    home = tmp_path_factory.mktemp("labels")
    for name in ("maps", "labels", "photos"):
        (home / name).mkdir()
    for index in range(5):
        Image.fromarray(ids(index)).save(home / "maps" / f"{index}.png")
        Image.fromarray(PALETTE[ids(index)]).save(home / "labels" / f"{index}.png")
        Image.fromarray(PALETTE[spoilt(index)]).save(home / "photos" / f"{index}.png")
    write_torchscript(home / "net.pt")
    return home


@pytest.fixture
def label_pictures(home: Path) -> Images:
    return open_images(home / "labels", pairs=home / "photos")


@pytest.fixture
def maps(home: Path) -> Images:
    return open_images(home / "photos", labels=home / "maps", instances=home / "maps")


def counted(found: Callable[[int], np.ndarray]) -> tuple[float, float]:
    """Mean IoU and accuracy of maps against `ids`, by sets of pixels."""
    truth = np.concatenate([ids(i).ravel() for i in range(5)])
    seen = np.concatenate([found(i).ravel() for i in range(5)])
    seen, truth = seen[truth > 0], truth[truth > 0]
    ratios = [
        ((seen == k) & (truth == k)).sum() / ((seen == k) | (truth == k)).sum() for k in (1, 2, 3)
    ]
    return float(np.mean(ratios)), float((seen == truth).mean())


def pictures_of(images: Images) -> list[Tensor]:
    return [batch.x for batch in evaluation(images, batch=2, size=64)]


def test_pictures_are_counted_against_their_maps(maps: Images) -> None:
    batches = list(evaluation(maps, batch=2, size=64))
    found = segmentation_quality(pictures_of(maps), batches, colour_segmenter())
    miou, accuracy = counted(spoilt)
    assert found == {"miou": pytest.approx(miou), "accuracy": pytest.approx(accuracy)}
    assert 0.5 < miou < accuracy < 0.95


def test_a_generator_makes_its_pictures_once(maps: Images) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.calls: list[int] = []

        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            self.calls.append(len(x))
            return x * self.scale

    net = Counts().train()
    batches = list(evaluation(maps, batch=2, size=64))
    found = segmentation_quality(net, batches, colour_segmenter())
    assert found == segmentation_quality(pictures_of(maps), batches, colour_segmenter())
    assert net.calls == [2, 2, 1] and net.training


def test_batches_of_label_pictures_are_counted_by_their_colours(label_pictures: Images) -> None:
    batches = list(evaluation(label_pictures, batch=2, size=64))
    photos = [batch.y for batch in batches if batch.y is not None]
    found = segmentation_quality(photos, batches, colour_segmenter())
    assert (found["miou"], found["accuracy"]) == pytest.approx(counted(spoilt))


def test_the_truth_keeps_its_own_resolution(maps: Images) -> None:
    """Small pictures are compared with the large maps, of which nothing is thrown away."""
    batches = list(evaluation(maps, batch=2, size=30))
    _, truth = truth_of(maps, 30, checked(described(), "the test").labelling)
    every = list(truth)
    assert {tuple(each.shape) for each in every} == {(64, 64)}
    made = [batch.x for batch in batches]
    found = segmentation_quality(made, batches, colour_segmenter(), truth=every)
    assert found["accuracy"] == pytest.approx(counted(spoilt)[1], abs=0.03)
    small = segmentation_quality(made, batches, colour_segmenter())
    assert small != found


def test_maps_whose_first_batch_could_be_in_another_encoding_are_not_counted_wrongly() -> None:
    """Cityscapes: 7 and 8 are road and sidewalk in labelIds, and known to trainIds, too; 26 is a
    car in labelIds alone. The segmenter sees roads everywhere."""
    segmenter = colour_segmenter()
    segmenter.labelling = CITYSCAPES
    road = torch.eye(19)[0].view(1, 19, 1, 1).expand(1, 19, 16, 16)
    segmenter.net.register_forward_hook(lambda *_: road)
    x = torch.zeros(1, 3, 16, 16)

    def batch(*ids: int) -> Batch:
        rows = torch.tensor(ids).repeat_interleave(16 // len(ids)).repeat(16, 1)[None]
        return Batch(x, torch.tensor([-1]), None, rows)

    batches = [batch(7, 26), batch(7, 8)]
    assert segmentation_quality([x, x], batches, segmenter)["accuracy"] == 0.5
    with pytest.raises(ImagesError, match=r"could have been trainIds, and a later one is labelIds"):
        segmentation_quality([x, x], batches[::-1], segmenter)


@pytest.mark.parametrize("lacking", ["pictures", "truth"])
def test_fewer_pictures_or_maps_than_the_other_are_refused(maps: Images, lacking: str) -> None:
    batches, made = list(evaluation(maps, batch=2, size=64)), pictures_of(maps)
    truth = None if lacking == "pictures" else [torch.zeros(64, 64)] * 3
    with pytest.raises(ConfigError, match="label maps"):
        segmentation_quality(
            made[:1] if lacking == "pictures" else made, batches, colour_segmenter(), truth=truth
        )


def test_batches_without_labels_are_refused(home: Path) -> None:
    batches = list(evaluation(open_images(home / "photos"), batch=2, size=64))
    with pytest.raises(ConfigError, match="open the images with labels"):
        segmentation_quality([batch.x for batch in batches], batches, colour_segmenter())


def names(home: Path) -> list[str]:
    return [f"miou-{home}/net.pt", f"accuracy-{home}/net.pt"]


def test_a_copied_label_picture_is_perfect_and_real_ones_are_the_yardstick(
    home: Path, label_pictures: Images
) -> None:
    same = copies(WIRINGS["pix2pix"].model())
    found = evaluate_quality(same, label_pictures, size=64, features="tiny", metrics=names(home))
    [miou, accuracy] = [name for name in found.metrics if name.startswith(("miou", "accuracy"))]
    assert miou.startswith("miou-net@") and accuracy.startswith("accuracy-net@")
    assert found.metrics[miou] == found.metrics[accuracy] == 1.0
    real = found.yardsticks[f"{miou}, the real pictures"]
    both = real, found.yardsticks[f"{accuracy}, the real pictures"]
    assert both == pytest.approx(counted(spoilt))
    truth = np.concatenate([ids(i).ravel() for i in range(5)])
    share = np.bincount(truth[truth > 0]).max() / (truth > 0).sum()
    dull = [found.yardsticks[f"{n}, the commonest class everywhere"] for n in (miou, accuracy)]
    assert dull == pytest.approx([share / 3, share])
    assert "label pictures, by the nearest colour; sha256" in found.protocol[names(home)[0]]


def test_a_generator_of_label_maps_is_measured(home: Path, maps: Images) -> None:
    net = WIRINGS["gaugan"].model()
    found = evaluate_quality(net, maps, size=64, features="tiny", metrics=names(home))
    again = evaluate_quality(net, maps, size=64, features="tiny", metrics=names(home))
    batches = list(evaluation(maps, batch=8, size=64))
    want = segmentation_quality(net, batches, colour_segmenter())
    values = [v for n, v in found.metrics.items() if n.startswith(("miou", "accuracy"))]
    assert values == pytest.approx([want["miou"], want["accuracy"]])
    real = [v for n, v in found.yardsticks.items() if n.endswith("real pictures")]
    assert real == pytest.approx(counted(spoilt))
    assert again.yardsticks == found.yardsticks
    assert "label maps (ids)" in found.protocol[names(home)[0]]


def test_real_pictures_are_seen_once_for_all_generators(
    home: Path, maps: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    add = segmentation.Tally.add

    def counting(self: segmentation.Tally, pictures: Tensor, truth: list[Tensor]) -> None:
        seen.append(len(pictures))
        add(self, pictures, truth)

    monkeypatch.setattr(segmentation.Tally, "add", counting)
    net = WIRINGS["gaugan"].model()
    for _ in range(2):
        evaluate_quality(net, maps, size=64, features="tiny", metrics=names(home))
    assert sum(seen) == 5 * 3  # made and real, then made alone; two metrics of one network


def test_other_pictures_have_a_yardstick_of_their_own(home: Path, maps: Images) -> None:
    net = WIRINGS["gaugan"].model()
    how: dict[str, Any] = {"size": 64, "features": "tiny", "metrics": names(home)}
    evaluate_quality(net, maps, **how)
    found = evaluate_quality(net, maps.some([0, 1]), **how)
    batches = list(evaluation(maps.some([0, 1]), batch=2, size=64))
    want = segmentation_quality([batch.x for batch in batches], batches, colour_segmenter())
    real = [v for n, v in found.yardsticks.items() if n.endswith("real pictures")]
    assert real == pytest.approx([want["miou"], want["accuracy"]])


def test_a_yardstick_that_is_known_stays_while_others_make_room(
    home: Path, maps: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "_MOST_REAL", 2)
    net, other = WIRINGS["gaugan"].model(), write_torchscript(tmp_path / "other.pt")
    with other.with_suffix(".toml").open("a") as file:
        file.write("# another file, and so another segmenter\n")
    how: dict[str, Any] = {"size": 64, "features": "tiny"}
    first = evaluate_quality(net, maps, **how, metrics=names(home))
    evaluate_quality(net, maps.some([0, 1]), **how, metrics=names(home))
    both = evaluate_quality(net, maps, **how, metrics=[*names(home), f"miou-{other}"])
    assert len(both.yardsticks) == len(first.yardsticks) + 2
    assert first.yardsticks.items() <= both.yardsticks.items()


def test_one_class_everywhere_is_counted_where_others_are_true() -> None:
    matrix = torch.tensor([[1, 2, 0], [3, 4, 0], [0, 1, 0]])
    assert segmentation._one_class(matrix).tolist() == [[0, 3, 0], [0, 7, 0], [0, 1, 0]]


def test_metrics_without_labels_are_refused_with_a_sentence(
    home: Path, label_pictures: Images
) -> None:
    photos = open_images(home / "photos", pairs=home / "photos")
    grey = copies(WIRINGS["pix2pix"].model())
    for name in ("miou-facades", names(home)[0]):
        with pytest.raises(
            ConfigError, match=r"label maps that they are made from, .*: leave it out"
        ):
            evaluate_quality(
                model(0),
                open_images(home / "photos"),
                other=photos,
                size=64,
                features="tiny",
                metrics=[name],
            )
    with pytest.raises(ImagesError, match="no label picture of the segmenter's classes"):
        evaluate_quality(grey, photos, size=64, features="tiny", metrics=["miou-facades"])
    with pytest.raises(ConfigError, match="nor with a teacher's: leave it out"):
        evaluate(grey, grey, label_pictures, size=64, features="tiny", metrics=["miou-facades"])


def test_the_command_prints_the_number_and_its_yardstick(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(WIRINGS["pix2pix"].model(), tmp_path / "m.safetensors")
    told = run_cli(
        capsys,
        *("evaluate", tmp_path / "m.safetensors", "--images", home / "labels"),
        *("--pairs", home / "photos", "--features", "tiny", "--size", "64"),
        *("--metrics", names(home)[0], "--json", tmp_path / "n.json"),
    )
    assert told.code == 0, told.err
    assert "miou-net@" in told.out and "yardstick miou-net@" in told.out
    written = read_json(tmp_path / "n.json")
    assert [n for n in written["metrics"] if n.startswith("miou-net@")]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("miou-facade", "did you mean 'miou-facades'"),
        ("miou-no/net.onnx", "no segmenter no/net.onnx"),
        ("miou-drn-d-105-cityscapes", "drn-d-105_ms_cityscapes.pth"),
    ],
)
def test_the_command_refuses_what_it_has_not(
    name: str,
    says: str,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    save(WIRINGS["pix2pix"].model(), tmp_path / "m.safetensors")
    told = run_cli(
        capsys,
        *("evaluate", tmp_path / "m.safetensors", "--images", home / "labels"),
        *("--pairs", home / "photos", "--features", "tiny", "--size", "64", "--metrics", name),
    )
    assert told.code == 2 and says in told.err


def test_maps_without_a_pixel_that_counts_are_refused(home: Path) -> None:
    write_torchscript(home / "c.pt", toml="classes = 3\nignored = [0, 1, 2, 3]\n")
    images = open_images(home / "photos", labels=home / "maps", instances=home / "maps")
    with pytest.raises(ImagesError, match="no pixel of the segmenter's classes"):
        evaluate_quality(
            WIRINGS["gaugan"].model(),
            images,
            size=64,
            features="tiny",
            metrics=[f"miou-{home}/c.pt"],
        )


@pytest.mark.shared_data
def test_the_facades_label_pictures_say_what_their_maps_say() -> None:
    facades = Path(os.environ["GANPRESS_DATA"]) / "facades"
    images = open_images(facades / "label", pairs=facades / "photo", labels=facades / "label")
    some = images.some([0, 7, 300])
    labelling = load_segmenter("facades").labelling
    by_ids = list(truth_of(some, 128, labelling)[1])
    pictures = [labelling.by_colours(np.asarray(some.read(i)[0])) for i in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(by_ids, pictures, strict=True))


@pytest.mark.shared_data
def test_the_zoos_segmenter_gets_what_its_card_says() -> None:
    facades = Path(os.environ["GANPRESS_DATA"]) / "facades"
    images = open_images(facades / "photo", labels=facades / "label")
    held_out = images.some([i for i in range(len(images)) if i % 11 == 0])
    card = read_json(zoo_path("segmenter-facades.json"))
    batches = list(evaluation(held_out, batch=10, size=256))
    found = segmentation_quality([b.x for b in batches], batches, load_segmenter("facades"))
    assert {n: round(v, 3) for n, v in found.items()} == pytest.approx(
        {name: card["held_out"][name] for name in found}, abs=2e-3
    )
    assert card["sha256"] == load_segmenter("facades").digest


def reader(name: str) -> Model:
    return WIRINGS[name].model()


def test_an_ablation_measures_by_labels_what_it_judges(
    home: Path, label_pictures: Images, maps: Images
) -> None:
    by = Measured((*names(home), "st-lpips-alex"), None)
    assert by.labels == tuple(names(home)) and by.pairs == ("st-lpips-alex",)
    assert by.of(reader("pix2pix"), Pictures(label_pictures)) == by.metrics
    only = Measured(tuple(names(home)), None)
    only.check(reader("pix2pix"), Pictures(label_pictures))
    only.check(reader("gaugan"), Pictures(maps))
    with pytest.raises(ConfigError, match="there are none: leave it out of --metrics"):
        only.check(reader("sngan"), Pictures(None))
    with pytest.raises(ConfigError, match="there are none: leave it out of --metrics"):
        only.check(model(0), Pictures(open_images(home / "photos")))
    with pytest.raises(ImagesError, match="has the id 0, which is none"):
        write_torchscript(home / "b.pt", toml='classes = ["a", "b", "c"]\nids = {a=1, b=2, c=3}\n')
        Measured((f"miou-{home}/b.pt",), None).check(reader("gaugan"), Pictures(maps))


def test_a_variant_is_judged_by_labels_once(
    home: Path, label_pictures: Images, tmp_path: Path
) -> None:
    by, path = Measured(tuple(names(home)), None), tmp_path / "judged.json"
    base = checked_settings(SlimConfig, {"data": {"size": 64}, "distance": {"features": "tiny"}})
    pictures, teacher = Pictures(label_pictures), reader("pix2pix")
    assert lacks(path, teacher, pictures, by)
    evaluate_once(teacher, pictures, base, by, path)
    found = read_json(path)
    assert [name.partition("-")[0] for name in found["metrics"]][-2:] == ["miou", "accuracy"]
    assert not lacks(path, teacher, pictures, by)
