"""SPADE: classes of NVlabs and GAN Compression."""

from __future__ import annotations

from ganpress.errors import ConfigError
from ganpress.models.families.gaugan import TRUNK, ups
from ganpress.models.layouts import Numbers, UpstreamClass
from ganpress.types import Options

GAN_COMPRESSION = "mit-han-lab/gan-compression"
NGF = "ngf"


def _spade_widths(options: Options, hidden: tuple[str, int]) -> dict[str, tuple[str, int]]:
    found = {"trunk": (NGF, 16)}
    for name in TRUNK:
        found |= {f"{name}_mid": (NGF, 16), f"{name}_hidden_0": hidden, f"{name}_hidden_1": hidden}
    for i, name in enumerate(ups(options)):
        width = (NGF, max(1, 8 >> i))
        found |= {f"{name}_mid": width, name: width}
        found |= {f"{name}_hidden_{k}": hidden for k in "01s"}
    return found


def _spade_flags(options: Options) -> str:
    flags = f"--label_nc {options['labels']} --num_upsampling_layers {options['upsampling']}"
    flags += " --contain_dontcare_label" if options["dontcare"] else ""
    return flags + ("" if options["edges"] else " --no_instance")


def _norm_flag(options: Options) -> str:
    return f"spade{'instance' if options['norm'] == 'instance' else 'syncbatch'}3x3"


def nvlabs_spade(options: Options, scaled: bool) -> list[UpstreamClass]:
    """NVlabs' SPADEGenerator: 128 hidden channels, never separable (ConfigError)."""
    if options["separable"]:
        raise ConfigError(
            "NVlabs' SPADEGenerator has no separable convolutions; GAN Compression's has: export "
            "to 'pth-gan-compression'."
        )
    return [_spade(options, "NVlabs/SPADE", ("hidden", 1), {"hidden": 128})]


def _spade(
    options: Options, of: str, hidden: tuple[str, int], fixed: Numbers, name: str = "SPADEGenerator"
) -> UpstreamClass:
    widths = _spade_widths(options, hidden)
    if options["upsampling"] == "most":  # the last block has half an ngf: count in halves
        widths = {g: (n, t if n != NGF else 2 * t) for g, (n, t) in widths.items()}
        last = ups(options)[-1]
        widths |= {last: (NGF, 1), f"{last}_mid": (NGF, 1)}
        widths = {g: ("ngf/2" if n == NGF else n, t) for g, (n, t) in widths.items()}
    middle = f" --separable_conv_norm {options['middle']}" if options["separable"] else ""
    flags = f"--norm_G {_norm_flag(options)} {_spade_flags(options)}{middle}"

    def call(n: Numbers) -> str:
        return f"{name}(opt) with --ngf {n.get(NGF, 2 * n.get('ngf/2', 0))} {flags}"

    return UpstreamClass(name=name, of=of, widths=widths, fixed=fixed, call=call)


def gc_spade(options: Options, scaled: bool) -> list[UpstreamClass]:
    """GAN Compression's full class, or its mobile one and that of its students."""
    hidden = (NGF, 2)
    if not options["separable"]:
        return [_spade(options, GAN_COMPRESSION, hidden, {})]
    mobile = _spade(options, GAN_COMPRESSION, hidden, {}, "MobileSPADEGenerator")
    if options["upsampling"] == "most" or options["middle"] != "instance":
        return [mobile]  # the student's class has neither
    return [mobile, _gc_spade_student(options)]


def _gc_spade_student(options: Options) -> UpstreamClass:
    """Its running statistics have the widths of --ngf, of which the first are used."""
    found = {"trunk": ("c0", 16)}
    for i, name in enumerate((*TRUNK, *ups(options)), 1):
        hidden = {f"{name}_hidden_{k}": (f"c{i}", 2) for k in ("01s" if i > 3 else "01")}
        width = (f"c{i}", 16 if i <= 3 else 8 >> (i - 4))
        found |= {**hidden, f"{name}_mid": width}
        found |= {name: width} if i > 3 else {}

    def call(n: Numbers) -> str:
        config = "_".join(str(n[f"c{i}"]) for i in range(8))
        return (
            f"SubMobileSPADEGenerator(opt, config) with --netG sub_mobile_spade --config_str "
            f"{config} --ngf {max(n.values())} --norm_G {_norm_flag(options)} "
            f"{_spade_flags(options)}"
        )

    name = "SubMobileSPADEGenerator"
    return UpstreamClass(
        name=name, of=GAN_COMPRESSION, widths=found, call=call, statistics_of_largest=True
    )
