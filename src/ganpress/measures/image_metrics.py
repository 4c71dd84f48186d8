"""Metrics of pictures by networks trained for them: which there are, whose weights are here, what
they give and what they are called.

FID, KID and IS are what is computed on the published Inception-v3 alone, ST-LPIPS on its published
network alone: other weights, and other networks, have other names (ADR 0007, 0026).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from ganpress.errors import ConfigError, did_you_mean
from ganpress.losses.features import Features, load_features, weights_among, without_weights
from ganpress.losses.inception import LOGITS
from ganpress.losses.st_lpips import MIN_SIZE
from ganpress.losses.terms import learned_unit_distance
from ganpress.measures.metrics import frechet_distance, inception_score, kernel_distance
from ganpress.measures.metrics.inception_score import Score
from ganpress.measures.path_length import PATHS
from ganpress.measures.segmenter import FILES, MEASURES, Segmenter, load_segmenter, parts_of
from ganpress.measures.segmenter import NAMES as SEGMENTERS
from ganpress.measures.segmenter import check_name as check_segmenter

Kind = Literal["sets", "pairs", "labels", "paths"]
KINDS: dict[str, Kind] = {
    "efficientnet-lite0": "sets",
    "st-lpips-alex": "pairs",
    "inception-pytorch": "sets",
    "inception-tf1": "sets",
    "inception-clean": "sets",
    **dict.fromkeys(PATHS, "paths"),
    **{f"{measure}-{net}": "labels" for net in SEGMENTERS for measure in MEASURES},
}
"""What each compares: two sets of pictures, each picture with its reference, neighbours on paths
through a latent space, or what a segmenter sees in a picture with its label map. There are also
``miou-FILE`` and ``accuracy-FILE``: see `kind_of`."""
USUAL = ("efficientnet-lite0", "st-lpips-alex", "inception-pytorch")
AUTO = "auto"
"""Stands for those of `USUAL` that suit the comparison and whose weights are here."""
SPLITS = 10
ROUNDING = "uint8"
INCEPTION = "inception-"
MIN_SIDES = {"st-lpips-alex": MIN_SIZE}
"""Pixels; the others resize what they see."""


@dataclass(frozen=True)
class Chosen:
    """The networks of the metrics that are computed.

    labels: segmenters, by the names of the metrics. paths: names of `PATHS`. left_out: names of
    the others, of those that suit the comparison, and how to have them.
    """

    sets: tuple[Features, ...] = ()
    pairs: tuple[Features, ...] = ()
    labels: dict[str, Segmenter] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)


def choose(
    wanted: Sequence[str],
    *,
    kinds: Sequence[str],
    side: int,
    weights: Path | None = None,
    device: str = "cpu",
) -> Chosen:
    """Load the networks of the metrics that are asked for.

    Args:
        wanted: names of `KINDS`, whose weights are fetched where they can be; `AUTO`: see there,
            nothing is fetched.
        kinds: what is compared: some of "sets", "pairs", "labels" and "paths". side: the shorter
            one, in pixels.
        weights: folder searched before GANPRESS_WEIGHTS; or one of the published files.
    Raises: ConfigError for a name that there is not, or a metric that does not suit; WeightsError.
    """
    check_names(wanted)
    found: dict[str, list[Features]] = {"sets": [], "pairs": []}
    left_out: dict[str, str] = {}
    labels: dict[str, str] = {}
    paths = tuple(name for name in wanted if PATHS.get(name))
    for name, asked in expanded(wanted).items():
        kind = kind_of(name)
        unfit = _unfit(name, kinds, side)
        if unfit and asked:
            raise ConfigError(unfit)
        if unfit and kind not in kinds:
            continue
        if parts := parts_of(name):
            labels[name] = parts[1]
            continue
        if kind == "paths":
            continue
        lacks = unfit or ("" if asked else without_weights(name, weights))
        if lacks:
            left_out[name] = lacks
            continue
        net = load_features(name, weights=weights_among(name, weights))
        found[kind].append(net.to(device))
    nets = {name: load_segmenter(name, weights=weights) for name in dict.fromkeys(labels.values())}
    seen = {name: nets[segmenter].to(device) for name, segmenter in labels.items()}
    return Chosen(tuple(found["sets"]), tuple(found["pairs"]), seen, paths, left_out)


def check_names(wanted: Sequence[str]) -> None:
    """Raises: ConfigError for what is no metric's name."""
    for name in wanted:
        if parts := parts_of(name):
            check_segmenter(parts[1])
        elif name != AUTO and name not in KINDS:
            raise ConfigError(
                f"There is no metric '{name}'{did_you_mean(name, [*KINDS, AUTO])}. "
                f"Metrics: {', '.join(KINDS)}; or 'miou-FILE', 'accuracy-FILE': by a segmentation "
                f"network of your own ({', '.join(FILES)}); or '{AUTO}': those whose "
                "weights are here; or 'none' alone."
            )


def kind_of(name: str) -> Kind:
    """What a metric compares; of one that `check_names` lets pass."""
    return "labels" if parts_of(name) else KINDS[name]


def expanded(wanted: Sequence[str]) -> dict[str, bool]:
    """Each metric's name, and whether it was asked for by it."""
    usual = dict.fromkeys(USUAL, False) if AUTO in wanted else {}
    return usual | {name: True for name in wanted if name != AUTO}


def _unfit(name: str, kinds: Sequence[str], side: int) -> str:
    """Why this metric cannot be computed here, or ''."""
    kind = kind_of(name)
    if kind not in kinds:
        what = {
            "labels": "compares a generator's pictures with the label maps that they are made "
            "from, not those of other generators, nor with a teacher's",
            "sets": "compares a generator's pictures with a set of real ones, not with a teacher's",
            "paths": "follows paths through the latent space of a generator that reads noise",
            "pairs": "compares each picture with its own reference, and there are none",
        }
        return f"'{name}' {what[kind]}: leave it out of the metrics."
    smallest = MIN_SIDES.get(name, 1)
    if side < smallest:
        return f"'{name}' takes pictures of at least {smallest} pixels, not {side}."
    return ""


def set_names(net: Features, made: int, real: int, reference: str) -> tuple[str, str]:
    """What the Frechet and the kernel distance of two sets are called.

    On the published Inception the names fix the resize, the rounding, the counts and the
    reference set: 'fid-pytorch-uint8-500-vs-500-9f86d081'.

    Args: made, real: pictures in each set. reference: says which real ones.
    """
    if is_inception(net):
        end = f"{_way(net)}-{ROUNDING}-{made}-vs-{real}-{reference}"
        return f"fid-{end}", f"kid-{end}"
    return f"frechet-{net.name}", f"kernel-{net.name}"


def set_distances(
    net: Features, real: Tensor, made: Tensor, reference: str, of: str = ""
) -> dict[str, float]:
    """Frechet and kernel distance of two sets of `Features.embed`'s rows.

    Args: of: what is compared, where it is a yardstick; it then ends the name.
    Raises: ConfigError for fewer than two pictures of either.
    """
    if min(len(real), len(made)) < 2:
        raise ConfigError("The distance of two sets takes at least two pictures of each.")
    names = set_names(net, len(made), len(real), reference)
    if of and is_inception(net):
        names = (f"fid-{_way(net)}-{ROUNDING}", f"kid-{_way(net)}-{ROUNDING}")
    values = (frechet_distance(real, made), kernel_distance(real, made))
    return {f"{name}{of}": value for name, value in zip(names, values, strict=True)}


def is_inception(net: Features) -> bool:
    """Whether it is the network of FID and IS with its published weights."""
    return net.published and net.name.startswith(INCEPTION)


def score_of(net: Features, rows: Tensor) -> tuple[str, Score] | None:
    """The Inception score of pictures, with its name; None for another network.

    Args: rows: of `Features.embed`, (n, 2048). The logits are taken without the bias, as published.
    """
    if LOGITS not in net.heads:
        return None
    score = inception_score(rows @ net.heads[LOGITS].to(rows).T, splits=min(SPLITS, len(rows)))
    if not is_inception(net):
        return f"is-{net.name}", score
    name = f"is-{INCEPTION}{_way(net)}-{ROUNDING}-{len(rows)}x{len(score.splits)}"
    return name, score


def learned_distance(net: Features, a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
    """ST-LPIPS of pictures whose maps these are: (n,), >= 0, 0 for equal pictures."""
    return learned_unit_distance(a, b, list(net.heads.values()))


def protocol_lines(chosen: Chosen, splits: int = 0) -> dict[str, str]:
    """A line for each metric: network, hash, resize and estimator.

    Args: splits: of the Inception score; 0 where none is measured.
    """
    lines = {}
    for net in (*chosen.sets, *chosen.pairs):
        words = f"sha256 {net.digest[:12]}"
        if net.resize is not None:
            words += f", pictures of 8 bits resized to {net.resize.words}"
        if net in chosen.pairs:
            words += ", at the pictures' own size; learned distance of unit-length features"
        else:
            words += f", {net.taps[-1]} averaged over space; covariances divided by n - 1; kernel "
            words += "distance over whole sets; compare equal counts only"
        if LOGITS in net.heads:
            words += f"; score: logits without bias, splits: {splits}" if splits else ""
        elif net not in chosen.pairs:
            words += ". Not FID, not KID"
        lines[net.name.partition("@")[0]] = words
    return lines


def _way(net: Features) -> str:
    return net.name.removeprefix(INCEPTION)
