"""The generator classes of the code bases whose layouts ganpress writes, by layout and family.

Each entry gives the classes that can hold a network of these options, or says what the code base
lacks. Widths are facts of the classes' constructors; no code of theirs is here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ganpress.errors import ConfigError, did_you_mean
from ganpress.models.families import FAMILIES
from ganpress.models.layouts import Binding, UpstreamClass
from ganpress.models.upstream.munit import gc_munit, nvlabs_munit
from ganpress.models.upstream.noise import sngan, stylegan2
from ganpress.models.upstream.resnet import (
    cartoongan,
    cut_resnet,
    gc_resnet,
    junyanz_resnet,
    junyanz_unet,
    pix2pixhd_resnet,
    pytorch_gan_resnet,
    pytorch_gan_unet,
)
from ganpress.models.upstream.spade import gc_spade, nvlabs_spade
from ganpress.types import Options

Classes = Callable[[Options, bool], list[UpstreamClass]]
CLASSES: dict[str, dict[str, Classes]] = {
    "pth-junyanz": {"cyclegan": junyanz_resnet, "pix2pix": junyanz_unet},
    "pth-cut": {"cyclegan": cut_resnet},
    "pth-pix2pixhd": {"cyclegan": pix2pixhd_resnet},
    "pth-pytorch-gan": {"cyclegan": pytorch_gan_resnet, "pix2pix": pytorch_gan_unet},
    "pth-gan-compression": {"cyclegan": gc_resnet, "gaugan": gc_spade, "munit": gc_munit},
    "pth-nvlabs": {"gaugan": nvlabs_spade, "munit": nvlabs_munit},
    "pth-cartoongan": {"cartoongan": cartoongan},
    "pth-rosinality": {"stylegan2": stylegan2},
    "pth-sngan": {"sngan": sngan},
}
"""Layout -> family -> (options, whether InstanceNorms have scales that matter) -> its classes."""

PLAIN_RESNET = {"downsamplings": (2,), "antialias": (0,), "up": ("transposed",)}
PLAIN_UNET = {"leaky_skips": (False,), "upsampling": ("deconv",)}
MAKES_RGB = {"out_channels": (3,)}
HOLDS: dict[str, dict[str, Mapping[str, tuple[object, ...]]]] = {
    "pth-junyanz": {"cyclegan": {**PLAIN_RESNET, "separable": (False,)}, "pix2pix": PLAIN_UNET},
    "pth-gan-compression": {"cyclegan": PLAIN_RESNET, "gaugan": MAKES_RGB},
    "pth-nvlabs": {"gaugan": MAKES_RGB},
    "pth-cartoongan": {"cartoongan": {"in_channels": (3,), **MAKES_RGB}},
    "pth-rosinality": {"stylegan2": MAKES_RGB},
    "pth-sngan": {"sngan": MAKES_RGB},
    "pth-cut": {
        "cyclegan": {
            "downsamplings": (2,),
            "antialias": (0, 3),
            "up": ("transposed", "bilinear"),
            "separable": (False,),
        }
    },
    "pth-pix2pixhd": {
        "cyclegan": {"antialias": (0,), "up": ("transposed",), "separable": (False,)}
    },
    "pth-pytorch-gan": {
        "cyclegan": {
            "downsamplings": (2,),
            "antialias": (0,),
            "up": ("nearest",),
            "padding": ("reflect",),
            "norm": ("instance",),
            "separable": (False,),
        },
        "pix2pix": {
            "norm": ("instance",),
            "leaky_skips": (True,),
            "upsampling": ("resize-last",),
        },
    },
}
"""Layout -> family -> what its classes can be, by option; any value where none is named."""

KNOWN: dict[str, tuple[str, ...]] = {
    "cyclegan": (
        *("blocks", "norm", "affine", "separable", "clamp", "in_channels", "out_channels"),
        *("downsamplings", "padding", "antialias", "up"),
    ),
    "pix2pix": (
        *("downs", "norm", "affine", "dropout", "in_channels", "out_channels"),
        *("leaky_skips", "upsampling"),
    ),
    "cartoongan": ("blocks", "norm", "affine", "separable", "in_channels", "out_channels"),
    "gaugan": (
        *("labels", "dontcare", "edges", "upsampling", "separable", "middle", "norm"),
        "out_channels",
    ),
    "munit": (
        *("style_dim", "down", "res", "separable", "style_encoder", "in_channels", "out_channels"),
    ),
    "sngan": ("latent_dim", "bottom_width", "classes", "out_channels"),
    "stylegan2": ("size", "style_dim", "n_mlp", "lr_mlp", "base", "most", "out_channels"),
}
"""Options that the classes above know; a network with another one that is not its default is not
what they build."""


def families_of(layout: str) -> Mapping[str, Classes]:
    """The families of a layout. Raises: ConfigError for a layout that does not exist."""
    if layout not in CLASSES:
        raise ConfigError(
            f"There is no layout '{layout}'{did_you_mean(layout, CLASSES)}. "
            f"Layouts: {', '.join(CLASSES)}."
        )
    return CLASSES[layout]


def check_options(layout: str, family: str, options: Options) -> None:
    """Refuse a network whose wiring no class of a layout has. Raises: ConfigError, with the layouts
    that have it."""
    holds = HOLDS.get(layout, {}).get(family, {})
    if lacks := [name for name, values in holds.items() if options[name] not in values]:
        able = [
            name
            for name, others in HOLDS.items()
            if family in others and all(options[o] in v for o, v in others[family].items())
        ]
        has = ", ".join(f"{name}={options[name]}" for name in lacks)
        raise ConfigError(
            f"The class behind '{layout}' cannot be this network ({has}): export to "
            f"{' or '.join([*able, 'pth-plain', 'onnx'])}."
        )


def classes_of(layout: str, family: str, options: Options, *, scaled: bool) -> list[UpstreamClass]:
    """The classes of a layout that have this wiring, at whatever widths; the code base's own first.

    Args: scaled: InstanceNorms have scales and shifts that are not the identity.
    Raises: ConfigError for a layout, family or option that the code base does not have.
    """
    families = families_of(layout)
    if family not in families:
        able = [name for name, others in CLASSES.items() if family in others]
        raise ConfigError(
            f"Target '{layout}' is for {', '.join(families)}, not for a '{family}' generator. "
            f"For this one: {', '.join([*able, 'pth-plain'])}."
        )
    check_options(layout, family, options)
    defaults = FAMILIES[family].options
    other = [
        f"{name}={value}"
        for name, value in options.items()
        if name not in KNOWN[family] and value != defaults.get(name)
    ]
    if other:
        raise ConfigError(
            f"The classes behind '{layout}' have no {', '.join(other)}: export to 'pth-plain' or "
            "to onnx."
        )
    return families[family](options, scaled)


def binding_of(
    layout: str,
    family: str,
    options: Options,
    have: Mapping[str, int],
    *,
    scaled: bool,
    whole: Collection[str] = (),
    multiple: int = 1,
) -> Binding:
    """The widths of a layout's own class for a network that is to be pruned: of several classes of
    that code base, the one with most numbers. Errors as of `classes_of` and `Binding`."""
    found = classes_of(layout, family, options, scaled=scaled)
    own = [c for c in found if c.of == found[0].of]
    return Binding(layout, own[-1], have, whole=whole, multiple=multiple)
