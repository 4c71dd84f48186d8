"""A teacher in one call: train a family's generator by its paper's recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ganpress.data import Images
from ganpress.errors import ConfigError, ImagesError
from ganpress.models.checkpoint import Model, load
from ganpress.models.families import family as family_of
from ganpress.models.families.gaugan import UNKNOWN
from ganpress.run import distributed
from ganpress.run.files import read_json
from ganpress.run.proposals import holding, is_held, ways
from ganpress.run.run import Run
from ganpress.training.cartoongan import CartoonganTraining, train_cartoongan
from ganpress.training.cyclegan import CycleGANTraining, train_cyclegan
from ganpress.training.finish import finish
from ganpress.training.forecast import MIN_STEPS, MINUTES, STEPS, announce, timed_stages
from ganpress.training.gaugan import GauGANTraining, train_gaugan
from ganpress.training.kit import channels_of, check_split, device_of
from ganpress.training.munit import MunitTraining, train_munit
from ganpress.training.outcome import forgotten_if_refused
from ganpress.training.pix2pix import Pix2PixTraining, train_pix2pix
from ganpress.training.settings import TrainConfig
from ganpress.training.sngan import SNGANTraining, train_sngan
from ganpress.training.start import HELD, Start, as_start, settled_config
from ganpress.training.stylegan2 import StyleGAN2Training, train_stylegan2
from ganpress.types.sizes import covers, spelled

MAX_LABELS = 1000  # that are proposed: ids beyond are no classes
LONGER = {"steps": "train"}
"""The setting that can be raised in a finished run, and the stage whose steps it counts."""


class Trainer(NamedTuple):
    """How a family is trained: its settings, its loop, and what it needs besides images."""

    config: type[TrainConfig]
    stage: Callable[..., dict[str, Model]]
    needs: str


_NEEDS = {
    "other": "the photos of the other domain (--other DIR)",
    "pairs": "a target for each image (--pairs DIR, or --side-by-side AB for halves of one file)",
    "labels": "a label map for each image (--labels DIR, and --instances DIR for their edges)",
}
TRAINERS: dict[str, Trainer] = {
    "cartoongan": Trainer(CartoonganTraining, train_cartoongan, "other"),
    "cyclegan": Trainer(CycleGANTraining, train_cyclegan, "other"),
    "gaugan": Trainer(GauGANTraining, train_gaugan, "labels"),
    "munit": Trainer(MunitTraining, train_munit, "other"),
    "pix2pix": Trainer(Pix2PixTraining, train_pix2pix, "pairs"),
    "sngan": Trainer(SNGANTraining, train_sngan, ""),
    "stylegan2": Trainer(StyleGAN2Training, train_stylegan2, ""),
}


def trainer(family: str) -> Trainer:
    """How the family of this name is trained. Raises `ConfigError` with the nearest name."""
    return TRAINERS[family_of(family).name]


def needs(family: str) -> str:
    """Words for what the family is trained on besides images, as the end of a sentence."""
    needed = _NEEDS.get(trainer(family).needs)
    return f", and {needed}" if needed else ""


def train(
    family: str,
    images: Images,
    *,
    run: Path,
    config: TrainConfig | None = None,
    other: Images | None = None,
    test: Images | None = None,
    weights: Path | None = None,
    start: Start | Model | Mapping[str, Model] | None = None,
    extend: bool = False,
    command: str | None = None,
    quiet: bool = False,
) -> dict[str, Model]:
    """Train a teacher; run again with the same settings, it goes on where it stopped.

    Leaves in ``run``: teacher.safetensors (or teacher-A2B.safetensors and its like where a family
    trains several), discriminators inside; samples/, results.json, report.html, and the folder of
    the stage with log, state and pictures. Under torchrun every process calls this alike.

    Args:
        family: a name of `families.FAMILIES`.
        images: what is trained on: domain A, pairs, photos with label maps, or the real images.
        config: settings of the family's own class; None: its paper's recipe.
        other: the second domain of an unpaired family.
        test: images never trained on, for the final samples; default: those trained on.
        weights: file or folder of feature-network weights, where the recipe has a perceptual loss.
        start: train on from these weights, with their options, widths and discriminator (where it
            is the recipe's); a model, or models by direction ("A2B", "B2A"). None: fresh weights.
        extend: the run has finished, and ``config.steps`` is larger now: train on from its last
            state. Schedules are then those of a training of the new length.
    Returns: the teachers by direction; {"": model} where there is one.
    Raises: ConfigError, ImagesError before the first step; what `Stage.steps` raises in it.
    """
    how = trainer(family)
    c = config or how.config()
    check_class(family, how, c)
    if start is not None:
        start = as_start(family_of(family).name, start)
        c = settled_config(family, c, start)
    held = HELD if start else ()
    if c.threads:
        torch.set_num_threads(c.threads)
    device_of(c)
    distributed.start(c.device)
    with holding(*held):
        check_request(family, c, images, other)
    if test and how.needs == "labels" and not test.has_labels:
        raise ConfigError("The test photos have no label maps to make pictures from: leave --test.")
    images, other, test = _in_channels(family, how, c, images, other, test)
    data = {"data_hash": images.digest(), "photos": len(images)}
    if other:
        data |= {"other_hash": other.digest(), "other_photos": len(other)}
    card = {**_machine(c), **data, **({"command": command} if command else {})}
    settings = {"train": family, **c.model_dump(), **({"start": start.card()} if start else {})}
    run = Path(run)
    if not quiet and distributed.world() == 1 and not (run / "config.json").exists():
        forecast(partial(how.stage, weights=weights, start=start), images, other, c)
    with forgotten_if_refused(run), holding(*held):
        folder = Run(
            run, seed=c.seed, config=settings, card=card, quiet=quiet, longer=LONGER,
            extend=extend, usual=how.config().model_dump(),
        )  # fmt: skip
        if distributed.agree(int((run / "done.json").exists())):
            return load_teachers(run)
        models = how.stage(folder, images, other, c, weights=weights, start=start)
    for way, model in models.items():
        from_file = start.provenance(way) if start else {}
        model.provenance = {**_provenance(folder, settings, data), **from_file, **model.provenance}
    distributed.first(partial(finish, folder, models, c, shown=test or images, other=other))
    return models


def _in_channels(family: str, how: Trainer, config: TrainConfig, *sets: Images | None) -> list[Any]:
    """Images, those of the other domain and the test images, decoded to the channels of the
    generator: what it reads is ``images``, or nothing but labels or noise; the rest is as it makes.
    """
    seen, made = channels_of(family_of(getattr(config, "family", family)), config)
    reads_pictures = how.needs in ("other", "pairs")
    first = seen if reads_pictures else made
    return [
        one and one.with_channels(x, made)
        for one, x in zip(sets, (first, made, first), strict=True)
    ]


def forecast(
    stage: Callable[..., object], images: Images, other: Images | None, config: TrainConfig
) -> None:
    """Say how long a long training will take here, from a few timed steps of its stage."""
    if config.steps < MIN_STEPS:
        return
    data = config.data.model_copy(update={"workers": 0})
    few = {"steps": STEPS, "minutes": MINUTES, "sample_every": 1_000_000, "data": data}
    brief = config.model_copy(update=few)
    found = timed_stages(lambda run: stage(run, images, other, brief), config.seed)
    minutes = {"train": config.minutes}
    announce({"train": config.steps}, found, minutes=minutes, made_shorter={"train": [""]})


def check_request(family: str, config: TrainConfig, images: Images, other: Images | None) -> None:
    """Refuse data that the family cannot be trained on."""
    how = trainer(family)
    given = {
        "other": other is not None,
        "pairs": images.paired,
        "labels": images.has_labels,
    }
    if how.needs and not given[how.needs]:
        raise ConfigError(f"'{family}' is trained with {_NEEDS[how.needs]}, which are not given.")
    for kind in given:
        if given[kind] and how.needs != kind:
            raise ConfigError(f"'{family}' is not trained with {_NEEDS[kind]}: leave them out.")
    check_split(config)
    options = family_of(getattr(config, "family", family)).resolve(config.options)
    if how.needs == "labels":
        check_labels(images, options)
    for some in (images, other) if other else (images,):
        check_sizes(some, config)


def check_class(family: str, how: Trainer, config: TrainConfig) -> None:
    """Refuse settings of another family."""
    if not isinstance(config, how.config):
        raise ConfigError(
            f"'{family}' is trained with {how.config.__name__}, not {type(config).__name__}."
        )


def check_labels(images: Images, options: Mapping[str, Any]) -> None:
    """Refuse label maps with ids that the network does not know, and edges without instances."""
    known = options["labels"] + bool(options["dontcare"])
    free = {UNKNOWN} if options["dontcare"] else set()
    rest = [i for i in images.label_ids if not 0 <= i < known and i not in free]
    if rest == [UNKNOWN] and not is_held("options.dontcare"):
        raise ImagesError(
            f"The label map {images.maps_with(UNKNOWN)} holds id {UNKNOWN}, which marks pixels "
            f"without a label in many data sets, and the network knows {options['labels']} labels, "
            f"0 to {options['labels'] - 1}: --set options.dontcare=true gives those pixels a "
            "channel of their own; or check the maps."
        )
    if rest:
        key = "options.labels"
        can_grow = rest[0] >= 0 and rest[-1] < MAX_LABELS and not is_held(key)
        more = f"--set {key}={rest[-1] + 1}, or " if can_grow else ""
        raise ImagesError(
            f"The label map {images.maps_with(rest[-1])} holds id {rest[-1]}, but the network "
            f"knows {options['labels']} labels, 0 to {options['labels'] - 1}: {more}check the maps."
        )
    if options["edges"] and not images.has_instances:
        raise ConfigError(
            "Instance edges need instance maps: give them (--instances DIR)"
            + (
                "."
                if is_held("options.edges")
                else ", or train without (--set options.edges=false)."
            )
        )


def check_sizes(images: Images, config: TrainConfig) -> None:
    """Refuse images smaller than the crop, unless they are to be enlarged."""
    size = config.data.size
    small = [
        (name, height, width)
        for name, (height, width) in zip(images.names, images.sizes, strict=True)
        if not covers((height, width), size)
    ]
    if small and not config.data.enlarge:
        name, height, width = small[0]
        more = f" (and {len(small) - 1} more)" if small[1:] else ""
        least = min(min(sides) for _, *sides in small)
        how = ways(config, config.crops_within(least))
        raise ImagesError(
            f"'{name}'{more} is {height}x{width} pixels (height x width), smaller than the crop of "
            f"{spelled(size)}. {f'Train on smaller crops{how}, remove' if how else 'Remove'} it, "
            "or let small images be enlarged (--set data.enlarge=true)."
        )


def load_teachers(run: Path) -> dict[str, Model]:
    """The teachers that a finished training left. Raises ConfigError, CheckpointError."""
    return {name: load(run / facts["file"]) for name, facts in _teachers(run).items()}


def _teachers(run: Path) -> Mapping[str, Any]:
    return dict(read_json(run / "results.json")["teachers"])


def _machine(config: TrainConfig) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name() if config.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "processes": distributed.world(),
    }


def _provenance(run: Run, settings: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a teacher's card on its training."""
    card = distributed.first(lambda: read_json(run.root / "card.json")) or {}
    versions = {key: card.get(key) for key in ("ganpress", "torch", "device", "processes")}
    extended = {"extended": [e["steps"] for e in card["extended"]]} if "extended" in card else {}
    recipe = {"source": "ganpress train", "recipe": dict(settings)}
    return {**recipe, **data, **versions, **extended}
