"""ResNets and U-Nets: classes of junyanz, GAN Slimming, GAN Compression, the CartoonGAN ports."""

from __future__ import annotations

from ganpress.errors import ConfigError
from ganpress.models.families.cartoongan import full as fullcartoongan
from ganpress.models.layouts import Norms, Numbers, UpstreamClass
from ganpress.types import Options

JUNYANZ = "junyanz/pytorch-CycleGAN-and-pix2pix"
GAN_COMPRESSION = "mit-han-lab/gan-compression"
AFFINE = "functools.partial(nn.InstanceNorm2d, affine=True, track_running_stats=False)"
PLAIN = "functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)"
NGF = "ngf"


def _norm_layer(options: Options, scaled: bool) -> str:
    if options["norm"] == "batch":
        return "nn.BatchNorm2d"
    return AFFINE if scaled else PLAIN


def _norms(scaled: bool) -> Norms:
    return "scaled" if scaled else "plain"


def _channels(options: Options) -> str:
    return f"{options.get('in_channels', 3)}, {options.get('out_channels', 3)}"


def _resnet_widths(blocks: int) -> dict[str, tuple[str, int]]:
    outer = {"stem": 1, "down1": 2, "trunk": 4, "up1": 2, "up2": 1}
    times = outer | {f"block{i}": 4 for i in range(blocks)}
    return {group: (NGF, n) for group, n in times.items()}


def _resnet(options: Options, scaled: bool, name: str, of: str) -> UpstreamClass:
    blocks, norm = options["blocks"], _norm_layer(options, scaled)
    start = f"{name}({_channels(options)}, ngf="
    return UpstreamClass(
        name=name,
        of=of,
        widths=_resnet_widths(blocks),
        call=lambda n: f"{start}{n[NGF]}, norm_layer={norm}, n_blocks={blocks})",
        norms=_norms(scaled),
    )


def junyanz_resnet(options: Options, scaled: bool) -> list[UpstreamClass]:
    """junyanz's ResnetGenerator and GAN Slimming's Generator; no separable blocks (ConfigError)."""
    if options["separable"]:
        raise ConfigError(
            "junyanz's generators have no separable blocks; GAN Compression's have: export to "
            "'pth-gan-compression'."
        )
    found = [_resnet(options, scaled, "ResnetGenerator", JUNYANZ)]
    return [*found, _gan_slimming(options)] if options["norm"] == "instance" else found


def _gan_slimming(options: Options) -> UpstreamClass:
    """GAN Slimming's class: a trunk of 256, whose norms have no scales; the rest as asked."""
    blocks = options["blocks"]
    free = ("stem", "down1", *(f"block{i}" for i in range(blocks)), "up1", "up2")

    def call(n: Numbers) -> str:
        listed = ", ".join(str(n[g]) for g in free)
        return f"Generator({_channels(options)}, n_residual_blocks={blocks}, dim_lst=[{listed}])"

    return UpstreamClass(
        name="Generator",
        of="VITA-Group/GAN-Slimming",
        widths={"trunk": ("trunk", 1), **{g: (g, 1) for g in free}},
        fixed={"trunk": 256},
        call=call,
        norms="off trunk",
    )


def junyanz_unet(options: Options, scaled: bool) -> list[UpstreamClass]:
    """junyanz's UnetGenerator, of at least 5 halvings (ConfigError)."""
    downs, norm = options["downs"], _norm_layer(options, scaled)
    if downs < 5:
        raise ConfigError(
            f"junyanz's UnetGenerator halves at least 5 times, this generator {downs} times: "
            "its class does not exist there. Export to 'pth-plain' or to onnx."
        )
    enc = {f"enc{i}": (NGF, min(2**i, 8)) for i in range(downs)}
    dec = {f"dec{i}": (NGF, min(2**i, 8)) for i in range(downs - 1)}
    start = f"UnetGenerator({_channels(options)}, num_downs={downs}, ngf="
    return [
        UpstreamClass(
            name="UnetGenerator",
            of=JUNYANZ,
            widths=enc | dec,
            call=lambda n: f"{start}{n[NGF]}, norm_layer={norm})",
            norms=_norms(scaled),
        )
    ]


def gc_resnet(options: Options, scaled: bool) -> list[UpstreamClass]:
    """The full, the mobile and the student's class. The student's makes its norms with the widths
    of other layers, so that norms with tensors fit in it at equal numbers only: as the mobile's."""
    if not options["separable"]:
        return [_resnet(options, scaled, "ResnetGenerator", GAN_COMPRESSION)]
    mobile = _resnet(options, scaled, "MobileResnetGenerator", GAN_COMPRESSION)
    return [mobile] if scaled or options["norm"] == "batch" else [mobile, _gc_student(options)]


def _gc_student(options: Options) -> UpstreamClass:
    blocks = options["blocks"]
    thirds = 3 if blocks <= 9 else 1  # with 6 numbers all blocks share one
    inner = {f"block{i}": (f"b{i // 3 if thirds == 3 else 0}", 4) for i in range(blocks)}
    norm = _norm_layer(options, False)

    def call(n: Numbers) -> str:
        bs = [n.get(f"b{i}", n.get("b0", n["c2"])) for i in range(thirds)]
        channels = [n["c0"], n["c1"], n["c2"], *bs, n["u0"], n["u1"]]
        config = "_".join(map(str, channels))
        return (
            f"SubMobileResnetGenerator({_channels(options)}, {{'channels': {channels}}}, "
            f"norm_layer={norm}, n_blocks={blocks})"
            + (f" (--netG sub_mobile_resnet_9blocks --config_str {config})" if blocks == 9 else "")
        )

    outer = {"stem": ("c0", 1), "down1": ("c1", 2), "trunk": ("c2", 4)}
    return UpstreamClass(
        name="SubMobileResnetGenerator",
        of=GAN_COMPRESSION,
        widths={**outer, **inner, "up1": ("u0", 2), "up2": ("u1", 1)},
        call=call,
    )


def cartoongan(options: Options, scaled: bool) -> list[UpstreamClass]:
    """The ports' Transformer, which takes no arguments: other wirings are refused (ConfigError)."""
    plain = {"separable": False, "norm": "instance", "affine": True, "blocks": 8}
    other = [f"{name}={options[name]}" for name, value in plain.items() if options[name] != value]
    if other:
        raise ConfigError(
            "The published CartoonGAN has 8 plain blocks with scaled InstanceNorms; this generator "
            f"has {', '.join(other)}. Export to 'pth-plain' or to onnx."
        )
    full = fullcartoongan(options)
    return [
        UpstreamClass(
            name="Transformer",
            of="the CartoonGAN ports",
            widths={group: (group, 1) for group in full},
            fixed=full,
            call=lambda _: "Transformer()",
        )
    ]
