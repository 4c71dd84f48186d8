"""Training on: the weights, widths and options that a training starts from in place of fresh ones.

A start fixes the network: settings that contradict its options or widths are refused, all others
are the recipe's. Everything random stays a function of (seed, step), so that the same file,
settings and images give the same bits; the optimisers, schedules and steps begin at 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model, fingerprint, load
from ganpress.models.discriminator import Discriminator
from ganpress.nn.discriminators import DISCRIMINATORS
from ganpress.quantisation.quantise import quantiser_of
from ganpress.run.files import read_json
from ganpress.run.proposals import holding
from ganpress.run.settings import checked
from ganpress.training.settings import TrainConfig

C = TypeVar("C", bound=TrainConfig)
Settle = Callable[[Mapping[str, Any]], Mapping[str, Any]]

HELD = ("options", "width", "generator")
"""Settings that a start decides, which no message may propose to change."""
TWO_WAYS = ("cyclegan", "munit")
"""Recipes that train a generator each way, "A2B" and "B2A"."""


@dataclass(frozen=True)
class Start:
    """The models that a training starts from.

    Attributes:
        models: by the names that the recipe gives its teachers: "", or "A2B" and perhaps "B2A".
        files: where each comes from, for messages and cards; "" where that is not a file.
    """

    models: Mapping[str, Model]
    files: Mapping[str, str] = field(default_factory=dict)

    def named(self, way: str) -> str:
        """The file of a direction, for a message."""
        return self.files.get(way) or f"the model{f' {way}' if way else ''} to start from"

    def card(self) -> dict[str, Any]:
        """Fingerprints, by direction where there are two: a resumed run is compared with them."""
        known = {way: _prints(model) for way, model in self.models.items()}
        return dict(known.get("") or known)

    def provenance(self, way: str) -> dict[str, Any]:
        """What the card of a teacher says of the model that it was trained on from; {}: fresh."""
        if way not in self.models:
            return {}
        model = self.models[way]
        facts = {**_prints(model), "provenance": dict(model.provenance)}
        return {"start": {"file": self.files.get(way, ""), **facts}}


def _prints(model: Model) -> dict[str, str]:
    own = model.discriminator
    return {
        "generator": fingerprint(model.net),
        "discriminator": fingerprint(own.net) if own else "none",
    }


def open_start(recipe: str, path: Path, back: Path | None = None) -> Start:
    """Read what a recipe is to start from: a model file, or the folder of a finished run.

    Args:
        back: the generator of the other direction, of a recipe that trains both.
    Raises: ConfigError, CheckpointError.
    """
    files = _files_in(path) if path.is_dir() else {"": path}
    if recipe in TWO_WAYS:
        files = {"A2B" if way == "" else way: file for way, file in files.items()}
        files |= {"B2A": back} if back else {}
    elif back or set(files) != {""}:
        named = back or path
        raise ConfigError(
            f"{named} is for a second direction, and '{recipe}' starts from one generator: give "
            "its file alone (--from)."
        )
    return Start({w: load(f) for w, f in files.items()}, {w: str(f) for w, f in files.items()})


def _files_in(run: Path) -> dict[str, Path]:
    """The teachers, or the student, of a finished run's folder."""
    student, results = run / "student.safetensors", run / "results.json"
    if student.exists():
        return {"": student}
    teachers = read_json(results).get("teachers") if results.exists() else None
    if not teachers:
        raise ConfigError(
            f"{run} is no folder of a finished run: it has neither teachers in a results.json nor "
            "a student.safetensors. Give a model file."
        )
    return {way: run / facts["file"] for way, facts in teachers.items()}


def as_start(recipe: str, given: Start | Model | Mapping[str, Model]) -> Start:
    """What `train` takes in Python, as a start: a model is that of the first direction."""
    if isinstance(given, Start):
        return given
    if isinstance(given, Model):
        return Start({"A2B" if recipe in TWO_WAYS else "": given})
    known = ("A2B", "B2A") if recipe in TWO_WAYS else ("",)
    if not set(given) <= set(known) or known[0] not in given:
        raise ConfigError(
            f"'{recipe}' starts from models named {' and '.join(map(repr, known))}, of which "
            f"{known[0]!r} is needed; got {', '.join(map(repr, given)) or 'none'}."
        )
    return Start(dict(given))


def settled(
    recipe: str, kind: type[TrainConfig], values: Mapping[str, Any], start: Start
) -> dict[str, Any]:
    """The settings that were given, with the options of the start's networks, and the size where
    those make pictures of one size only.

    Raises: ConfigError where the start cannot be trained on, or a setting contradicts it.
    """
    out = {**values, "options": dict(values.get("options") or {})}
    way, model = next(iter(start.models.items()))
    _check_family(recipe, kind, values, start)
    for name, value in out["options"].items():
        if name in model.options and value != model.options[name]:
            raise ConfigError(
                f"options.{name} is {value!r}, and the generator of {start.named(way)} has "
                f"{model.options[name]!r}: leave it out (--set options.{name}=)."
            )
    out["options"] |= model.options
    _check_widths(values, model, start.named(way))
    if model.is_fixed:
        data = dict(values.get("data") or {})
        if data.setdefault("size", model.size) not in (model.size, str(model.size)):
            raise ConfigError(
                f"data.size is {data['size']}, and the generator of {start.named(way)} makes "
                f"pictures of {model.size} pixels: leave it out (--set data.size=)."
            )
        out["data"] = data
    _check_ways(recipe, start)
    return out


def settled_config(recipe: str, config: C, start: Start) -> C:
    """`settled` for settings that have been checked; those at their defaults were not given."""
    given = config.model_dump(exclude_unset=True)
    with holding(*HELD):
        return checked(type(config), settled(recipe, type(config), given, start))


@contextmanager
def settling(recipe: str, kind: type[TrainConfig], start: Start | None) -> Iterator[Settle | None]:
    """Within, the settings of a training from this start are read: gives what `read_config` calls,
    and no message proposes what the start decides."""
    with holding(*(HELD if start else ())):
        yield partial(settled, recipe, kind, start=start) if start else None


def _check_family(
    recipe: str, kind: type[TrainConfig], values: Mapping[str, Any], start: Start
) -> None:
    """Refuse models of another family than the recipe trains, and quantised ones."""
    wanted = getattr(kind.model_construct(**values), "family", recipe)
    for way, model in start.models.items():
        name = model.family.name
        if name != wanted:
            other = {"pix2pix": "unet", "cyclegan": "resnet"}.get(name)
            by = f"--set generator={other}, or " if recipe == "pix2pix" and other else ""
            raise ConfigError(
                f"{start.named(way)} is a '{name}' generator, and this trains one of family "
                f"'{wanted}': {by}'ganpress train {name}'."
            )
        check_whole(model, start.named(way))


def check_whole(model: Model, named: str) -> None:
    """Refuse a quantised model: ConfigError. Args: named: words for it."""
    if quantiser_of(model.net):
        raise ConfigError(
            f"{named} is quantised, and a rounded network cannot be trained on: start from the "
            "model before it was quantised, or compress again with quantise.bits=32 and start "
            "from that student."
        )


def _check_widths(values: Mapping[str, Any], model: Model, named: str) -> None:
    """Refuse a ``width`` that was given and is not the network's."""
    width = values.get("width")
    if not isinstance(width, int | float):
        return
    for group, full in model.family.full(model.options).items():
        asked, has = max(1, round(full * width)), model.widths[group]
        if asked != has:
            raise ConfigError(
                f"width is {width}, which gives group '{group}' {asked} channels, and the "
                f"generator of {named} has {has}: leave it out (--set width=), as widths are "
                "the file's."
            )


def _check_ways(recipe: str, start: Start) -> None:
    """Refuse two directions that one training cannot have together."""
    if set(start.models) != {"A2B", "B2A"}:
        return
    there, back = start.models["A2B"], start.models["B2A"]
    ends = {"in_channels": "out_channels", "out_channels": "in_channels"}
    for name, value in there.options.items():
        other = back.options[ends.get(name, name)]
        if value != other:
            raise ConfigError(
                f"The generators of the two directions do not fit together: {name} is {value!r} in "
                f"{start.named('A2B')}, and {ends.get(name, name)} is {other!r} in "
                f"{start.named('B2A')}. Start from one of them."
            )
    if recipe == "munit" and there.widths["trunk"] != back.widths["trunk"]:
        raise ConfigError(
            f"MUNIT's two auto-encoders read each other's content codes, and these have "
            f"{there.widths['trunk']} channels in {start.named('A2B')} and {back.widths['trunk']} "
            f"in {start.named('B2A')}. Start from one of them."
        )


def unlike(own: Discriminator | None, kind: str, options: Mapping[str, Any]) -> str:
    """Why a file's discriminator is not the recipe's, as words; "": it is."""
    if own is None:
        return "none is in the file"
    if own.kind != kind:
        return f"the file's is of kind '{own.kind}', the recipe's of '{kind}'"
    has, wants = _all_options(kind, own.options), _all_options(kind, options)
    for name, value in wants.items():
        if has.get(name) != value:
            return f"{name} is {has.get(name)} in the file's and {value} in the recipe's"
    return ""


def _all_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A discriminator's options with the defaults of its class."""
    parameters = inspect.signature(DISCRIMINATORS[kind]).parameters.values()
    usual = {p.name: p.default for p in parameters if p.default is not p.empty}
    chosen = {**usual, **options}
    return {n: list(v) if isinstance(v, tuple) else v for n, v in chosen.items()}
