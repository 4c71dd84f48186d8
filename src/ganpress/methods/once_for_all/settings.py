"""The settings of GAN Compression, beside those that every method has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from ganpress.methods.once_for_all.search.settings import SearchSettings
from ganpress.run.settings import Settings
from ganpress.training.shared_settings import (
    FinetuneSettings,
    InheritedDiscriminator,
    MethodSettings,
    StudentSettings,
)


class OnceForAllStudent(StudentSettings):
    """The generator that is trained once for all widths."""

    wiring: Literal["auto", "dense", "separable"] = Field(
        default="auto",
        description="separable: the layers that the paper makes depthwise and pointwise are; "
        "dense: the teacher's own layers; auto: separable where the family can be, but not with "
        "form=integers, since integer runtimes gain least on depthwise layers",
    )
    width_ratio: float = Field(
        default=1.0, gt=0, le=1, description="fraction of the teacher's channels at full width"
    )
    start: Literal["teacher", "fresh"] = Field(
        default="teacher",
        description="teacher: layers that both have start with the teacher's weights, of its most "
        "important channels where there are fewer; fresh: all weights are new",
    )
    affine: bool = Field(
        default=False,
        description="give InstanceNorms that have no scales and shifts both, as GAN Slimming's "
        "students have them: channels can differ in strength, at no MACs. The paper's have none",
    )


class PredistilSettings(Settings):
    """Distillation at full width, before other widths are trained (the paper's full pipeline)."""

    steps: int = Field(default=0, ge=0, description="training steps; 0: none")
    minutes: float | None = Field(
        default=None, gt=0, description="wall-clock limit in minutes; None: steps alone"
    )


class SupernetSettings(Settings):
    """Training at sampled widths (section 3.4)."""

    steps: int = Field(default=100_000, ge=1, description="training steps")
    minutes: float | None = Field(
        default=None, gt=0, description="wall-clock limit in minutes; None: steps alone"
    )
    lr: float | None = Field(
        default=None,
        gt=0,
        description="initial learning rate of the student (Adam); None: the authors', by family",
    )
    decay: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="fraction of the steps, at the end, over which the learning rates fall to 0",
    )
    betas: tuple[float, float] | None = Field(
        default=None, description="Adam's, of both networks; None: the authors' for the family"
    )
    weight_decay: float | None = Field(
        default=None,
        ge=0,
        description="Adam's, of both networks; None: the authors' for the family",
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights, per step; 0: no average",
    )
    sampling: Literal["uniform", "sandwich", "within", "shrinking"] = Field(
        default="uniform",
        description="width sets of a step; uniform: one at random (the paper); sandwich: the "
        "largest, the smallest and sandwich_random at random; within: one at random that is "
        "narrowed until it is within the target, and with search.widen widened, so that only sets "
        "that can be chosen are trained; shrinking: one at random that is near the "
        "uniform narrowing to a budget, which falls from the widest set's cost to the target "
        "(after the progressive shrinking of Cai et al., ICLR 2020)",
    )
    shrink_fraction: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="fraction of the stage over which the budget of sampling=shrinking falls",
    )
    sandwich_random: int = Field(
        default=1, ge=0, description="random width sets in a step of sandwich sampling"
    )
    sort: bool = Field(
        default=True,
        description="first put the channels of each group in order of importance, so that narrow "
        "width sets have the most important ones",
    )


class DistilSettings(Settings):
    """What pulls the student to its teacher and to the truth (section 3.1 and 3.2)."""

    objective: Literal["gan-compression", "omgd", "dcd"] = Field(
        default="gan-compression",
        description="gan-compression: L1 to the truth or to the teacher's picture, and what the "
        "family's own objective has; omgd: SSIM, Gram matrices, features and total variation "
        "against the teacher's picture, no discriminator; dcd: Gram matrices and features beside "
        "the GAN term, taps through the discriminator",
    )
    unpaired: Literal["teacher", "none"] = Field(
        default="teacher",
        description="without the truth, the pictures that the student is to come near; teacher: "
        "the teacher's; none: none",
    )
    reconstruction: float | None = Field(
        default=None, ge=0, description="weight of L1 of pictures; None: the authors' for the task"
    )
    matching: float | None = Field(
        default=None,
        ge=0,
        description="weight of L1 between the discriminator's inner maps (SPADE); None: the "
        "authors' for the family",
    )
    perceptual: float | None = Field(
        default=None,
        ge=0,
        description="weight of the perceptual loss on distance.features (SPADE); None: the "
        "authors' for the family",
    )
    distance: float = Field(
        default=0.0,
        ge=0,
        description="weight of the distance to the teacher's picture, by the settings of distance, "
        "which is what GAN Slimming trains by; 0: the paper's objective",
    )
    style: float | None = Field(
        default=None,
        ge=0,
        description="weight of L1 between style codes of reference pictures (MUNIT); None: the "
        "authors' for the family",
    )
    taps_weight: float | None = Field(
        default=None,
        ge=0,
        description="weight of the distillation of feature maps; None: the authors' for the task",
    )
    tap_loss: Literal["mse", "alignment", "dcd"] | None = Field(
        default=None,
        description="how feature maps are compared; mse: through learned 1x1 convolutions (the "
        "paper; L1 for MUNIT's content code); alignment: kernel alignment; dcd: through the "
        "discriminator; None: mse, with the objective dcd through the discriminator",
    )
    taps: tuple[str, ...] | None = Field(
        default=None, description="modules whose maps are distilled; None: the family's"
    )


class OnceForAllDiscriminator(InheritedDiscriminator):
    """The discriminator, under the teacher's own objective."""

    lr: float | None = Field(  # type: ignore[assignment]
        default=None,
        gt=0,
        description="learning rate of the discriminator (Adam); None: the authors' for the family",
    )


class OnceForAllSearch(SearchSettings):
    """The search for the best width set within the target."""

    quality: str = Field(
        default="distance",
        description="what a width set is scored by, on held-out inputs; distance: to the teacher's "
        "pictures, by the settings of distance; l1: to the teacher's pictures; truth: the distance "
        "to the real pictures of the same inputs; frechet: of distance.features, between the "
        "student's pictures and real ones; miou, accuracy: of a segmenter (search.segmenter)",
    )
    segmenter: str | None = Field(
        default=None,
        description="the segmenter of miou and accuracy, as 'evaluate --metrics' has it",
    )
    choose: str | None = Field(
        default=None,
        description="a width set by its name, such as 32_16_24, in place of a search",
    )


class OnceForAllFinetune(FinetuneSettings):
    """Training of the student that was found, at its own widths; the loss is as before."""

    steps: int = Field(default=0, ge=0, description="training steps; 0: none")
    lr: float | None = Field(  # type: ignore[assignment]
        default=None, gt=0, description="initial learning rate (Adam); None: supernet.lr"
    )
    weight_decay: float | None = Field(  # type: ignore[assignment]
        default=None, ge=0, description="Adam's; None: supernet.weight_decay"
    )


class OnceForAllConfig(MethodSettings):
    """GAN Compression (Li et al., CVPR 2020; TPAMI 2021).

    The defaults are the paper's fast pipeline: no pre-distillation, one uniformly sampled width
    set a step, evolution, no fine-tuning; recipes ``gan-compression-full`` and ``-fast`` are the
    authors' two. Departures: channels are sorted by importance before other widths are trained
    (``supernet.sort``), the student starts with the teacher's weights where layers are alike
    (``student.start``), and the discriminator is the teacher's where there is one, as in the full
    pipeline (``discriminator.start``).
    """

    recipe_kinds: ClassVar[tuple[str, ...]] = ("once-for-all", "ablate")
    renamed: ClassVar[Mapping[str, str]] = {}

    channel_multiple: int = Field(
        default=8, ge=1, description="the number of channels of a group is a multiple of this"
    )
    procedure: Literal["once-for-all", "uniform", "scratch"] = Field(
        default="once-for-all",
        description="once-for-all: the whole method; uniform: a uniformly narrow student within "
        "the target, trained by the same losses in the time of all stages; scratch: the same with "
        "the widths that the run of reuse found",
    )
    reuse: str | None = Field(
        default=None,
        description="folder of another run of the same teacher, images and training, whose "
        "finished pre-distillation and supernet are taken over; of procedure scratch: whose widths",
    )
    student: OnceForAllStudent = OnceForAllStudent()
    predistil: PredistilSettings = PredistilSettings()
    supernet: SupernetSettings = SupernetSettings()
    distil: DistilSettings = DistilSettings()
    discriminator: OnceForAllDiscriminator = OnceForAllDiscriminator()
    search: OnceForAllSearch = OnceForAllSearch()
    finetune: OnceForAllFinetune = OnceForAllFinetune()
