"""Generators of GAN Compression (mit-han-lab): the full ResNet, the mobile one, and its students.

The student's config string is c0_c1_c2_b0_b1_b2_u0_u1 (or c0_c1_c2_b_u0_u1): stem c0, then c1*2 and
c2*4 channels; each group of three blocks has an inner width of b*4 on a trunk of c2*4; up-sampling
u0*2, then u1.

Upstream's full and student classes clamp the input to [-1, 1], its mobile class does not. A file
does not show its class: separable blocks at uniform widths are assumed to be the mobile class
unless a config is given. Inside ganpress images never leave [-1, 1], where both are the same.
"""

from __future__ import annotations

from typing import Any

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers import cyclegan
from ganpress.formats.importers.assumed import reject_others
from ganpress.formats.importers.cyclegan import norms_of, resnet_plan
from ganpress.formats.importers.fitting import Plan
from ganpress.formats.importers.resnet_layout import has_dropout, is_separable, layout_of
from ganpress.formats.importers.unsaid import (
    STUDENTS_CLAMP,
    assume_instance,
    assume_no_clamp,
    assume_padding,
)
from ganpress.models.checkpoint import Model
from ganpress.types import State

OPTIONS = ("clamp", "norm", "padding", "up", "colours")


def plan(state: State, *, source: str, config: str | None, **options: Any) -> Plan:
    """How a GAN Compression checkpoint becomes a `cyclegan` generator.

    BatchNorm takes the file's statistics, as upstream's test script does.

    Raises: ConfigError where ``config`` is no config string or is not that of the file, and for an
        option of another family.
    """
    separable = is_separable(state)
    layout = layout_of(state, source)
    if not separable and layout.blocks and not has_dropout(layout):
        raise CheckpointError(
            f"{source} keeps the second convolution of a block at {layout.inner}.{layout.second}, "
            "which GAN Compression never does: it looks like a CycleGAN or GAN Slimming generator. "
            "Import it with kind 'cyclegan'."
        )
    reject_others("ResNet", options, OPTIONS, source)
    own = {name: options[name] for name in OPTIONS[1:] if name in options}
    made = resnet_plan(state, layout, source=source, clamp=False, **own)
    mobile = separable and config is None and _is_uniform(made.widths)
    made.options["clamp"] = options.get("clamp", not mobile)
    assume_padding(made, options)
    assume_instance(made, state, options, norms_of(layout))
    if mobile:
        assume_no_clamp(made, options, STUDENTS_CLAMP)
    if config is not None:
        _check(config, made, separable, source)
    return made


def widths_of(config: str, *, blocks: int = 9) -> dict[str, int]:
    """Widths of a config string, as '16_16_32_16_32_32_16_16'.

    Raises: ConfigError where it is not 8 (or 6) whole numbers from 1 joined by '_'.
    """
    parts = config.split("_")
    if len(parts) not in (6, 8) or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise ConfigError(
            f"'{config}' is no config of GAN Compression: it is 8 numbers "
            "c0_c1_c2_b0_b1_b2_u0_u1 (or 6, with one b), as in 16_16_32_16_32_32_16_16."
        )
    c0, c1, c2, *b, u0, u1 = map(int, parts)
    if len(b) == 3 and (blocks - 1) // 3 > 2:
        raise ConfigError(f"'{config}' has three block widths, enough for 9 blocks, not {blocks}.")
    inner = {f"block{i}": 4 * b[i // 3 if len(b) == 3 else 0] for i in range(blocks)}
    return {"stem": c0, "down1": 2 * c1, "trunk": 4 * c2, **inner, "up1": 2 * u0, "up2": u1}


def _is_uniform(widths: dict[str, int]) -> bool:
    """Whether these are the widths of one ngf, as in the mobile class."""
    n = widths["stem"]
    times = {"stem": 1, "down1": 2, "up1": 2, "up2": 1}
    return all(width == n * times.get(group, 4) for group, width in widths.items())


def _check(config: str, made: Plan, separable: bool, source: str) -> None:
    described = widths_of(config, blocks=made.options["blocks"])
    if not separable:
        raise ConfigError(
            f"{source} has full convolutions in its blocks; a config ('{config}') describes "
            "separable students. Leave the config out."
        )
    wrong = [
        f"{group} {width} in the file, {described[group]} in the config"
        for group, width in made.widths.items()
        if width != described[group]
    ]
    if wrong and not made.unread:
        raise ConfigError(
            f"Config '{config}' is not that of {source}: {', '.join(wrong)}. Leave the config out "
            "to read the widths off the file."
        )


def state_of(model: Model) -> State:
    """The generator's tensors under GAN Compression's names: ResnetGenerator, or with option
    ``separable`` MobileResnetGenerator and SubMobileResnetGenerator (in its own widths)."""
    return cyclegan.state_of(model, "pth-gan-compression")
