"""The code bases whose files ganpress reads, one entry each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ganpress.formats.importers import (
    cartoongan,
    cyclegan,
    gan_compression,
    munit,
    nvlabs,
    patch,
    pix2pix,
    pytorch_gan,
    sngan,
    spade,
    stylegan2,
)
from ganpress.formats.importers.fitting import DiscriminatorPlan, Plan
from ganpress.formats.importers.looks import looks_like
from ganpress.nn.resample import PADDINGS, UPS
from ganpress.types import State


class Reader(Protocol):
    """A plan made from a generator file's tensors."""

    def __call__(self, state: State, *, source: str, config: str | None, **options: Any) -> Plan:
        """Make the plan; `source` is the file's name for messages."""
        ...


class DiscriminatorReader(Protocol):
    """A plan made from a discriminator file's tensors."""

    def __call__(self, state: State, *, source: str) -> DiscriminatorPlan:
        """Make the plan; `source` is the file's name for messages."""
        ...


@dataclass(frozen=True)
class Kind:
    """One code base's layout.

    Attributes:
        title: what its files are, for people.
        plan: reads a generator. discriminator: reads its discriminator, where there is one.
        options: what cannot be read off a file, with the values allowed.
    """

    title: str
    plan: Reader
    discriminator: DiscriminatorReader | None = None
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def _any_of_gan_compression(
    state: State, *, source: str, config: str | None, **options: Any
) -> Plan:
    """GAN Compression compresses ResNets, SPADE and MUNIT; the tensors' names show which."""
    readers: dict[str | None, Reader] = {"spade": spade.plan, "munit": munit.plan}
    _, seems = looks_like(state)
    return readers.get(seems, gan_compression.plan)(state, source=source, config=config, **options)


YES_OR_NO = (True, False)
SPADE: dict[str, Sequence[Any]] = {
    "upsampling": ("normal", "more", "most"),
    "dontcare": YES_OR_NO,
    "edges": YES_OR_NO,
    "middle": ("instance", "none"),
    "labels": range(1, 1000),
}
RESNET: dict[str, Sequence[Any]] = {
    "clamp": YES_OR_NO,
    "norm": ("instance", "batch"),
    "padding": PADDINGS,
    "up": UPS,
}
READERS: dict[str, Kind] = {
    "cyclegan": Kind(
        "ResNet generators of junyanz's CycleGAN and pix2pix, and of GAN Slimming",
        cyclegan.plan, patch.discriminator_plan, RESNET,
    ),
    "pix2pix": Kind(
        "U-Net generators of junyanz's pix2pix", pix2pix.plan, patch.discriminator_plan
    ),
    "cut": Kind(
        "ResNet generators of CUT, anti-aliased by blurs or not", cyclegan.plan, None, RESNET
    ),
    "pix2pixhd": Kind("global generators of NVIDIA's pix2pixHD", cyclegan.plan, None, RESNET),
    "pytorch-gan": Kind(
        "generators of PyTorch-GAN: CycleGAN's ResNet, pix2pix's U-Net",
        pytorch_gan.plan, None, RESNET,
    ),
    "gan-compression": Kind(
        "generators of GAN Compression: ResNet, SPADE, MUNIT; full, mobile and students",
        _any_of_gan_compression, patch.discriminator_plan, RESNET | SPADE,
    ),
    "cartoongan": Kind("CartoonGAN generators of the PyTorch ports (Hayao, ...)", cartoongan.plan),
    "spade": Kind(
        "SPADE (GauGAN) generators of NVlabs", spade.plan, spade.discriminator_plan, SPADE
    ),
    "munit": Kind(
        "MUNIT generators of NVlabs", munit.plan, munit.discriminator_plan,
        {"direction": ("a2b", "b2a")},
    ),
    "stylegan2": Kind(
        "StyleGAN2 generators of rosinality and of Content-Aware GAN Compression",
        stylegan2.plan, stylegan2.discriminator_plan,
    ),
    "stylegan2-nvlabs": Kind(
        "StyleGAN2 networks of NVlabs (.pkl)", nvlabs.plan, nvlabs.discriminator_plan
    ),
    "sngan": Kind("SNGAN generators of GongXinyuu", sngan.plan, sngan.discriminator_plan),
}  # fmt: skip
