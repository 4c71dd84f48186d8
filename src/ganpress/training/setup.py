"""What the stages of a compression share: the teacher, its inputs, the discriminator and the
distance."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ganpress.data import Images
from ganpress.losses.distance import Distance
from ganpress.measures.interest.interest import (
    Counted,
    Interest,
    interest_for,
    masked_images,
)
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.inputs import channels_of, inputs_of, is_drawn, reads
from ganpress.models.source import Crops, HeldOut, Sampled, Source
from ganpress.quantisation.attach import attach_quantiser
from ganpress.run.files import replace_file
from ganpress.run.progress import say
from ganpress.run.run import Run
from ganpress.run.snapshot import put_state, read_saved
from ganpress.training.discriminator import DiscriminatorWithLoss, starting_discriminator
from ganpress.training.distil import Networks, mask_of
from ganpress.training.kit import place
from ganpress.training.settings import RunSettings
from ganpress.training.shared_settings import MethodSettings
from ganpress.training.teacher import CachedTeacher, cached_teacher
from ganpress.types.sizes import Size, scaled

QUANTISED_ON = 16  # pictures over which activation ranges are read
CALIBRATED = 256  # pictures over which BatchNorm's statistics are read anew
CALIBRATED_AT_ONCE = 32  # at least: in small batches each picture is normalised too much by itself


@dataclass(frozen=True)
class Setup:
    """The inputs of every stage of a run.

    Attributes:
        validate: distance to the teacher on held-out inputs; None where none are held out.
        interest: where pictures matter (``mask``); None: everywhere.
    """

    run: Run
    source: Source
    discriminator: DiscriminatorWithLoss
    distance: Distance
    validate: Callable[[nn.Module], float] | None
    interest: Counted | None = None

    @property
    def teacher(self) -> Model:
        """The generator that is compressed."""
        return self.source.model

    def cached_teacher(self, settings: MethodSettings, size: Size) -> CachedTeacher:
        """The teacher with its cache of pictures of crops of ``size`` pixels."""
        return cached_teacher(self.source, settings.data, self.run.root, size)

    def networks(
        self, student: Model, teacher: CachedTeacher, settings: MethodSettings
    ) -> Networks:
        """The networks of a stage, the student on its device."""
        net = place(student.net, settings, settings.device)
        return Networks(net, teacher, self.discriminator)

    def warn_of_empty_masks(self) -> None:
        """At the end of a run: say of how many pictures the mask was empty, if of any."""
        if self.interest is not None and not self.run.quiet:
            self.interest.warn()


def set_up(
    teacher: Model,
    images: Images | None,
    reals: Images | None,
    weights: Path | None,
    settings: MethodSettings,
    run: Run,
) -> Setup:
    """Put the teacher, a starting discriminator and the distance on the device, and hold inputs out
    of training where ``finetune.select`` is "best".

    Raises: ConfigError, WeightsError.
    """
    c = settings
    run.seed_all("critic")  # the first version's salt, which fresh discriminators depend on
    half = c.precision == "bfloat16"
    discriminator = starting_discriminator(
        c.discriminator, teacher.discriminator, reads(teacher), channels_of(teacher), half=half
    )
    distance = Distance(c.distance, weights=weights, half=half).to(c.device)
    place(teacher.net, c, c.device)
    interest = interest_for(c.mask, device=c.device)
    masked = images if images is None else masked_images(images, c.mask)
    source = Source(teacher, masked, reals, c.device)
    validate = None
    if c.finetune.select == "best":
        source, held_out = source.split(c.finetune.holdout_images, c.data.size, c.seed + 1)
        validate = distance_on(held_out, teacher, distance, copy.copy(interest))
    if source.is_noise and c.discriminator.real == "teacher":
        source = Source(teacher, None, reals, c.device)
    place(discriminator, c, c.device)
    return Setup(run, source, discriminator, distance, validate, interest)


def distance_on(
    held: HeldOut, teacher: Model, distance: Distance, interest: Interest | None = None
) -> Callable[[nn.Module], float]:
    """A network -> the distance of its pictures to the teacher's on these inputs, where they
    matter."""
    inputs = held.inputs
    with torch.no_grad():
        target: Tensor = teacher.net.eval()(*inputs)
        mask = mask_of(interest, inputs, target, held.masks)

    @torch.no_grad()
    def measure(net: nn.Module) -> float:
        return float(distance(net(*inputs), target, mask))

    return measure


def training_crops(
    settings: MethodSettings, *, size: Size | None = None, batch: int | None = None
) -> Crops:
    """The crops of the settings, or of another size: then ``data.load_size`` in its proportion."""
    d = settings.data
    side = size or d.size
    load = d.load_size if d.load_size is None else scaled(d.load_size, d.size, side)
    return Crops(
        side,
        batch or d.batch,
        seed=settings.seed,
        load_size=load,
        flip=d.flip,
        cached_crops=d.cached_crops,
        workers=d.workers,
    )


def calibration_batches(setup: Setup, settings: MethodSettings) -> Sampled:
    """What BatchNorm's statistics are read from after a cut or a training: `CALIBRATED` pictures,
    in batches of ``data.batch``, or of `CALIBRATED_AT_ONCE` where that is more."""
    batch = max(settings.data.batch, CALIBRATED_AT_ONCE)
    count = max(1, CALIBRATED // batch) * batch
    d = settings.data
    return setup.source.sampled(count, d.size, count // batch, flip=d.flip)


def quantise_student(
    setup: Setup, net: nn.Module, observed: nn.Module, settings: MethodSettings
) -> None:
    """Below 32 bits, give a student quantisers, in place; their ranges start as those of the maps
    of ``observed``, a network of the same layers."""
    if settings.quantise.bits < 32:
        d = settings.data
        inputs = setup.source.sample(QUANTISED_ON, d.size, flip=d.flip)
        attach_quantiser(net, observed, inputs, settings.quantise)


def render_teacher(
    setup: Setup,
    settings: MethodSettings,
    wanted: Mapping[str, Crops],
    taps: Collection[str] = (),
) -> None:
    """Where crops are fixed, make all the teacher's pictures that the stages will ask for, and its
    feature maps.

    Done first, so that a stage's ``minutes`` are all training; what a shared cache already has is
    not made again. Nothing to do where the generator reads noise or styles.

    Args: wanted: crops of a stage, by the name of the stage that renders them. taps: modules whose
        maps the stages will ask for.
    """
    source, run = setup.source, setup.run
    d = settings.data
    if d.cached_crops == 0 or source.images is None or is_drawn(source.model):
        return
    if taps and not d.cached_maps:  # every step makes both anew
        return
    for name, crops in wanted.items():
        stage = run.stage(name)
        if run.done(name):
            continue
        teacher = setup.cached_teacher(settings, crops.size)
        steps = -(-len(source.images) * crops.cached_crops // crops.batch)
        loop = stage.steps(steps)
        photos = Source(source.model, source.images, None, source.device)
        stream = photos.batches(crops, stage.first, steps)
        for _ in loop:
            batch = next(stream)
            inputs = inputs_of(source.model, batch)
            if room := teacher.room(inputs, taps):  # in the first step
                say(f"the teacher's feature maps take {room / 1e9:.1f} GB on disk (--set "
                    "data.cached_maps=false keeps none)", quiet=run.quiet)  # fmt: skip
            teacher(inputs, batch.ids, taps)
        stage.finish(computed=teacher.computed, recalled=teacher.recalled)


def keep(root: Path, student: Model, discriminator: DiscriminatorWithLoss) -> None:
    """Save what the next stage starts from, so that the run can be resumed."""
    save(student, root / "student.safetensors", trainable=True)
    replace_file(root / "discriminator.pt", partial(torch.save, discriminator.state_dict()))


def take_up(done: Path, discriminator: DiscriminatorWithLoss, settings: RunSettings) -> Model:
    """The student of a finished stage, on the device and in the memory format of the settings, on
    which its last digits depend; the discriminator's weights after it are loaded, too."""
    path = done / "discriminator.pt"
    saved = read_saved(path, f"Delete the folder {done} to run that stage again.")
    put_state({"discriminator": discriminator}, {"discriminator": saved}, path)
    student = load(done / "student.safetensors")
    place(student.net, settings, settings.device)
    return student
