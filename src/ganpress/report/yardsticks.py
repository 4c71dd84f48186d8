"""What a metric is read beside: its standard error, and the same metric of something known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ganpress.report.amounts import larger_is_better, number
from ganpress.report.reading import QUALITY, RESULTS, TEACHER_QUALITY, section

_COUNTS = re.compile(r"-\d+(-vs-\d+-.+|x\d+)$")
_IN_WORDS = {
    "the teacher": "the teacher's own",
    "real": "real pictures",
    "real against real": "real pictures against real pictures",
}
_ERRORS = {
    "pictures": "standard error of the mean over the pictures",
    "path": "of a path length, standard error over its pairs of latent codes",
    "score": "of a score, standard deviation over its splits",
}
YARDSTICKS = "the same metric of what is named there, to compare with"


def flat(evaluation: Mapping[str, Any], key: str, where: str = RESULTS) -> dict[str, Any]:
    """Values of `metrics`, `spread` or `yardsticks` by name; one that holds several numbers is
    spread over several names. {} without any. Raises ConfigError, which names the file ``where``,
    for what is no object."""
    found: dict[str, Any] = {}
    for name, value in section(evaluation, key, where).items():
        if isinstance(value, Mapping):
            found |= {f"{name}, {inner}": each for inner, each in value.items()}
        else:
            found[name] = value
    return found


def standard_errors(evaluation: Mapping[str, Any], where: str = RESULTS) -> dict[str, float]:
    """Metric -> its standard error, of a score its deviation; of one picture none is known."""
    known = {name: number(value) for name, value in flat(evaluation, "spread", where).items()}
    single = evaluation.get("count") == 1
    return {
        name: error for name, error in known.items() if error is not None and (error or not single)
    }


def beside_teacher(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> Mapping[str, Any]:
    """The student's quality, with its teacher's metrics among the yardsticks where both were
    measured alike."""
    if any(teacher.get(key) != student.get(key) for key in ("protocol", "count")):
        return student
    own, known = flat(teacher, "metrics", TEACHER_QUALITY), flat(student, "metrics", QUALITY)
    first = {f"{name}, the teacher": value for name, value in own.items() if name in known}
    return {**student, "yardsticks": first | flat(student, "yardsticks", QUALITY)}


def sorted_by_metric(
    metrics: Iterable[str], yardsticks: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Yardsticks by the metric that their names begin with, in words: metric -> {of what: value};
    and, by their whole names, those of no metric.

    The names of FID and KID go on with counts and a reference, which a yardstick's does not have.
    """
    bases = {_COUNTS.sub("", name): name for name in metrics}
    bases |= {name: name for name in bases.values()}
    beside: dict[str, dict[str, Any]] = {}
    alone = {}
    for name, value in yardsticks.items():
        base = max((b for b in bases if name.startswith(f"{b}, ")), key=len, default=None)
        if base is None:
            alone[name] = value
        else:
            beside.setdefault(bases[base], {})[_in_words(name[len(base) + 2 :])] = value
    return beside, alone


def explained(errors: Iterable[str], *, yardsticks: bool) -> str:
    """What ± is after these metrics, and what the lines under a metric are; '' without either."""
    kinds = dict.fromkeys(map(_kind, errors))
    said = [words for kind, words in _ERRORS.items() if kind in kinds]
    lines = [f"±: {'; '.join(said)}."] if said else []
    return " ".join(lines + [f"Under a metric: {YARDSTICKS}."] * yardsticks)


def _kind(metric: str) -> str:
    if larger_is_better(metric):
        return "score"
    return "path" if metric.startswith("ppl-") else "pictures"


def _in_words(what: str) -> str:
    """'the teacher's own', 'real pictures against real pictures, 98 each'; others as they are."""
    first, comma, rest = what.partition(", ")
    return _IN_WORDS.get(first, first) + comma + rest
