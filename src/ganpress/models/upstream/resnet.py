"""ResNets and U-Nets: classes of junyanz, GAN Slimming, GAN Compression, the CartoonGAN ports."""

from __future__ import annotations

from dataclasses import replace

from ganpress.errors import ConfigError
from ganpress.models.families.cartoongan import full as fullcartoongan
from ganpress.models.layouts import Norms, Numbers, UpstreamClass
from ganpress.types import Options

CUT = "taesungp/contrastive-unpaired-translation"
PYTORCH_GAN = "eriklindernoren/PyTorch-GAN"
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


def _resnet_widths(blocks: int, downs: int = 2) -> dict[str, tuple[str, int]]:
    top = 2**downs
    times = {"stem": 1, **{f"down{k}": 2**k for k in range(1, downs)}, "trunk": top}
    times |= {f"block{i}": top for i in range(blocks)}
    times |= {f"up{k}": top >> k for k in range(1, downs + 1)}
    return {group: (NGF, n) for group, n in times.items()}


def _padding(options: Options) -> str:
    return "" if options["padding"] == "reflect" else f", padding_type='{options['padding']}'"


def _resnet(options: Options, scaled: bool, name: str, of: str) -> UpstreamClass:
    blocks, norm = options["blocks"], _norm_layer(options, scaled)
    start = f"{name}({_channels(options)}, ngf="
    return UpstreamClass(
        name=name,
        of=of,
        widths=_resnet_widths(blocks),
        call=lambda n: f"{start}{n[NGF]}, norm_layer={norm}, n_blocks={blocks}{_padding(options)})",
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
    is_gan_slimming = options["norm"] == "instance" and options["padding"] == "reflect"
    return [*found, _gan_slimming(options)] if is_gan_slimming else found


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


def _unet_widths(downs: int) -> dict[str, tuple[str, int]]:
    enc = {f"enc{i}": (NGF, min(2**i, 8)) for i in range(downs)}
    return enc | {f"dec{i}": (NGF, min(2**i, 8)) for i in range(downs - 1)}


def junyanz_unet(options: Options, scaled: bool) -> list[UpstreamClass]:
    """junyanz's UnetGenerator, of at least 5 halvings (ConfigError)."""
    downs, norm = options["downs"], _norm_layer(options, scaled)
    if downs < 5:
        raise ConfigError(
            f"junyanz's UnetGenerator halves at least 5 times, this generator {downs} times: "
            "its class does not exist there. Export to 'pth-plain' or to onnx."
        )
    start = f"UnetGenerator({_channels(options)}, num_downs={downs}, ngf="
    return [
        UpstreamClass(
            name="UnetGenerator",
            of=JUNYANZ,
            widths=_unet_widths(downs),
            call=lambda n: f"{start}{n[NGF]}, norm_layer={norm})",
            norms=_norms(scaled),
        )
    ]


def cut_resnet(options: Options, scaled: bool) -> list[UpstreamClass]:
    """CUT's ResnetGenerator, anti-aliased or not."""
    made = _resnet(options, scaled, "ResnetGenerator", CUT)
    plain = f", no_antialias={not options['antialias']}"
    plain += f", no_antialias_up={options['up'] == 'transposed'}"
    return [replace(made, call=lambda n: f"{made.call(n)[:-1]}{plain})")]


def pix2pixhd_resnet(options: Options, scaled: bool) -> list[UpstreamClass]:
    """pix2pixHD's GlobalGenerator, of as many halvings as asked."""
    downs, norm = options["downsamplings"], _norm_layer(options, scaled)
    rest = f"n_downsampling={downs}, n_blocks={options['blocks']}, norm_layer={norm}"
    start = f"GlobalGenerator({_channels(options)}, ngf="
    return [
        UpstreamClass(
            name="GlobalGenerator",
            of="NVIDIA/pix2pixHD",
            widths=_resnet_widths(options["blocks"], downs),
            call=lambda n: f"{start}{n[NGF]}, {rest}{_padding(options)})",
            norms=_norms(scaled),
        )
    ]


def pytorch_gan_resnet(options: Options, scaled: bool) -> list[UpstreamClass]:
    """PyTorch-GAN's GeneratorResNet, which has 64 channels for an ngf in its code, and makes
    pictures of as many channels as it reads (ConfigError)."""
    blocks = options["blocks"]
    seen, made = (options.get(f"{which}_channels", 3) for which in ("in", "out"))
    if seen != made:
        raise ConfigError(
            "PyTorch-GAN's GeneratorResNet makes pictures of as many channels as it reads, and "
            f"this network makes {made} of {seen}. Export to 'pth-plain' or to onnx."
        )
    return [
        UpstreamClass(
            name="GeneratorResNet",
            of=PYTORCH_GAN,
            widths=_resnet_widths(blocks),
            call=lambda n: (
                f"GeneratorResNet(({seen}, height, width), {blocks}){_instead_of_64(n[NGF])}"
            ),
            norms=_norms(scaled),
        )
    ]


def pytorch_gan_unet(options: Options, scaled: bool) -> list[UpstreamClass]:
    """PyTorch-GAN's GeneratorUNet, which has 8 halvings and 64 channels for an ngf in its code."""
    found, downs = _unet_widths(options["downs"]), options["downs"]
    steps = "" if downs == 8 else f" with {downs} in place of 8 halvings"
    return [
        UpstreamClass(
            name="GeneratorUNet",
            of=PYTORCH_GAN,
            widths=found,
            call=lambda n: f"GeneratorUNet({_channels(options)}){steps}{_instead_of_64(n[NGF])}",
            norms=_norms(scaled),
        )
    ]


def _instead_of_64(ngf: int) -> str:
    return "" if ngf == 64 else f" with {ngf} in place of 64 channels in its code"


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
