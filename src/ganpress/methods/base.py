"""The contract of a compression method: what the command line, the ablation and the report use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ganpress.data import Images
from ganpress.errors import ConfigError, did_you_mean
from ganpress.measures.timing.latency_target import Kept
from ganpress.models.checkpoint import Model
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.shared_settings import MethodSettings


@dataclass(frozen=True)
class Given:
    """The inputs of a compression.

    Attributes:
        teacher: the generator that is compressed.
        images: what it reads, with maps or targets where it or its discriminator reads those, or
            what is real to the discriminator of a generator that reads noise; None: nothing.
        reals: pictures of the target domain, for ``discriminator.real=images`` without targets.
        weights: file or folder of the feature network's weights.
        start: a student of the teacher that the compression goes on from; None: the teacher.
        kept: where a target in milliseconds keeps the table that it hangs on.
    """

    teacher: Model
    images: Images | None
    reals: Images | None = None
    weights: Path | None = None
    start: Model | None = None
    kept: Kept = field(default_factory=Kept)

    @property
    def begin(self) -> Model:
        """What the student starts as: ``start``, or else the teacher."""
        return self.start or self.teacher


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the variants that an ablation of a method compares.

    Attributes:
        meaning: a few words for the table.
        overrides: what it changes in the settings that all variants share, group by group.
        adjust: (settings with the overrides, shared settings) -> settings, where the overrides
            alone do not say it.
        trained_as: the variant whose training is also this one's: its finished stages are taken
            over, not run again.
        reuses: the variant whose run folder of the same seed is this one's setting ``reuse``; it is
            run first.
    """

    meaning: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    adjust: Callable[[Any, Any], Any] | None = None
    trained_as: str | None = None
    reuses: str | None = None


def divided_training(steps: int, minutes: float | None) -> Callable[[float], dict[str, Any]]:
    """How a variant divides a training among its stages: a share of it -> ``steps``, at least one,
    and ``minutes`` of a stage's settings; minutes of None stay so."""

    def part(share: float) -> dict[str, Any]:
        return {"steps": max(1, round(share * steps)), "minutes": minutes and share * minutes}

    return part


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the paper: one variant is better than another, by every metric."""

    statement: str
    better: str
    worse: str


class Compress(Protocol):
    """Given and resolved settings -> the student; everything is in the run's folder, and resumes
    from there."""

    def __call__(self, given: Given, settings: Any, run: Run) -> Model: ...


def _as_given(given: Given, settings: Any) -> Any:
    return settings


def _nothing_more(given: Given, settings: Any) -> None:
    """The check of a method that has none of its own."""


def _fine_tuning_alone(settings: Any) -> dict[str, float | None]:
    return {"finetune": settings.finetune.minutes}


def _steps_of_fine_tuning(settings: Any) -> dict[str, int]:
    return {"finetune": settings.finetune.steps}


def _longer_fine_tuning(settings: Any) -> dict[str, str]:
    return {"finetune.steps": "finetune"}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A paper's method, as everything outside its folder knows it.

    Attributes:
        name: as the command line calls it.
        paper: title, venue, year.
        settings: its own settings on top of the shared ones.
        compress: calls the stages in order.
        resolve: (given, settings) -> the settings as the stages use them, which is what the run's
            config.json holds; refuses those that contradict each other (ConfigError).
        check: refuses, before any training, what cannot be compressed with the resolved settings:
            ConfigError, InfeasibleTarget, and NotPossible where it is the teacher that lacks
            something.
        stage_minutes: resolved settings -> minutes of training by stage; None where steps alone
            end it. Variants are compared at the same sum.
        stage_steps: resolved settings -> steps of each stage that trains.
        shortened: (settings, steps, minutes) -> the same with stages of that length at most, by
            which the time of a whole run is forecast; None: no forecast.
        longer: resolved settings -> those that can be raised in a finished run, each with the
            stage whose steps it counts: the last one that trains.
        parallel: its training runs in several processes under torchrun, the batch shared among
            them; false: one process.
        takes_start: it can go on from a student (`Given.start`), and ``check`` refuses one that
            cannot be gone on from; false: every start is refused.
        variants: what an ablation compares, by name.
        claims: the paper's statements.
        charts: titles of what its stages log, by the part before the slash.
        tables: (folder of a run or an ablation) -> Markdown in the layout of the paper's tables.
    """

    name: str
    paper: str
    settings: type[MethodSettings]
    compress: Compress
    resolve: Callable[[Given, Any], Any] = _as_given
    check: Callable[[Given, Any], None] = _nothing_more
    stage_minutes: Callable[[Any], dict[str, float | None]] = _fine_tuning_alone
    stage_steps: Callable[[Any], dict[str, int]] = _steps_of_fine_tuning
    shortened: Callable[[Any, int, float], Any] | None = None
    longer: Callable[[Any], dict[str, str]] = _longer_fine_tuning
    parallel: bool = False
    takes_start: bool = False
    variants: Mapping[str, Variant] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    charts: Mapping[str, str] = field(default_factory=dict)
    tables: Callable[[Path], str] | None = None

    def settings_of(self, variant: str, shared: MethodSettings) -> Any:
        """The settings of one variant at the cost, data and training time of ``shared``.

        Raises: ConfigError for a variant that does not exist, with the nearest name.
        """
        if variant not in self.variants:
            raise ConfigError(
                f"There is no variant '{variant}' of {self.name}"
                f"{did_you_mean(variant, self.variants)}. Variants: {', '.join(self.variants)}."
            )
        chosen, values = self.variants[variant], shared.model_dump()
        for name, change in chosen.overrides.items():
            group = values.get(name)
            values[name] = {**group, **change} if isinstance(group, dict) else change
        settings = checked(self.settings, values)
        return chosen.adjust(settings, shared) if chosen.adjust else settings

    def training_minutes(self, settings: Any) -> float | None:
        """The sum of `stage_minutes`; None where no stage has any. ConfigError: only some have."""
        given = self.stage_minutes(settings)
        timed = [minutes for minutes in given.values() if minutes is not None]
        if timed and len(timed) < len(given):
            stages = " and ".join(f"{stage}.minutes" for stage in self.stage_minutes(settings))
            raise ConfigError(
                f"Give {stages}, or none of them: the variants would not train for equal times."
            )
        return sum(timed) if timed else None
