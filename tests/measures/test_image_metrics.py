"""Metrics by networks trained for them: what is computed, what it is called, what is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli_runs import run_cli
from eval_inputs import model
from metric_files import publish, random_file
from nets import WIRINGS
from test_metrics_torchmetrics import Given
from test_quality import pictures
from torch import Tensor
from torchmetrics.image.kid import KernelInceptionDistance

from ganpress.data import Images, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError
from ganpress.losses.features import Features, load_features
from ganpress.losses.terms import learned_unit_distance
from ganpress.measures.comparison import eight_bit
from ganpress.measures.fidelity import evaluate
from ganpress.measures.image_metrics import AUTO, choose, score_of, set_names
from ganpress.measures.looked import real_rows
from ganpress.measures.metrics import frechet_distance, kernel_distance
from ganpress.measures.quality import evaluate_quality
from ganpress.models.checkpoint import save
from ganpress.run.files import read_json

SMALL = ("efficientnet-lite0", "st-lpips-alex")
INCEPTION = "inception-pytorch"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("metrics")
    write_folder(home / "photos", 5, seed=2, size=48)
    write_folder(home / "targets", 5, seed=2, size=48, stylised=True)
    write_folder(home / "other", 4, seed=5, size=48, stylised=True)
    return home


@pytest.fixture
def weights(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The two small networks' files; Inception's are not there."""
    publish(monkeypatch, home / "small", *SMALL)
    yield home / "small"
    real_rows.known.clear()


@pytest.fixture
def all_weights(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    publish(monkeypatch, home / "all", *SMALL, INCEPTION)
    yield home / "all"
    real_rows.known.clear()


@pytest.fixture(scope="module")
def pairs(home: Path) -> Images:
    return open_images(home / "photos", pairs=home / "targets")


@pytest.fixture(scope="module")
def photos(home: Path) -> Images:
    return open_images(home / "photos")


def st_lpips(a: Tensor, b: Tensor) -> Tensor:
    net = load_features("st-lpips-alex")
    return learned_unit_distance(net(a), net(b), list(net.heads.values()))


def test_pairs_have_every_metric_whose_weights_are_here_and_the_others_are_named(
    pairs: Images, home: Path, weights: Path
) -> None:
    generator = WIRINGS["pix2pix"].model()
    found = evaluate_quality(generator, pairs, size=32, features="tiny", metrics=[AUTO])
    made, truth = eight_bit(generator(pictures(pairs))), pictures(open_images(home / "targets"))
    net = load_features("efficientnet-lite0")
    rows = [net.embed(x) for x in (truth, made)]
    for kind, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
        assert found.metrics[f"{kind}-efficientnet-lite0"] == pytest.approx(
            distance(*rows), rel=1e-3
        )
        assert f"{kind}-efficientnet-lite0, real against real, 2 each" in found.yardsticks
    each = st_lpips(made, truth)
    assert found.metrics["st-lpips-alex"] == pytest.approx(float(each.mean()), rel=1e-4)
    assert found.spread["st-lpips-alex"] == pytest.approx(float(each.std() / 5**0.5), rel=1e-3)
    mean = eight_bit(truth.mean(0, keepdim=True)).expand_as(truth)
    assert found.yardsticks["st-lpips-alex, the mean picture"] == pytest.approx(
        float(st_lpips(mean, truth).mean()), rel=1e-4
    )
    assert list(found.left_out) == [INCEPTION] and "GANPRESS_WEIGHTS" in found.left_out[INCEPTION]
    assert "224 x 224 px, bicubic" in found.protocol["efficientnet-lite0"]
    assert not any(name.startswith(("fid", "kid", "lpips", "is-")) for name in found.metrics)


def test_the_usual_metrics_do_not_change_with_the_further_ones(
    pairs: Images, weights: Path
) -> None:
    generator = WIRINGS["pix2pix"].model()
    alone = evaluate_quality(generator, pairs, size=32, features="tiny")
    more = evaluate_quality(generator, pairs, size=32, features="tiny", metrics=SMALL)
    assert {name: more.metrics[name] for name in alone.metrics} == alone.metrics
    assert {name: more.yardsticks[name] for name in alone.yardsticks} == alone.yardsticks
    assert alone.left_out == more.left_out == {}


def test_translations_have_sets_and_the_learned_distance_to_their_photos(
    photos: Images, home: Path, weights: Path
) -> None:
    other = open_images(home / "other")
    found = evaluate_quality(model(0), photos, other=other, size=32, features="tiny", metrics=SMALL)
    made = eight_bit(model(0)(pictures(photos)))
    assert found.metrics["st-lpips-alex-to-photo"] == pytest.approx(
        float(st_lpips(made, pictures(photos)).mean()), rel=1e-4
    )
    net = load_features("efficientnet-lite0")
    wanted = frechet_distance(net.embed(pictures(other)), net.embed(made))
    assert found.metrics["frechet-efficientnet-lite0"] == pytest.approx(wanted, rel=1e-3)
    assert "frechet-efficientnet-lite0, the photos untranslated" in found.yardsticks


def test_inceptions_metrics_fix_resize_rounding_counts_and_reference_in_their_names(
    photos: Images, pairs: Images, all_weights: Path
) -> None:
    generator = WIRINGS["sngan"].model()
    found = evaluate_quality(generator, photos, count=2, features="tiny", metrics=[INCEPTION])
    end = f"pytorch-uint8-2-vs-2-{photos.digest()[:8]}-seed0"
    names = {f"fid-{end}", f"kid-{end}", "is-inception-pytorch-uint8-2x2"}
    assert found.metrics.keys() == {"frechet-tiny", "kernel-tiny"} | names
    assert "fid-pytorch-uint8, real against real, 2 each" in found.yardsticks
    assert "is-inception-pytorch-uint8-2x2, real" in found.yardsticks

    protocol = found.protocol[INCEPTION]
    assert "299 x 299 px, bilinear" in protocol and "without bias, splits: 2" in protocol
    found = evaluate_quality(
        WIRINGS["pix2pix"].model(), pairs, size=32, features="tiny", metrics=[INCEPTION]
    )
    assert "score" not in found.protocol[INCEPTION]  # none is measured of pairs


def test_the_score_is_that_of_the_logits_without_bias_in_ten_parts(all_weights: Path) -> None:
    net = load_features(INCEPTION)
    rows = torch.rand(30, 2048, generator=torch.Generator().manual_seed(0)) / 40
    weight = torch.load(next(all_weights.glob("pt_inception*")), weights_only=True)["fc.weight"]
    p = (rows.double() @ weight.double().T).softmax(1)
    scores = [float((q * (q / q.mean(0)).log()).sum(1).mean().exp()) for q in p.split(3)]
    found = score_of(net, rows)
    assert found is not None and found[0] == "is-inception-pytorch-uint8-30x10"
    assert found[1].splits == pytest.approx(scores, rel=1e-5) and max(scores) > 1.0001
    assert found[1].mean == pytest.approx(sum(scores) / 10, rel=1e-6)
    assert score_of(load_features("efficientnet-lite0"), torch.rand(4, 1280)) is None


@pytest.mark.filterwarnings("ignore:Metric `.*` will save all extracted features")
def test_fid_and_kid_are_the_formulas_on_the_same_network(
    pairs: Images, home: Path, all_weights: Path
) -> None:
    """KID by torchmetrics; FID by the formula that is torchmetrics' in test_metrics_torchmetrics:
    its own root of 2048 x 2048 takes ten seconds."""
    generator, net = WIRINGS["pix2pix"].model(), load_features(INCEPTION)
    found = evaluate_quality(generator, pairs, size=32, features="tiny", metrics=[INCEPTION])
    truth = net.embed(pictures(open_images(home / "targets")))
    made = net.embed(eight_bit(generator(pictures(pairs))))
    theirs = KernelInceptionDistance(feature=Given(2048), subsets=1, subset_size=5)
    theirs.set_dtype(torch.float64)
    theirs.update(truth.double(), real=True)
    theirs.update(made.double(), real=False)
    end = f"pytorch-uint8-5-vs-5-{pairs.digest()[:8]}"
    assert found.metrics[f"kid-{end}"] == pytest.approx(float(theirs.compute()[0]), rel=1e-3)
    assert found.metrics[f"fid-{end}"] == pytest.approx(frechet_distance(truth, made), rel=1e-3)


def test_only_the_published_inception_gives_fid_and_only_it_has_counts_in_names(
    all_weights: Path, tmp_path: Path
) -> None:
    published = load_features(INCEPTION)
    own = load_features(INCEPTION, weights=random_file(INCEPTION, tmp_path / "own.pth"))
    assert set_names(published, 7, 9, "ab12") == (
        "fid-pytorch-uint8-7-vs-9-ab12",
        "kid-pytorch-uint8-7-vs-9-ab12",
    )
    frechet, kernel = set_names(own, 7, 9, "ab12")
    assert re.fullmatch(r"frechet-inception-pytorch@[0-9a-f]{8}", frechet)
    assert kernel.startswith("kernel-inception-pytorch@")


def test_nothing_is_seen_twice_and_real_pictures_not_again_for_the_next_generator(
    pairs: Images, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    forward = Features.forward

    def counted(self: Features, x: Tensor) -> dict[str, Tensor]:
        seen.extend([self.name] * len(x))
        return forward(self, x)

    monkeypatch.setattr(Features, "forward", counted)
    how = {"size": 32, "features": "tiny", "metrics": SMALL}
    first = evaluate_quality(WIRINGS["pix2pix"].model(), pairs, **how)
    assert {name: seen.count(name) for name in set(seen)} == {
        "tiny": 11,  # five made, five true ones, the mean picture
        "st-lpips-alex": 11,
        "efficientnet-lite0": 10,
    }
    seen.clear()
    again = evaluate_quality(WIRINGS["pix2pix"].model(), pairs, **how)
    assert seen.count("efficientnet-lite0") == 5  # those made
    assert again.metrics == first.metrics and again.yardsticks == first.yardsticks
    seen.clear()
    evaluate_quality(WIRINGS["pix2pix"].model(), pairs, **{**how, "size": 64, "metrics": SMALL[:1]})
    assert seen.count("efficientnet-lite0") == 10  # another size is another set of pictures


def test_a_student_has_the_learned_distance_to_its_teacher(photos: Images, weights: Path) -> None:
    found = evaluate(model(0), model(1), photos, size=32, features="tiny", metrics=[AUTO])
    a, b = (net(pictures(photos)) for net in (model(0), model(1)))
    assert found.metrics["st-lpips-alex"] == pytest.approx(float(st_lpips(a, b).mean()), rel=1e-4)
    assert list(found.metrics) == ["tiny-unit-distance", "l1", "st-lpips-alex"]
    assert found.left_out == {}  # metrics of sets do not suit, so they are not missed
    same = evaluate(model(0), model(0), photos, size=32, features="tiny", metrics=SMALL[1:])
    assert same.metrics["st-lpips-alex"] == 0


def test_what_does_not_suit_is_refused_where_asked_for_and_passed_over_otherwise(
    photos: Images, pairs: Images, weights: Path
) -> None:
    noise = WIRINGS["sngan"].model()
    with pytest.raises(ConfigError, match="'st-lpips-alex' compares each picture"):
        evaluate_quality(noise, photos, features="tiny", metrics=["st-lpips-alex"])
    with pytest.raises(ConfigError, match=r"'efficientnet-lite0' compares .* set of real ones"):
        evaluate(model(0), model(0), photos, size=32, features="tiny", metrics=SMALL[:1])
    with pytest.raises(ConfigError, match=r"did you mean 'st-lpips-alex'"):
        evaluate_quality(noise, photos, features="tiny", metrics=["st-lpips"])
    small = evaluate_quality(model(0), pairs, size=16, features="tiny", metrics=[AUTO])
    assert "at least 21 pixels" in small.left_out["st-lpips-alex"]
    with pytest.raises(ConfigError, match="at least 21 pixels, not 16"):
        choose(["st-lpips-alex"], kinds=["pairs"], side=16)
    with pytest.raises(ConfigError, match="at least 21 pixels, not 16"):
        evaluate_quality(model(0), pairs, size=16, features="st-lpips-alex")


def test_the_command_computes_what_is_here_and_names_the_rest_once(
    home: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save(WIRINGS["pix2pix"].model(), tmp_path / "model.safetensors")
    line = ["evaluate", file, "--features", "tiny", "--size", 32, "--json", tmp_path / "n.json"]
    line += ["--images", home / "photos", "--pairs", home / "targets"]
    told = run_cli(capsys, *line)
    assert told.code == 0 and told.out.count("left out: inception-pytorch. ") == 1
    assert "frechet-efficientnet-lite0: " in told.out and "\nst-lpips-alex: " in told.out
    assert set(read_json(tmp_path / "n.json")["left_out"]) == {INCEPTION}
    told = run_cli(capsys, *line, "--metrics", "none")
    assert told.code == 0 and "left out" not in told.out and "efficientnet" not in told.out
    told = run_cli(capsys, *line, "--metrics", "st-lpips-alex")
    assert told.code == 0 and "st-lpips-alex: " in told.out and "efficientnet" not in told.out
    told = run_cli(capsys, *line, "--metrics", "fid")
    assert told.code == 2 and "There is no metric 'fid'" in told.err
    assert "inception-pytorch" in told.err


def test_the_extra_is_named_once_for_all_that_it_brings(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, tmp_path / "nothing")
    file = save(WIRINGS["pix2pix"].model(), tmp_path / "model.safetensors")
    line = ["evaluate", file, "--features", "tiny", "--size", 32]
    line += ["--images", home / "photos", "--pairs", home / "targets"]
    told = run_cli(capsys, *line)
    assert told.code == 0
    assert told.out.count("pip install 'ganpress[features]'") == 1
    assert "left out: efficientnet-lite0, st-lpips-alex. " in told.out
    told = run_cli(capsys, *line, "--metrics", "efficientnet-lite0")
    assert told.code == 2 and "pip install 'ganpress[features]'" in told.err
