"""What the perceptual distance costs, forward and backward, beside the same by its formulas.

Command:  .venv/bin/python -m benchmarks.distance_terms [--threads 1]
Time:     about half a minute on 1 core. Needs GANPRESS_WEIGHTS (SqueezeNet).
Result:   benchmarks/results/distance-terms.json: milliseconds, ratios, and how far the two differ.

"Formulas" normalises both maps for the unit distance, multiplies out every Gram matrix, and runs
the feature network in torch's default layout: what ganpress did until issue 4. The rounds take
turns, so that noise hits both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.losses.distance import Distance, DistanceSettings

RESULT = Path(__file__).parent / "results" / "distance-terms.json"
SETTINGS = DistanceSettings(features="squeezenet", content=0.01, style=0.002, unit=0.2, pixel=1.0)
CASES = {"96 px, batch 8": (8, 96), "128 px, batch 4": (4, 128)}


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    found: dict[str, Any] = {"threads": a.threads, "torch": torch.__version__}
    found["load"] = os.getloadavg()[0]
    for name, (n, size) in CASES.items():
        found[name] = measured(n, size, a.repeats)
        print(name, json.dumps(found[name]))
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


def measured(n: int, size: int, repeats: int) -> dict[str, Any]:
    """Median milliseconds of each form, ratios to the formulas, and the forms' values."""
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.rand(n, 3, size, size, generator=draw) * 2 - 1 for _ in range(2))
    ours, half = Distance(SETTINGS), Distance(SETTINGS, half=True)
    plain = Distance(SETTINGS)
    assert plain.features is not None
    plain.features.layers.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    forms: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "formulas": lambda a, b: by_formulas(plain, a, b),
        "ganpress": ours,
        "ganpress, bfloat16": half,
    }
    times: dict[str, list[float]] = {name: [] for name in forms}
    values = {}
    for turn in range(repeats + 2):
        for name, form in forms.items():
            own = x.clone().requires_grad_()
            began = time.perf_counter()
            value = form(own, y)
            value.backward()
            if turn > 1:
                times[name].append(1e3 * (time.perf_counter() - began))
            values[name] = float(value.detach())
    medians = {name: statistics.median(ms) for name, ms in times.items()}
    return {
        "milliseconds": {name: round(ms, 1) for name, ms in medians.items()},
        "ratio": {n: round(ms / medians["formulas"], 3) for n, ms in medians.items()},
        "value": values,
    }


def by_formulas(of: Distance, student: Tensor, teacher: Tensor) -> Tensor:
    """The same four terms, each as it is defined."""
    s, net = of.settings, of.features
    assert net is not None and s.content is not None and s.style is not None
    with torch.no_grad():
        b = in_default_layout(net, teacher)
    a = in_default_layout(net, student)
    total = s.pixel * F.l1_loss(student, teacher) + s.content * F.l1_loss(a[0], b[0])
    for u, v in zip(a, b, strict=True):
        total = total + s.style * F.mse_loss(gram(u), gram(v))
        apart = F.normalize(u, dim=1) - F.normalize(v, dim=1)
        total = total + s.unit * apart.square().sum(1).mean()
    return total


def in_default_layout(net: Any, x: Tensor) -> list[Tensor]:
    """The maps at the taps, computed as (n, c, h, w) in memory."""
    hidden = x.index_select(1, net.order) * net.scale + net.shift
    maps = []
    for index, layer in enumerate(net.layers):
        hidden = layer(hidden)
        if index in net._at:
            maps.append(hidden)
    return maps


def gram(maps: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, c, c)."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / maps[0].numel()


if __name__ == "__main__":
    main()
