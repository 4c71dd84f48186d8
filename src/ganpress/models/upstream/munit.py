"""MUNIT: classes of NVlabs and GAN Compression."""

from __future__ import annotations

from ganpress.errors import ConfigError
from ganpress.models.families.munit import STYLE_DOWN
from ganpress.models.layouts import Numbers, UpstreamClass
from ganpress.types import Options

GAN_COMPRESSION = "mit-han-lab/gan-compression"


def _channels(options: Options) -> int:
    """Channels of the pictures, of which these classes make as many as they read (ConfigError)."""
    seen, made = int(options.get("in_channels", 3)), int(options.get("out_channels", 3))
    if seen != made:
        raise ConfigError(
            "MUNIT's classes make pictures of as many channels as they read, and this network "
            f"makes {made} of {seen}. Export to 'pth-plain' or to onnx."
        )
    return made


def _munit_widths(options: Options) -> dict[str, tuple[str, int]]:
    down, res = options["down"], options["res"]
    top = 2**down
    found = {"stem": ("dim", 1), "trunk": ("dim", top), "mlp0": ("mlp_dim", 1)}
    found |= {f"down{i}": ("dim", 2**i) for i in range(1, down)}
    found |= {f"{part}{i}": ("dim", top) for part in ("res", "dec") for i in range(res)}
    found |= {f"up{i}": ("dim", top >> i) for i in range(1, down + 1)}
    if options["style_encoder"]:
        found |= {f"style{i}": ("dim", min(2**i, 4)) for i in range(STYLE_DOWN + 1)}
    return found | {"mlp1": ("mlp_dim", 1)}


def nvlabs_munit(options: Options, scaled: bool) -> list[UpstreamClass]:
    """NVlabs' AdaINGen: always with a style encoder, never separable (ConfigError)."""
    lacking = "no separable convolutions" if options["separable"] else None
    if not options["style_encoder"]:
        lacking = "always a style encoder, and this network none"
    if lacking:
        raise ConfigError(
            f"NVlabs' AdaINGen has {lacking}; GAN Compression's classes fit: export to "
            "'pth-gan-compression'."
        )
    channels = _channels(options)
    rest = (
        f"'style_dim': {options['style_dim']}, 'n_downsample': {options['down']}, "
        f"'n_res': {options['res']}, 'activ': 'relu', 'pad_type': 'reflect'"
    )
    return [
        UpstreamClass(
            name="AdaINGen",
            of="NVlabs/MUNIT",
            widths=_munit_widths(options),
            call=lambda n: (
                f"AdaINGen({channels}, {{'dim': {n['dim']}, {rest}, 'mlp_dim': {n['mlp_dim']}}})"
            ),
        )
    ]


def gc_munit(options: Options, scaled: bool) -> list[UpstreamClass]:
    """GAN Compression's full class, or that of its students: of a config, in pairs of blocks."""
    flags = (
        f"--style_dim {options['style_dim']} --n_downsample {options['down']} "
        f"--n_res {options['res']}{'' if options['style_encoder'] else ' --no_style_encoder'}"
    )
    if (channels := _channels(options)) != 3:
        flags += f" --input_nc {channels} --output_nc {channels}"
    if options["separable"]:
        return [_gc_munit_student(options, flags)]
    return [
        UpstreamClass(
            name="AdaINGenerator",
            of=GAN_COMPRESSION,
            widths=_munit_widths(options),
            call=lambda n: (
                f"AdaINGenerator(opt) with --netG munit --ngf {n['dim']} --mlp_dim "
                f"{n['mlp_dim']} {flags}"
            ),
        )
    ]


def _gc_munit_student(options: Options, flags: str) -> UpstreamClass:
    down, res = options["down"], options["res"]
    if res % 2:
        raise ConfigError(
            f"GAN Compression's MUNIT students have an even number of residual blocks, this "
            f"network {res}. Export to 'pth-plain' or to onnx."
        )
    halves, found = range(res // 2), _munit_widths(options)
    for group, (_, times) in found.items():
        number = "style" if group.startswith("style") else group
        if group.startswith(("res", "dec")):
            number = f"{group[:3]}{int(group[3:]) // 2}"
        if not group.startswith("mlp"):
            found[group] = (number, times)
    order = ["style", "stem", *(f"down{i}" for i in range(1, down)), "trunk"]
    order += [f"{part}{i}" for part in ("res", "dec") for i in halves]
    order += [f"up{i}" for i in range(1, down + 1)]

    def call(n: Numbers) -> str:
        config = "_".join(str(n.get(number, n["stem"])) for number in order)
        return (
            "SubMobileAdaINGenerator(opt, config) with --netG sub_mobile_munit --config_str "
            f"{config} --mlp_dim {n['mlp_dim']} {flags}"
        )

    name = "SubMobileAdaINGenerator"
    return UpstreamClass(name=name, of=GAN_COMPRESSION, widths=found, call=call)
