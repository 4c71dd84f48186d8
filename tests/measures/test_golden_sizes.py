"""Every full network is as large and as costly as its paper's tools say (methods.md 1.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from ganpress.measures.cost import measure
from ganpress.models.families import family
from ganpress.models.families.munit import ByReference

Widths = Mapping[str, int]


def papers(full: Widths) -> Widths:
    """The full widths themselves."""
    return full


def narrowed(ngf: int) -> Callable[[Widths], Widths]:
    """The full network of ngf 64 at another ngf."""
    return lambda full: {group: width * ngf // 64 for group, width in full.items()}


def subnet(channels: str) -> Callable[[Widths], Widths]:
    """One of GAN Compression's published subnets, '16_16_32_16_32_32_16_16'."""
    stem, down1, trunk, *rest = (int(c) for c in channels.split("_"))
    inner = {f"block{i}": 4 * rest[i // 3] for i in range(9)}
    ends = {"up1": 2 * rest[3], "up2": rest[4]}
    chosen = {"stem": stem, "down1": 2 * down1, "trunk": 4 * trunk, **inner, **ends}
    return lambda full: chosen


def mobile_spade(ngf: int) -> Callable[[Widths], Widths]:
    """GAN Compression's SPADE at ngf: every SPADE's hidden layer has 2 ngf channels."""

    def widths(full: Widths) -> Widths:
        return {g: 2 * ngf if "_hidden_" in g else w * ngf // 64 for g, w in full.items()}

    return widths


def without(share: float) -> Callable[[Widths], Widths]:
    """What Content-Aware GAN Compression leaves of a StyleGAN2: int(c * share) channels go."""
    return lambda full: {group: width - int(width * share) for group, width in full.items()}


@dataclass(frozen=True)
class Golden:
    """A network and what it must cost; what is None is not published."""

    family: str
    options: dict[str, Any] = field(default_factory=dict)
    widths: Callable[[Widths], Widths] = papers
    size: int | tuple[int, int] = 256
    params: str | None = None  # millions
    macs: str | int | None = None  # 1e9, or the very number
    outres: str | int | None = None
    by_reference: bool = False
    linear: bool = False  # the published number counts fully connected layers, too


SEPARABLE = {"separable": True}
CITYSCAPES = {"labels": 35, "edges": True, "upsampling": "more"}
WIDE = (256, 512)
GOLDEN = {
    "ResNet-9": Golden("cyclegan", params="11.378", macs="49.55", outres="56.80"),
    "mobile ResNet 32": Golden("cyclegan", SEPARABLE, narrowed(32), 256, "0.514", "3.12", "4.93"),
    "mobile ResNet 48": Golden("cyclegan", SEPARABLE, narrowed(48), 256, "1.131", "6.49", "10.57"),
    "mobile ResNet 64": Golden("cyclegan", SEPARABLE, narrowed(64), 256, "1.987", "11.07", "18.31"),
    "mobile ResNet 96": Golden("cyclegan", SEPARABLE, narrowed(96), 256, "4.418", "23.85", "40.16"),
    "sub ResNet": Golden(
        "cyclegan", SEPARABLE, subnet("16_16_32_16_32_32_16_16"), 256, "0.357", "1.85", "2.53"
    ),
    "fast sub ResNet": Golden(
        "cyclegan", SEPARABLE, subnet("16_16_24_16_32_64_16_24"), 256, None, "1.94", "2.62"
    ),
    # 54.414 and 41.829 upstream, whose convolutions before a BatchNorm have no bias
    "U-Net 256": Golden("pix2pix", params="54.419"),
    "U-Net 128": Golden("pix2pix", {"downs": 7}, params="41.833"),
    "CartoonGAN": Golden("cartoongan", params="11.130"),
    "SPADE cityscapes": Golden("gaugan", CITYSCAPES, papers, WIDE, "93.048", "281.28", "281.28"),
    "mobile SPADE 64": Golden(
        "gaugan", CITYSCAPES | SEPARABLE, mobile_spade(64), WIDE, "70.681", "118.60", "118.60"
    ),
    "mobile SPADE 48": Golden(
        "gaugan", CITYSCAPES | SEPARABLE, mobile_spade(48), WIDE, "39.975", "71.06", "71.06"
    ),
    "SPADE COCO": Golden(
        "gaugan",
        {"labels": 182, "dontcare": True, "edges": True},
        papers,
        256,
        "97.481",
        "191.14",
        "191.14",
    ),
    "MUNIT": Golden("munit", {}, papers, 256, "15.026", "71.03", "71.03"),
    "MUNIT with the style encoder": Golden(
        "munit", {}, papers, 256, "15.026", "77.28", "77.28", by_reference=True
    ),
    "SNGAN": Golden("sngan", macs=1_680_605_184, outres=1_680_605_184),
    "StyleGAN2 256": Golden(
        "stylegan2", {"size": 256}, params="30.03", macs=45_124_673_536, linear=True
    ),
    "StyleGAN2 1024": Golden("stylegan2", {"size": 1024}, macs=74_266_894_336, linear=True),
    "StyleGAN2 256 less 70 %": Golden(
        "stylegan2", {"size": 256}, without(0.7), 256, "5.57", "4.124", linear=True
    ),
    "StyleGAN2 1024 less 70 %": Golden(
        "stylegan2", {"size": 1024}, without(0.7), 1024, "5.65", "6.990", linear=True
    ),
}


def network(row: Golden) -> nn.Module:
    which = family(row.family)
    full = which.full(which.resolve(row.options))
    with torch.device("meta"):
        net: nn.Module = which.build(row.widths(full), **row.options)
    return ByReference(net) if row.by_reference else net  # type: ignore[arg-type]


@pytest.mark.parametrize("row", GOLDEN.values(), ids=GOLDEN.keys())
def test_full_networks_cost_what_their_papers_say(row: Golden) -> None:
    net = network(row)
    cost = measure(net, row.size)
    more = cost.macs_linear if row.linear else 0
    for found, said, unit in (
        (cost.params, row.params, 1e6),
        (cost.macs + more, row.macs, 1e9),
        (cost.macs_outres, row.outres, 1e9),
    ):
        if isinstance(said, int):
            assert found == said
        elif said is not None:
            last = 10.0 ** -len(said.split(".")[1])  # the last place that is published
            assert found / unit == pytest.approx(float(said), abs=0.6 * last)
    assert cost.macs <= cost.macs_outres


def test_gan_slimmings_count_of_cyclegan_is_the_same_network_in_binary_units() -> None:
    assert measure(network(GOLDEN["ResNet-9"])).macs_outres / 2**30 == pytest.approx(
        52.90, abs=5e-3
    )
