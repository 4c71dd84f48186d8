"""How an ablation's teacher and students are measured, once they are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganpress.data import Images
from ganpress.errors import ConfigError
from ganpress.measures.fidelity import evaluation_size
from ganpress.measures.image_metrics import AUTO, check_names, choose, kind_of
from ganpress.measures.labels import truth_of
from ganpress.measures.path_length import check_paths
from ganpress.measures.quality import evaluate_quality
from ganpress.methods.finish import Shown, evaluate_again
from ganpress.models.checkpoint import Model, load
from ganpress.models.inputs import from_noise
from ganpress.report import write_report
from ganpress.report.reading import QUALITY
from ganpress.run.files import read_json, write_json
from ganpress.training.shared_settings import MethodSettings


@dataclass(frozen=True)
class Plan:
    """One run of a variant: its folder, and its settings with the seed and the shared cache, as
    they were asked for and as its stages use them."""

    variant: str
    seed: int
    folder: Path
    settings: Any
    resolved: Any


@dataclass(frozen=True)
class Pictures:
    """The images that variants are trained and measured on.

    Attributes:
        images: what the generator reads; None where it reads noise.
        test: never trained on; None: ``images`` are shown.
        reals: real pictures of the target domain: teacher and students are compared with them,
            and with ``discriminator.real=images`` they are real to the discriminator. Where what
            is shown has targets or label maps, those are the reference.
    """

    images: Images | None
    test: Images | None = None
    reals: Images | None = None

    @property
    def shown(self) -> Images | None:
        """The images that teacher and students are measured on."""
        return self.test or self.images


@dataclass(frozen=True)
class Measured:
    """What students are measured by beside the usual metrics: names of `image_metrics.KINDS`, and
    where feature networks' weights lie."""

    metrics: tuple[str, ...]
    weights: Path | None

    @property
    def pairs(self) -> tuple[str, ...]:
        """Those that compare a student's picture with its teacher's."""
        return tuple(name for name in self.metrics if kind_of(name) == "pairs")

    def of(self, model: Model, pictures: Pictures) -> tuple[str, ...]:
        """Those that compare a model with real pictures; from noise there are no pairs."""
        return self.sets if from_noise(model) else self.metrics

    @property
    def labels(self) -> tuple[str, ...]:
        """Those that compare a model's pictures with label maps."""
        return tuple(name for name in self.metrics if kind_of(name) == "labels")

    @property
    def sets(self) -> tuple[str, ...]:
        """Those that compare a model's pictures with a set of real ones, or follow the paths of one
        that reads noise: both are measured beside real pictures."""
        return tuple(name for name in self.metrics if kind_of(name) in ("sets", "paths"))

    def check(self, teacher: Model, pictures: Pictures) -> None:
        """Refuse, before any training, names that there are not, distances of sets without real
        pictures, and metrics of label maps without those: ConfigError."""
        check_names(self.metrics)
        if AUTO in self.metrics:
            raise ConfigError(
                "An ablation's variants are measured alike wherever it goes on: name the metrics, "
                f"in place of '{AUTO}'."
            )
        if self.sets and not can_evaluate(teacher, pictures.shown, pictures.reals):
            raise ConfigError(
                f"'{self.sets[0]}' compares with real pictures: give some (--reals, --pairs, "
                "--test-pairs), or leave it out of --metrics."
            )
        check_paths(teacher, [name for name in self.metrics if kind_of(name) == "paths"])
        if self.labels:
            self._check_labels(teacher, pictures.shown)

    def _check_labels(self, teacher: Model, shown: Images | None) -> None:
        reads_maps = shown is not None and not from_noise(teacher)
        if shown is None or not reads_maps or not (shown.has_labels or shown.paired):
            raise ConfigError(
                f"'{self.labels[0]}' compares a generator's pictures with the label maps that they "
                "are made from, and there are none: leave it out of --metrics."
            )
        chosen = choose(self.labels, kinds=["labels"], side=1, weights=self.weights)
        for net in chosen.labels.values():
            truth_of(shown, 1, net.labelling)


def measure_again(plan: Plan, pictures: Pictures, teacher: Model, by: Measured) -> None:
    """Evaluate a finished variant's student against its teacher by the metrics that it lacks."""
    results = read_json(plan.folder / "results.json")
    if set(by.pairs) <= results["evaluation"]["protocol"].keys():
        return
    student = load(plan.folder / "student.safetensors")
    teacher.net.to("cpu")
    colours = results.get("samples", {}).get("colours", "as made") != "as made"
    shown = Shown.of(teacher, pictures.images, pictures.test, match_colours=colours)
    evaluate_again(
        plan.folder, student, teacher, plan.resolved, shown, metrics=by.pairs, weights=by.weights
    )


def evaluate_student(
    plan: Plan, pictures: Pictures, teacher: Model, base: MethodSettings, by: Measured
) -> None:
    """Measure the quality of a finished variant's student, where there are real pictures, and
    write its report with it."""
    path = plan.folder / QUALITY
    if lacks(path, teacher, pictures, by):
        student = load(plan.folder / "student.safetensors")
        evaluate_once(student, pictures, base, by, path)
        write_report(plan.folder)


def evaluate_once(
    model: Model, pictures: Pictures, base: MethodSettings, by: Measured, path: Path
) -> None:
    """Write a model's quality by `evaluate_quality`, where there are real pictures and no such file
    yet, or one without all metrics."""
    if lacks(path, model, pictures, by):
        write_json(path, quality_of(model, pictures, base, by))


def lacks(path: Path, model: Model, pictures: Pictures, by: Measured) -> bool:
    """Whether there are real pictures, and a metric that is not in the file."""
    if not can_evaluate(model, pictures.shown, pictures.reals):
        return False
    if not path.exists():
        return True
    return not set(by.of(model, pictures)) <= read_json(path)["protocol"].keys()


def can_evaluate(teacher: Model, shown: Images | None, reals: Images | None) -> bool:
    """Whether there are real pictures to compare with."""
    if shown is None or from_noise(teacher):
        return shown is not None
    return reals is not None or shown.paired or shown.has_labels


def quality_of(
    model: Model, pictures: Pictures, base: MethodSettings, by: Measured
) -> dict[str, Any]:
    """The quality of a model by `evaluate_quality`, as ``ganpress evaluate --json`` writes it."""
    shown = pictures.shown
    assert shown is not None
    given = from_noise(model) or shown.paired or shown.has_labels
    found = evaluate_quality(
        model,
        shown,
        other=None if given else pictures.reals,
        size=None if from_noise(model) else evaluation_size(base.data, model),
        features=base.distance.features,
        metrics=by.of(model, pictures),
        weights=by.weights,
        device=base.device,
    )
    return found.as_dict()
