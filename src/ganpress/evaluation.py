"""How close a student's pictures are to its teacher's, by a protocol that the names declare."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganpress.checkpoint import Model
from ganpress.config import DataSettings
from ganpress.cost import latency, measure
from ganpress.data import Images
from ganpress.data import evaluation as every_image
from ganpress.errors import ConfigError
from ganpress.features import Features, load_features
from ganpress.losses import unit_distance


@dataclass(frozen=True)
class Evaluation:
    """Metrics with the protocol they were measured under, and their spread over images."""

    metrics: dict[str, float]
    spread: dict[str, float]
    """Standard error of each metric's mean over the images."""
    count: int
    protocol: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


@torch.no_grad()
def evaluate(
    student: Model,
    teacher: Model,
    images: Images,
    *,
    size: int | None = None,
    batch: int = 8,
    features: str = "squeezenet",
    weights: Path | None = None,
) -> Evaluation:
    """Distance of the student's pictures to the teacher's on the same photos.

    Metrics, smaller is better, 0 for equal pictures:
        ``<features>-unit-distance``: mean over photos of the unit distance (`losses.unit_distance`)
        on the named feature network. It is not FID and not LPIPS.
        ``l1``: mean absolute difference, as a fraction of the grey range (0 to 1).

    Args:
        size: shorter side, then centre crop, pixels; default: the family's own size.
    """
    if student.family.name != teacher.family.name:
        raise ConfigError(
            f"The student is a '{student.family.name}', the teacher a '{teacher.family.name}': "
            "compare a student with the teacher it was made from."
        )
    size = size or teacher.family.image.size
    _check_size(size, teacher)
    net = load_features(features, weights=weights)
    unit, l1 = [], []
    for photos in every_image(images, batch=batch, size=size):
        made, wanted = student(photos.x), teacher(photos.x)
        unit.append(_unit(net, made, wanted))
        l1.append((made - wanted).abs().mean((1, 2, 3)) / 2)
    values = {f"{net.name}-unit-distance": torch.cat(unit), "l1": torch.cat(l1)}
    return Evaluation(
        metrics={k: float(v.mean()) for k, v in values.items()},
        spread={k: _standard_error(v) for k, v in values.items()},
        count=len(images),
        protocol=_protocol(images, size, net),
    )


def _check_size(size: int, teacher: Model) -> None:
    family = teacher.family
    if size < 16 or size % family.image.multiple:
        raise ConfigError(
            f"The size is {size}: a '{family.name}' generator needs at least 16 pixels, "
            f"divisible by {family.image.multiple}."
        )


def _protocol(images: Images, size: int, net: Features) -> dict[str, str]:
    return {
        "reference": "the teacher's output on the same photo",
        "photos": f"{len(images)}, data hash {images.digest()[:12]}",
        "geometry": f"shorter side to {size} px (bicubic, antialiased), centre crop",
        "features": f"{net.name}, sha256 {net.digest[:12]}",
        "unit distance": "squared difference of unit-length features, mean over space, "
        "sum over layers (LPIPS without learned weights)",
        "l1": "mean absolute difference / 2, on [-1, 1] pictures",
    }


def _standard_error(values: Tensor) -> float:
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0


def _unit(net: Features, made: Tensor, wanted: Tensor) -> Tensor:
    return unit_distance(net(made), net(wanted))


def compare_costs(
    teacher: Model, student: Model, *, size: int, quick: bool = False
) -> dict[str, Any]:
    """Cost, latency and widths of both, as `results.json` holds them.

    Args: size: pixels; quick: a shorter latency measurement.
    """
    out: dict[str, Any] = {"family": teacher.family.name}
    for name, model in (("teacher", teacher), ("student", student)):
        time = latency(model, size=size, seconds=1.0 if quick else 4.0)
        out[name] = {
            **asdict(measure(model.net, size)),
            "size": size,
            "latency_ms": {
                "median": round(time.median_ms, 3),
                "p95": round(time.p95_ms, 3),
                **{k: getattr(time, k) for k in ("device", "threads", "batch", "size", "repeats")},
            },
            "widths": model.widths,
        }
    t, s = out["teacher"], out["student"]
    out["ratios"] = {k: round(t[k] / s[k], 3) for k in ("params", "macs", "macs_outres", "bytes")}
    out["ratios"]["latency_ms"] = round(t["latency_ms"]["median"] / s["latency_ms"]["median"], 3)
    return out


def evaluation_size(data: DataSettings, teacher: Model) -> int:
    """The size to evaluate at: what training saw, at most the family's own, and divisible as the
    family needs it."""
    image = teacher.family.image
    size = min(data.load_size or data.size, image.size)
    return size - size % image.multiple
