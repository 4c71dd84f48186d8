"""The settings of GAN Slimming."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.settings import CropSettings, Settings


class DataSettings(CropSettings):
    """How photos become batches."""

    size: int = Field(
        default=256, ge=16, multiple_of=4, description="training crop, pixels; divisible by 4"
    )
    load_size: int | None = Field(
        default=None, description="shorter side before the crop; None: as size"
    )
    batch: int = Field(default=8, ge=1, description="crops in a batch")
    flip: bool = Field(default=True, description="half of the crops are mirrored")
    views: int = Field(
        default=0,
        ge=0,
        description="crops kept of each photo, so that the teacher's outputs can be cached; "
        "0: a fresh crop each time and no cache",
    )
    workers: int = Field(default=1, ge=0, description="decoding processes")
    cache: str | None = Field(
        default=None,
        description="folder of teacher outputs that several runs share; None: the run's own",
    )


class DistanceSettings(Settings):
    """The distance d between student and teacher (eq. 2) and the weights of its terms.

    With vgg16 it is by default the authors' d. ``kind="mse"`` is the ablation.
    """

    kind: Literal["perceptual", "mse"] = Field(
        default="perceptual", description="mse: squared error of the pictures, nothing else"
    )
    features: Literal["vgg16", "squeezenet", "tiny"] = Field(
        default="vgg16",
        description="vgg16: the paper's, a download of 528 MB; squeezenet: one of 5 MB; tiny: of "
        "the package itself",
    )
    content: float | None = Field(
        default=None,
        ge=0,
        description="L1 between the maps of the first tap; None: 1, with squeezenet 0.01",
    )
    style: float | None = Field(
        default=None,
        ge=0,
        description="squared difference of Gram matrices, all taps; None: 1e5, with squeezenet "
        "0.002",
    )
    unit: float = Field(default=0.0, ge=0, description="squared difference of unit-length features")
    pixel: float = Field(default=0.0, ge=0, description="L1 between the pictures themselves")

    @property
    def content_and_style(self) -> tuple[float, float]:
        """The weights of these two terms, which have the scale of the network's maps."""
        usual = (0.01, 0.002) if self.features == "squeezenet" else (1.0, 1e5)
        content, style = self.content, self.style
        return usual[0] if content is None else content, usual[1] if style is None else style


class CriticSettings(Settings):
    """The discriminator of the minimax game (eq. 15): the teacher's own, or a fresh PatchGAN."""

    start: Literal["teacher", "fresh"] = Field(
        default="teacher",
        description="teacher: the discriminator saved with the teacher, under its objective, where "
        "there is one; fresh: always a new PatchGAN",
    )
    real: Literal["teacher", "images"] = Field(
        default="teacher",
        description="what is real to it: the teacher's pictures (the authors' code), or images of "
        "the target domain (the paper)",
    )
    fixed: bool = Field(
        default=False,
        description="it stays what the teacher's was, and the student is to be judged as the "
        "teacher is (CEC, Shu et al. 2019)",
    )
    width: int = Field(default=64, ge=1, description="channels of a fresh one's first layer")
    layers: int = Field(default=3, ge=1, description="strided convolutions of a fresh one")
    pooled: bool = Field(
        default=True, description="a PatchGAN's logits are averaged before the loss"
    )
    lr: float = Field(default=1e-5, gt=0, description="its learning rate (Adam)")
    weight: float = Field(
        default=1.0, ge=0, description="of L_GAN in eq. 4; 0: no discriminator at all"
    )
    pool: int = Field(default=50, ge=0, description="size of the history of generated images")


class TargetSettings(Settings):
    """A cost to reach, as a fraction of the teacher's; give at most one."""

    macs: float | None = Field(
        default=None, gt=0, le=1, description="fraction of the teacher's MACs, 0 to 1"
    )
    params: float | None = Field(
        default=None, gt=0, le=1, description="fraction of the teacher's parameters, 0 to 1"
    )
    bytes: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="fraction of the bytes of the teacher's weights, 0 to 1, at quantise.bits",
    )

    @model_validator(mode="after")
    def _one_at_most(self) -> Self:
        given = [name for name, share in self if share is not None]
        if len(given) > 1:
            told = ", ".join(f"target.{name}" for name in given)
            raise ConfigError(f"Give one target, not {len(given)}: {told}.")
        return self

    @property
    def chosen(self) -> tuple[str, float] | None:
        """('macs', 0.03), or None where pruning is governed by rho alone."""
        return next(((name, share) for name, share in self if share is not None), None)


class SparsifySettings(Settings):
    """The joint loop: distil, quantise and prune (eq. 4, 6, 11-15)."""

    steps: int = Field(default=26_600, ge=1, description="of all rounds together")
    minutes: float | None = Field(
        default=None, gt=0, description="wall-clock limit of the whole stage"
    )
    rounds: int = Field(
        default=1, ge=1, description="times that silent channels are cut on the way"
    )
    lr: float = Field(default=1e-5, gt=0, description="learning rate of the weights (Adam)")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="cosine: all learning rates (the authors' code); linear: that of the scales "
        "stays until half time and then falls linearly, the others along the cosine (the paper); "
        "constant: where the stage is short",
    )
    weight_decay: float = Field(default=1e-3, ge=0, description="of the weights")
    scale_lr: float = Field(default=0.1, gt=0, description="learning rate of the scales (SGD)")
    rho: float = Field(default=0.01, ge=0, description="weight of the L1 term (eq. 3)")
    compare: Literal["rank", "size"] = Field(
        default="rank",
        description="how a target compares channels of different groups: by their rank in the "
        "group, or by their scales",
    )
    per_cost: float = Field(
        default=0.0, ge=0, description="power of a channel's cost in that comparison; 0: none"
    )
    ramp: float = Field(
        default=0.8, gt=0, le=1, description="share of the steps in which a target is met"
    )
    relative: bool = Field(
        default=True, description="thresholds relative to each group's first scales"
    )
    size: int | None = Field(
        default=None, ge=16, multiple_of=4, description="crop in this stage; None: data.size"
    )
    batch: int | None = Field(
        default=None, ge=1, description="batch in this stage; None: data.batch"
    )


class FinetuneSettings(Settings):
    """Distillation of a fixed student: after extraction, or of a narrow student from scratch."""

    steps: int = Field(default=20_000, ge=1, description="of the whole stage")
    minutes: float | None = Field(
        default=None, gt=0, description="wall-clock limit of the whole stage"
    )
    lr: float = Field(default=1e-4, gt=0, description="learning rate (Adam), falls to 0")
    weight_decay: float = Field(default=1e-3, ge=0, description="of the weights")
    ema: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the averaged weights; 0: none"
    )
    keep: Literal["last", "best"] = Field(
        default="last",
        description="which weights the student ends with; best: by the distance on inputs that are "
        "held out of training",
    )
    check_every: int = Field(default=500, ge=1, description="steps between two looks at those")
    held: int = Field(default=16, ge=1, description="inputs held out")


class QuantiseSettings(Settings):
    """Bits of weights and activations; 32 is float."""

    bits: int = Field(default=32, ge=2, le=32, description="2 to 8, or 32: float")
    per_channel: bool = Field(
        default=False, description="a weight scale per output channel; false: per tensor (eq. 8)"
    )
    ranges: Literal["fixed", "calibrated", "learned"] = Field(
        default="fixed",
        description="activation ranges: fixed at p; read off the teacher's activations; or a "
        "parameter per layer, which starts at the calibrated one",
    )
    p: float = Field(default=4.0, gt=0, description="activation range when fixed (eq. 7)")
    levels: Literal["int", "gs2020"] = Field(
        default="int",
        description="int: the levels that an integer holds; gs2020: the authors' grid, one more",
    )
    trunk: Literal["signed", "clamped"] = Field(
        default="signed",
        description="inputs that can be negative: a signed grid; clamped: cut at 0 (authors' code)",
    )
    last: Literal["int8", "float"] = Field(
        default="int8", description="the layer that writes the picture"
    )
    exact: bool = Field(
        default=False,
        description="steps that are powers of two, so that onnxruntime makes the same picture",
    )

    @model_validator(mode="after")
    def _bits_exist(self) -> Self:
        if 8 < self.bits < 32:
            raise ConfigError(f"quantise.bits is {self.bits}: give 2 to 8, or 32 for float.")
        return self


class SlimConfig(Settings):
    """GAN Slimming (Wang et al., ECCV 2020); the defaults are the authors'."""

    arm: Literal["gs", "gd", "cp", "cp+d", "d+cp", "postq"] = Field(
        default="gs",
        description="gs: the whole method; gd: a uniformly narrow student, distillation alone; "
        "cp: pruning in the minimax game without distillation; cp+d: cp, then fine-tuning with "
        "distillation; d+cp: a wide student is distilled in half of the fine-tuning's time, then "
        "cp; postq: gs in float, then rounded to quantise.bits without training, ranges calibrated",
    )
    share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="of the teacher's channels in each group: gd's student in place of a target; "
        "the student that d+cp distils (None: half, or more for a target that is not small)",
    )
    seed: int = Field(default=0, description="of everything that is drawn")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads; None: torch's default"
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="where it runs")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="of student, feature network and discriminator in training; losses, weights "
        "and the teacher are float32",
    )
    channels_last: bool = Field(default=False, description="memory format of the networks")
    restarts: int = Field(
        default=2,
        ge=0,
        description="times that a stage that diverges goes back to its last good state, halving "
        "rho and learning rates",
    )
    beta: float = Field(default=20.0, ge=0, description="weight of the distillation term (eq. 4)")
    trunk: Literal["tied", "keep"] = Field(
        default="tied",
        description="tied: the residual trunk is pruned as one group; keep: never cut",
    )
    least: int = Field(default=8, ge=1, description="channels that every group keeps at least")
    multiple: int = Field(default=1, ge=1, description="widths are multiples of this")
    data: DataSettings = DataSettings()
    distance: DistanceSettings = DistanceSettings()
    critic: CriticSettings = CriticSettings()
    target: TargetSettings = TargetSettings()
    sparsify: SparsifySettings = SparsifySettings()
    finetune: FinetuneSettings = FinetuneSettings()
    quantise: QuantiseSettings = QuantiseSettings()


def settled(config: SlimConfig, *, fresh: bool = True, pictures: int | None = None) -> SlimConfig:
    """The settings as the stages use them; those that contradict each other are refused.

    The cp arm has beta 0, postq calibrated ranges, and ``least`` is lifted to a multiple of
    ``multiple``.

    Args:
        fresh: the discriminator is a new PatchGAN.
        pictures: side in pixels, where crops do not say it (generators that read noise).
    """
    c, s = config.critic, config.sparsify
    prunes_alone = config.arm in ("cp", "cp+d", "d+cp")
    beta = 0.0 if config.arm == "cp" else config.beta
    if (beta == 0 or prunes_alone) and c.weight == 0:
        told = f"arm={config.arm}" if prunes_alone else "beta=0"
        raise ConfigError(
            f"With {told} and critic.weight=0 there is no loss to train with: raise one of them."
        )
    if s.rounds > s.steps and config.arm != "gd":
        raise ConfigError(
            f"sparsify.rounds={s.rounds} is more than sparsify.steps={s.steps}: give each round "
            "at least one step."
        )
    if config.arm == "postq" and config.quantise.bits == 32:
        raise ConfigError("arm 'postq' rounds to quantise.bits, which is 32: give 2 to 8.")
    if config.arm == "postq" and config.quantise.ranges == "learned":
        raise ConfigError(
            "arm 'postq' rounds without training, so that it cannot learn ranges: set "
            "quantise.ranges=calibrated."
        )
    crops = [config.data.size, *([s.size] if s.size and config.arm != "gd" else [])]
    size = pictures or min(crops)
    least_size = 3 * 2**c.layers  # below it a norm of the discriminator sees one pixel
    if c.weight > 0 and fresh and size < least_size:
        made = "pictures" if pictures else "crops"
        raise ConfigError(
            f"A discriminator of critic.layers={c.layers} needs {made} of at least {least_size} "
            f"pixels, got {size}: enlarge them or lower critic.layers."
        )
    least = -(-config.least // config.multiple) * config.multiple
    quantise = config.quantise
    if config.arm == "postq":
        quantise = quantise.model_copy(update={"ranges": "calibrated"})
    return config.model_copy(update={"beta": beta, "least": least, "quantise": quantise})
