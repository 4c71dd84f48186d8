"""The code bases whose files ganpress reads, one entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
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
from ganpress.nn.resample import PADDINGS, UPSTREAM_UPS
from ganpress.types import State


class Reader(Protocol):
    """A plan made from a generator file's tensors."""

    def __call__(self, state: State, *, source: str, config: str | None, **options: Any) -> Plan:
        """Make the plan; `source` is the file's name for messages."""
        ...


class Positive:
    """The numbers above 0, as values of an option."""

    def __contains__(self, value: object) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and isfinite(value) and value > 0  # type: ignore[arg-type, operator]


@dataclass(frozen=True)
class Kind:
    """One code base's layout.

    Attributes:
        title: what its files are, for people.
        plan: reads a generator.
        discriminator: makes a plan from its discriminator's tensors, where there is one:
            (state, *, source, and `discriminator_options` by name).
        options: what cannot be read off a file, with the values allowed.
        discriminator_options: those of them that its discriminator's file cannot say, either.
    """

    title: str
    plan: Reader
    discriminator: Callable[..., DiscriminatorPlan] | None = None
    options: Mapping[str, Sequence[Any] | Positive] = field(default_factory=dict)
    discriminator_options: tuple[str, ...] = ()


def _any_of_gan_compression(
    state: State, *, source: str, config: str | None, **options: Any
) -> Plan:
    """GAN Compression compresses ResNets, SPADE and MUNIT; the tensors' names show which."""
    readers: dict[str | None, Reader] = {"spade": spade.plan, "munit": munit.plan}
    _, seems = looks_like(state)
    return readers.get(seems, gan_compression.plan)(state, source=source, config=config, **options)


def _any_discriminator_of_gan_compression(
    state: State, *, source: str, **options: Any
) -> DiscriminatorPlan:
    """Its PatchGAN, SPADE's multiscale one, or MUNIT's, by the tensors' names."""
    names = list(state)
    if any(n.startswith("discriminator_") for n in names):
        return spade.discriminator_plan(state, source=source)
    if any(".".join(n.split(".")[:2]) in ("a.cnns", "b.cnns", "cnns.0") for n in names):
        return munit.discriminator_plan(state, source=source, **options)
    return patch.discriminator_plan(state, source=source)


YES_OR_NO = (True, False)
NORMS = ("instance", "batch")
Options = dict[str, Sequence[Any] | Positive]
SPADE: Options = {
    "upsampling": ("normal", "more", "most"),
    "dontcare": YES_OR_NO,
    "edges": YES_OR_NO,
    "middle": ("instance", "none"),
    "labels": range(1, 1000),
    "norm": NORMS,
}
COLOURS = ("rgb", "bgr")
RESNET: Options = {
    "clamp": YES_OR_NO,
    "norm": NORMS,
    "padding": PADDINGS,
    "up": UPSTREAM_UPS,
    "colours": COLOURS,
}
MUNIT: Options = {"direction": ("a2b", "b2a")}
STYLEGAN2: Options = {"lr_mlp": Positive()}
READERS: dict[str, Kind] = {
    "cyclegan": Kind(
        "ResNet generators of junyanz's CycleGAN and pix2pix, and of GAN Slimming",
        cyclegan.plan, patch.discriminator_plan, RESNET,
    ),
    "pix2pix": Kind(
        "U-Net generators of junyanz's pix2pix", pix2pix.plan, patch.discriminator_plan,
        {"norm": NORMS, "colours": COLOURS},
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
        _any_of_gan_compression, _any_discriminator_of_gan_compression, RESNET | SPADE | MUNIT,
        discriminator_options=("direction",),
    ),
    "cartoongan": Kind(
        "CartoonGAN generators of the PyTorch ports (Hayao, ...)", cartoongan.plan,
        options={"colours": COLOURS},
    ),
    "spade": Kind(
        "SPADE (GauGAN) generators of NVlabs", spade.plan, spade.discriminator_plan, SPADE
    ),
    "munit": Kind(
        "MUNIT generators of NVlabs", munit.plan, munit.discriminator_plan, MUNIT,
        discriminator_options=("direction",),
    ),
    "stylegan2": Kind(
        "StyleGAN2 generators of rosinality and of Content-Aware GAN Compression",
        stylegan2.plan, stylegan2.discriminator_plan, STYLEGAN2,
    ),
    "stylegan2-nvlabs": Kind(
        "StyleGAN2 networks of NVlabs (.pkl)", nvlabs.plan, nvlabs.discriminator_plan, STYLEGAN2
    ),
    "sngan": Kind(
        "SNGAN generators of GongXinyuu", sngan.plan, sngan.discriminator_plan, {"norm": NORMS}
    ),
}  # fmt: skip
