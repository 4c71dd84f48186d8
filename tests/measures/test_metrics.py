"""Metrics against closed forms, and against numbers of scipy and the authors' protocols."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from odd_files import ODD
from safetensors.torch import load_file
from torch import Tensor

from ganpress.data import open_images
from ganpress.errors import ConfigError, WeightsError
from ganpress.measures.metrics import (
    CifarResNet,
    Moments,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_classifier,
    moments_distance,
    trimmed_mean,
)

interop = pytest.mark.shared_interop


def oracle() -> tuple[dict[str, Any], dict[str, Tensor]]:
    folder = Path(os.environ["GANPRESS_INTEROP"])
    said = json.loads((folder / "metrics_oracle.json").read_text())
    arrays = load_file(folder / "metrics_oracle.safetensors")
    return said, {name.partition("/")[2]: t for name, t in arrays.items()}


def features(n: int, d: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- Frechet distance ----------------------------------------------------------------------------


@interop
def test_the_frechet_distance_equals_scipys() -> None:
    said, x = oracle()
    found = frechet_distance(x["feat_real"], x["feat_fake"])
    assert found == pytest.approx(said["fid"]["value"], rel=1e-6)
    assert frechet_distance(x["feat_real"], x["feat_real"]) == pytest.approx(0, abs=1e-6)


@interop
def test_the_frechet_distance_of_fewer_pictures_than_dimensions_is_exact() -> None:
    said, x = oracle()
    found = frechet_distance(x["feat_real_small"], x["feat_fake_small"])
    exact = said["fid_rank_deficient"]["value_by_symmetric_eigenvalues"]
    assert found == pytest.approx(exact, rel=1e-6)


def test_the_frechet_distance_of_one_dimension_is_that_of_means_and_deviations() -> None:
    x, y = features(50, 1), 3 + 2 * features(40, 1, seed=1)
    wanted = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    assert frechet_distance(x, y) == pytest.approx(float(wanted))


def test_a_shift_adds_its_squared_length_and_order_does_not_matter() -> None:
    x = features(60)
    shift = torch.tensor([1.0, -2.0, 0.0, 2.0])
    assert frechet_distance(x, x + shift) == pytest.approx(9)
    assert frechet_distance(x + shift, x) == pytest.approx(9)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_moments_do_not_depend_on_how_features_come(batch: int) -> None:
    x = 1e4 + features(30)  # a mean that would drown squares summed in float32
    found = Moments()
    for part in x.split(batch):
        found.update(part)
    assert found.count == 30
    assert torch.allclose(found.mean, x.mean(0), rtol=1e-14)
    assert torch.allclose(found.covariance, torch.cov(x.T), rtol=1e-9)
    other = Moments().update(features(20, seed=1))
    assert moments_distance(found, other) == pytest.approx(
        frechet_distance(x, features(20, seed=1))
    )


def test_an_empty_batch_changes_no_moments() -> None:
    x = features(5)
    found = Moments().update(x[:0]).update(x).update(x[:0])
    assert torch.equal(found.covariance, Moments().update(x).covariance)


def test_features_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="4 and 3 dimensions"):
        frechet_distance(features(5), features(5, 3))
    with pytest.raises(ValueError, match="1 features; it takes at least 2"):
        frechet_distance(features(1), features(5))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(features(5) / 0, features(5))
    with pytest.raises(ValueError, match=r"\(n, 4\)"):
        Moments().update(features(5)).update(features(5, 3))


# --- kernel distance -----------------------------------------------------------------------------


@interop
@pytest.mark.parametrize("unbiased", [True, False])
def test_the_kernel_distance_equals_the_authors(unbiased: bool) -> None:
    said, x = oracle()
    found = kernel_distance(x["feat_real"], x["feat_fake"], unbiased=unbiased)
    wanted = said["kid"]["unbiased" if unbiased else "biased"]
    assert found == pytest.approx(wanted, rel=1e-8)


def test_the_kernel_distance_equals_its_sums_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganpress.measures.metrics.kernel._ROWS", 2)
    x, y = features(5, 3), features(4, 3, seed=1)

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 3 + 1) ** 3)

    xx = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 20
    yy = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 12
    xy = sum(k(a, b) for a in x for b in y) / 20
    assert kernel_distance(x, y) == pytest.approx(xx + yy - 2 * xy)
    assert kernel_distance(x, x, unbiased=False) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="at least two each"):
        kernel_distance(x, y[:1])


# --- classifier scores ---------------------------------------------------------------------------


@interop
def test_the_inception_score_equals_the_authors() -> None:
    said, x = oracle()
    wanted = said["inception_score"]
    found = inception_score(x["logits"], splits=wanted["splits"])
    assert found.mean == pytest.approx(wanted["mean"], rel=1e-8)
    assert found.std == pytest.approx(wanted["std"], rel=1e-8)
    assert found.splits == pytest.approx(tuple(wanted["per_split"]), rel=1e-8)
    single = inception_score(x["logits"], splits=1)
    assert single.mean == pytest.approx(wanted["single_split"], rel=1e-8)


def test_the_score_lies_between_one_and_the_number_of_classes() -> None:
    assert inception_score(torch.zeros(20, 5), splits=2).mean == pytest.approx(1)
    assert inception_score(torch.eye(5).repeat(4, 1) * 1e3, splits=2).mean == pytest.approx(5)
    with pytest.raises(ValueError, match="at least the number of splits"):
        inception_score(torch.zeros(3, 5), splits=4)


@interop
def test_the_trimmed_mean_equals_the_authors() -> None:
    said, x = oracle()
    assert trimmed_mean(x["distances"]) == pytest.approx(said["ppl"]["value"], rel=1e-10)
    whole = trimmed_mean(x["distances"], low=0, high=100)
    assert whole == pytest.approx(said["ppl"]["untrimmed_mean"], rel=1e-10)


def test_trimming_leaves_out_both_ends() -> None:
    x = torch.arange(201.0)
    x[-1] = 1e9
    assert trimmed_mean(x) == pytest.approx(100)
    assert trimmed_mean(torch.tensor([7.0])) == 7
    with pytest.raises(ValueError, match="0 distances"):
        trimmed_mean(torch.zeros(0))
    with pytest.raises(ValueError, match="all finite"):
        trimmed_mean(torch.tensor([1.0, math.inf]))


def test_a_classifier_is_filled_from_the_authors_files_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = CifarResNet(3)
    state = {f"module.{n}": t for n, t in net.state_dict().items() if "num_batches" not in n}
    torch.save({"state_dict": state, "best_prec1": 91.7}, tmp_path / "mine.pth")
    found = load_classifier("resnet20", weights=tmp_path / "mine.pth")
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(found(x), net(x))
    assert found.name == f"resnet20@{found.digest[:8]}"
    with pytest.raises(WeightsError, match=r"'layer1\.3\.conv1\.weight' should be"):
        load_classifier("resnet56", weights=tmp_path / "mine.pth")


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'resnet56'"):
        load_classifier("resnet50")
    (tmp_path / "cut.pth").write_bytes(ODD["half a torch"].make())
    with pytest.raises(WeightsError, match="is a torch checkpoint that is cut short"):
        load_classifier(weights=tmp_path / "cut.pth")
    with pytest.raises(ValueError, match=r"\(2, 3, 16, 16\)"):
        CifarResNet(1)(torch.zeros(2, 3, 16, 16))


def test_a_classifier_stays_frozen() -> None:
    net = CifarResNet(1).train()
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.shared_weights
@pytest.mark.shared_data
def test_the_published_classifier_knows_the_test_pictures(tmp_path: Path) -> None:
    with np.load(Path(os.environ["GANPRESS_DATA"]) / "cifar10" / "test.npz") as pack:
        jpeg, ends, labels = pack["jpeg"], pack["offsets"], pack["labels"]
    chosen = range(0, len(labels), 25)
    files = [jpeg[ends[i] : ends[i + 1]] for i in chosen]
    offsets = np.cumsum([0, *(len(f) for f in files)])
    few = {"jpeg": np.concatenate(files), "offsets": offsets, "labels": labels[::25]}
    np.savez(tmp_path / "few.npz", **few)
    images, net = open_images(tmp_path / "few.npz"), load_classifier("resnet56")
    x = torch.stack([torch.from_numpy(images.read(i)[0].copy()) for i in range(len(images))])
    found = net(x.permute(0, 3, 1, 2).float() / 127.5 - 1).argmax(1)
    right = float((found == torch.as_tensor(images.classes)).float().mean())
    assert right == pytest.approx(0.8320, abs=0.04)  # 83.20 % of all 10 000
    assert net.name == "resnet56"
