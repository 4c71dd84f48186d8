"""Generators that read noise: classes of rosinality, CAGC and GongXinyuu."""

from __future__ import annotations

from ganpress.errors import ConfigError
from ganpress.models.families.sngan import full as fullsngan
from ganpress.models.families.stylegan2 import resolutions
from ganpress.models.layouts import Numbers, UpstreamClass
from ganpress.types import Options


def stylegan2(options: Options, scaled: bool) -> list[UpstreamClass]:
    """rosinality's, whose widths up to 32 pixels are 512; and the one that Content-Aware GAN
    Compression made of it, as wide as asked."""
    size = options["size"]
    widths: dict[str, tuple[str, int]] = {}
    for side in resolutions(size):
        unit = ("512", 1) if side <= 32 else ("channel_multiplier", 256 * 64 // side)
        widths |= {"const" if side == 4 else f"up{side}": unit, f"conv{side}": unit}
    start = f"Generator({size}, {options['style_dim']}, {options['n_mlp']}, "
    lr = f"lr_mlp={options['lr_mlp']}"

    def pruned(n: Numbers) -> str:
        return f"{start}generator_net_shape={[n[g] for g in widths]}, {lr})"

    return [
        UpstreamClass(
            name="Generator",
            of="rosinality/stylegan2-pytorch",
            widths=widths,
            fixed={"512": 512},
            call=lambda n: f"{start}channel_multiplier={n.get('channel_multiplier', 2)}, {lr})",
        ),
        UpstreamClass(
            name="Generator",
            of="lychenyoko/content-aware-gan-compression",
            widths={group: (group, 1) for group in widths},
            call=pruned,
        ),
    ]


def sngan(options: Options, scaled: bool) -> list[UpstreamClass]:
    """GongXinyuu's generator: one width throughout, no classes (ConfigError)."""
    if options["classes"]:
        raise ConfigError(
            "GongXinyuu's SNGAN has no classes: this network does not fit its keys. Export to "
            "'pth-plain' or to onnx."
        )
    groups = fullsngan(options)
    rest = f"--latent_dim {options['latent_dim']} --bottom_width {options['bottom_width']}"
    return [
        UpstreamClass(
            name="Generator",
            of="GongXinyuu/sngan.pytorch",
            widths={group: ("gf_dim", 1) for group in groups},
            call=lambda n: f"Generator(args) with --gf_dim {n['gf_dim']} {rest}",
        )
    ]
