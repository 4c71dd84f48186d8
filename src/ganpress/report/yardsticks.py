"""What a metric is read beside: its standard error, and the same metric of something known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ganpress.report.amounts import larger_is_better, number
from ganpress.report.reading import section

_WHERE = "results.json"
_COUNTS = re.compile(r"-\d+(-vs-\d+-.+|x\d+)$")
_IN_WORDS = {
    "the teacher": "the teacher's own",
    "real": "real pictures",
    "real against real": "real pictures against real pictures",
}
YARDSTICKS = "the same metric of what is named there, to compare with"


def flat(evaluation: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Values of `metrics`, `spread` or `yardsticks` by name; one that holds several numbers is
    spread over several names. {} without any. Raises ConfigError for what is no object."""
    found: dict[str, Any] = {}
    for name, value in section(evaluation, key, _WHERE).items():
        if isinstance(value, Mapping):
            found |= {f"{name}, {inner}": each for inner, each in value.items()}
        else:
            found[name] = value
    return found


def standard_errors(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Metric -> its standard error, of a score its deviation; of one picture none is known."""
    known = {name: number(value) for name, value in flat(evaluation, "spread").items()}
    single = evaluation.get("count") == 1
    return {
        name: error for name, error in known.items() if error is not None and (error or not single)
    }


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
    errors = list(errors)
    paths = [name for name in errors if name.startswith("ppl-")]
    scores = [name for name in errors if larger_is_better(name)]
    said = ["the standard error of the mean over the pictures"] * (
        len(errors) > len(paths) + len(scores)
    )
    said += ["of a path length, over its pairs of latent codes"] * bool(said and paths)
    said += ["the standard error of the mean over pairs of latent codes"] * bool(not said and paths)
    said += ["of a score, the standard deviation over its splits"] * bool(scores)
    lines = [f"±: {'; '.join(said)}."] * bool(said)
    lines += [f"Under a metric: {YARDSTICKS}."] * yardsticks
    return " ".join(lines)


def _in_words(what: str) -> str:
    """'the teacher's own', 'real pictures against real pictures, 98 each'; others as they are."""
    first, comma, rest = what.partition(", ")
    return _IN_WORDS.get(first, first) + comma + rest
