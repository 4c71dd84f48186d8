"""The settings of GAN Slimming, beside those that every method has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ganpress.errors import ConfigError
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.run.proposals import fewer, ways
from ganpress.run.settings import PixelSize, Settings, at_least, multiple_of
from ganpress.training.shared_settings import MethodSettings, resolved_alike
from ganpress.types.sizes import shorter


class SparsifySettings(Settings):
    """The joint loop: distil, quantise and prune (eq. 4, 6, 11-15)."""

    steps: int = Field(default=26_600, ge=1, description="training steps, over all rounds")
    minutes: float | None = Field(
        default=None,
        gt=0,
        description="wall-clock limit in minutes, over all rounds; None: steps alone",
    )
    rounds: int = Field(
        default=1,
        ge=1,
        description="rounds that the stage is divided into; silent channels are cut after each",
    )
    lr: float = Field(default=1e-5, gt=0, description="learning rate of the weights (Adam)")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="of the learning rates, which fall to 1 % of what they were; cosine: all along "
        "a cosine (the authors' code); linear: those of weights and discriminator are constant "
        "until half of the stage and then fall linearly, that of the scales along a cosine (the "
        "paper); constant: none falls",
    )
    weight_decay: float = Field(default=1e-3, ge=0, description="weight decay (Adam)")
    scale_lr: float = Field(default=0.1, gt=0, description="learning rate of the scales (SGD)")
    rho: float = Field(
        default=0.01, ge=0, description="weight of the L1 penalty on the scales (eq. 3)"
    )
    ranking: Literal["rank", "magnitude"] = Field(
        default="rank",
        description="importance of a channel where a target compares groups: its rank within its "
        "group, or the magnitude of its scales",
    )
    cost_exponent: float = Field(
        default=0.0,
        ge=0,
        description="exponent of a channel's cost, by which its importance is divided; 0: cost "
        "ignored",
    )
    empty_blocks: bool = Field(
        default=False,
        description="residual blocks may lose all their inner channels, and are then the identity; "
        "false: they keep min_channels, as every group does",
    )
    ramp_fraction: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="fraction of the steps after which the target must be met",
    )
    relative: bool = Field(
        default=True,
        description="soft-threshold relative to the mean magnitude of each group's initial scales",
    )
    size: Annotated[PixelSize, at_least(16), multiple_of(4)] | None = Field(
        default=None,
        description="training crop of this stage, pixels; None: data.size",
    )
    batch: int | None = Field(
        default=None, ge=1, description="crops in a batch of this stage; None: data.batch"
    )


RENAMED = {
    "arm": "procedure",
    "share": "width_ratio",
    "sparsify.per_cost": "sparsify.cost_exponent",
    "sparsify.compare": "sparsify.ranking",
    "sparsify.ramp": "sparsify.ramp_fraction",
}


class SlimConfig(MethodSettings):
    """GAN Slimming (Wang et al., ECCV 2020).

    The defaults are those of the authors' code (recipe ``gs2020``), but for these:

    - ``trunk``: tied, so that the residual stream is pruned, too; theirs keeps it.
    - ``min_channels``: 8, since a group of one or two channels holds back the whole network; theirs
      is 1.
    - ``sparsify.relative``: true, since imported teachers' scales do not start at 1; theirs false.
    - ``sparsify.empty_blocks``: false, since taking a block's last channels takes its whole branch
      at once (the norm behind it rescales whatever is left); theirs true.
    - ``data.batch``: 8 in both stages; theirs is 16 in fine-tuning.
    - ``finetune.steps``: 20 000; theirs 13 200.
    - ``quantise.levels``: int, since 257 levels do not fit a byte; theirs gs2020.
    - ``quantise.trunk``: signed, since the teacher was trained with a trunk that can be negative
      (ADR 16); theirs clamped.
    - ``restarts``: 2; theirs 0.
    - ``device``: cpu; theirs cuda.

    What no setting makes the same as theirs is in that file, too.
    """

    recipe_kinds: ClassVar[tuple[str, ...]] = ("slim", "ablate")
    renamed: ClassVar[Mapping[str, str]] = {**MethodSettings.renamed, **RENAMED}

    procedure: Literal["gs", "gd", "cp", "cp+d", "d+cp", "postq"] = Field(
        default="gs",
        description="gs: the whole method; gd: a uniformly narrow student, distillation alone; "
        "cp: pruning without distillation; cp+d: cp, then fine-tuning with distillation; d+cp: a "
        "wide student is distilled in half of the fine-tuning's time, then "
        "cp; postq: gs in float, then rounded to quantise.bits without training, ranges calibrated",
    )
    width_ratio: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="fraction of the teacher's channels in each group: of gd's student, in place "
        "of a target; of the student that d+cp distils (None: half, or more for a target that is "
        "not small)",
    )
    beta: float = Field(default=20.0, ge=0, description="weight of the distillation term (eq. 4)")
    trunk: Literal["tied", "keep"] = Field(
        default="tied",
        description="tied: the residual trunk is pruned as one group; keep: never cut",
    )
    sparsify: SparsifySettings = SparsifySettings()


def resolve(config: SlimConfig, *, fresh: bool = True, pictures: int | None = None) -> SlimConfig:
    """The settings as the stages use them; those that contradict each other are refused.

    The procedure cp has beta 0, postq calibrated ranges, and ``min_channels`` is lifted to a
    multiple of ``channel_multiple``; what says "None: as ..." has that value.

    Args:
        fresh: the discriminator is a new PatchGAN.
        pictures: side in pixels, where crops do not say it (generators that read noise).
    Raises: ConfigError.
    """
    d, s, q = config.discriminator, config.sparsify, config.quantise
    prunes_alone = config.procedure in ("cp", "cp+d", "d+cp")
    beta = 0.0 if config.procedure == "cp" else config.beta
    if (beta == 0 or prunes_alone) and d.weight == 0:
        cause = f"procedure={config.procedure}" if prunes_alone else "beta=0"
        raise ConfigError(
            f"With {cause} and discriminator.weight=0 there is no loss to train with: raise one of "
            "them."
        )
    given = config.target.given
    if config.procedure == "gd" and config.width_ratio is not None and given is not None:
        raise ConfigError(
            f"width_ratio={config.width_ratio:g} and target.{given[0]}={given[1]:g} contradict "
            "each other: the student of procedure 'gd' is of one of them. Give one, and reset the "
            f"other (--set width_ratio= or --set target.{given[0]}=)."
        )
    if s.rounds > s.steps and config.procedure != "gd":
        raise ConfigError(
            f"sparsify.rounds={s.rounds} is more than sparsify.steps={s.steps}: give each round "
            f"at least one step{ways(config, [{'sparsify.rounds': s.steps}], check=resolve)}."
        )
    if config.target.layout and s.empty_blocks and config.procedure != "gd":
        raise ConfigError(
            f"The classes behind target.layout={config.target.layout} have no block without "
            "channels: set sparsify.empty_blocks=false."
        )
    alike = resolved_alike(config)
    if config.procedure == "postq":
        _check_rounding(q)
        alike["quantise"] = alike["quantise"].model_copy(update={"ranges": "calibrated"})
    _check_pictures(config, fresh=fresh, pictures=pictures)
    size, batch = s.size or config.data.size, s.batch or config.data.batch
    return config.model_copy(
        update={
            "beta": beta,
            "sparsify": s.model_copy(update={"size": size, "batch": batch}),
            **alike,
        }
    )


def _check_rounding(quantise: QuantiseSettings) -> None:
    if quantise.bits == 32:
        raise ConfigError(
            "procedure 'postq' rounds to quantise.bits, which is 32: give 2 to 8, as --set "
            "quantise.bits=8."
        )
    if quantise.ranges == "learned":
        raise ConfigError(
            "procedure 'postq' rounds without training, so that it cannot learn ranges: set "
            "quantise.ranges=calibrated."
        )


def _check_pictures(config: SlimConfig, *, fresh: bool, pictures: int | None) -> None:
    """Refuse pictures on which a norm of a fresh discriminator would see one pixel."""
    d, joint_size = config.discriminator, config.sparsify.size
    crops = [config.data.size]
    if joint_size and config.procedure != "gd":
        crops.append(joint_size)
    size, smallest = pictures or min(map(shorter, crops)), 3 * 2**d.layers
    if d.weight > 0 and fresh and size < smallest:
        made = "pictures" if pictures else "crops"
        raise ConfigError(
            f"A discriminator of discriminator.layers={d.layers} needs {made} of at least "
            f"{smallest} pixels, got {size}: {'' if pictures else 'enlarge them or '}lower "
            f"discriminator.layers{_ways_to_fit(config, smallest, pictures)}."
        )


def _ways_to_fit(config: SlimConfig, smallest: int, pictures: int | None) -> str:
    """Larger crops, unless a generator makes the pictures, and fewer layers."""
    larger: dict[str, int] = {}
    if pictures is None and shorter(config.data.size) < smallest:
        larger["data.size"] = smallest
    if config.sparsify.size is not None and shorter(config.sparsify.size) < smallest:
        larger["sparsify.size"] = smallest
    check = partial(resolve, fresh=True, pictures=pictures)
    fewer_layers = fewer("discriminator.layers", config.discriminator.layers)
    return ways(config, [larger] if larger else [], fewer_layers, check=check)
