"""What the portrait network's masks of small faces cost and are worth, by the size it looks at.

Command:  taskset -c 0 python -m benchmarks.mask_sizes
Needs:    GANPRESS_DATA (celebamask_samples) and GANPRESS_WEIGHTS (sinet_portrait).
Time:     a minute.
Result:   benchmarks/results/mask-sizes.json and .md.

SINet was trained on portraits of 224 pixels, and its preset shows it pictures of that size whatever
theirs is. Photos of CelebAMask-HQ are made 64 pixels small here; the mask of each is compared with
what its label map calls no background, by intersection over union of soft masks (sums of the
smaller and of the larger value of each pixel). Four label maps were drawn by people, ten by the
authors' network. Times are of batches of 16, all sizes turn by turn in one run.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.content_aware.faces import data
from ganpress.measures.interest.interest import interest_for
from ganpress.measures.interest.settings import MaskSettings
from ganpress.measures.timing.device import processor

RESULTS = Path(__file__).parent / "results"
SIDE, BATCH, TURNS = 64, 16, 9
SIZES = (320, 224, 192, 160, 128)
PRESET = 224
LABELLED = {"people": ("samples", "samples"), "a network": ("test_img", "test_results")}
"""Who drew the label maps -> folders of photos and of label maps."""


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    find = {size: mask_at(size) for size in SIZES}
    photos, truth, by = pictures()
    ious = {size: iou(find[size](photos), truth) for size in SIZES}
    batch = photos.repeat(2, 1, 1, 1)[:BATCH]
    seconds: dict[int, list[float]] = {size: [] for size in SIZES}
    for turn in range(TURNS + 1):
        for size in SIZES:
            began = time.process_time()
            find[size](batch)
            if turn:  # the first one warms up
                seconds[size].append(time.process_time() - began)
    median = {size: statistics.median(took) for size, took in seconds.items()}
    rows = [
        {
            "size": size,
            "iou": {who: float(ious[size][[b == who for b in by]].mean()) for who in LABELLED},
            "worst": float(ious[size].min()),
            "ms": round(1e3 * median[size], 1),
            "time": round(median[size] / median[PRESET], 3),
        }
        for size in SIZES
    ]
    out: dict[str, Any] = {
        "cpu": processor(), "threads": 1, "torch": torch.__version__, "side": SIDE, "batch": BATCH,
        "photos": {who: by.count(who) for who in LABELLED}, "rows": rows,
        "load": os.getloadavg()[0],
    }  # fmt: skip
    (RESULTS / "mask-sizes.json").write_text(json.dumps(out, indent=1) + "\n")
    (RESULTS / "mask-sizes.md").write_text(page(out))
    print(page(out))


def mask_at(size: int) -> Callable[[Tensor], Tensor]:
    """SINet looking at pictures of a size, by a card of its own."""
    file = Path(os.environ["GANPRESS_WEIGHTS"]) / "sinet_portrait" / "SINet.pth"
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "card.toml"
        card.write_text(f'preset = "sinet"\nsize = {size}\n')
        found = interest_for(MaskSettings(source=str(file), card=str(card)))
    assert found is not None and found.find is not None
    return found.find


def pictures() -> tuple[Tensor, Tensor, list[str]]:
    """Photos (n, 3, 64, 64) in [-1, 1], what is no background (n, 1, 64, 64), and who drew that."""
    photos, truth, by = [], [], []
    for who, (images, labels) in LABELLED.items():
        for path in sorted(data(f"celebamask_samples/{images}").glob("*.jpg")):
            label = data(f"celebamask_samples/{labels}") / f"{path.stem}.png"
            if label.exists():
                with Image.open(path) as photo, Image.open(label) as drawn:
                    small = photo.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
                    photos.append(torch.from_numpy(np.array(small)).permute(2, 0, 1).float())
                    whole = torch.from_numpy(np.array(drawn)) > 0
                truth.append(F.adaptive_avg_pool2d(whole[None].float(), SIDE))
                by.append(who)
    return torch.stack(photos) / 127.5 - 1, torch.stack(truth), by


def iou(masks: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of each soft mask, (n,)."""
    both, either = torch.minimum(masks, truth), torch.maximum(masks, truth)
    return both.sum((1, 2, 3)) / either.sum((1, 2, 3))


def page(out: dict[str, Any]) -> str:
    """The results as Markdown."""
    counts = out["photos"]
    lines = ["# The portrait network's masks by the size it looks at", ""]
    heads = [f"IoU, labels by {who} ({counts[who]})" for who in LABELLED]
    lines += [f"| pixels | {' | '.join(heads)} | worst | time |", "|---:|---:|---:|---:|---:|"]
    for row in out["rows"]:
        ious = " | ".join(f"{row['iou'][who]:.3f}" for who in LABELLED)
        lines.append(f"| {row['size']} | {ious} | {row['worst']:.3f} | {row['time']:.2f} |")
    lines += ["", f"Faces of {out['side']} px; time of a batch of {out['batch']} relative to the "
              f"preset's {PRESET} pixels, one thread of {out['cpu']}, torch {out['torch']}. "
              "`python -m benchmarks.mask_sizes`"]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
