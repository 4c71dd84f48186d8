"""Train a small network that tells the classes of a data set's label maps in its photos.

Command:  python -m recipes.train_segmenter --labels $GANPRESS_DATA/facades/label \
              --photos $GANPRESS_DATA/facades/photo --to zoo/segmenter-facades.safetensors
Time:     --minutes, 9 by default, on one CPU thread.
Result:   FILE.safetensors (half precision, its description inside) and its card, FILE.json: mean
          IoU and pixel accuracy on the held-out photos, which no generator is expected to exceed.

Every eleventh pair is held out, the same pairs as by `recipes.split_pairs`. `--set` names the
classes: one of SETS; without it the ids of the maps are the classes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from recipes.split_pairs import EVERY
from safetensors.torch import save_file
from torch import Tensor, nn

from ganpress.data import Batch, Images, open_images, stream
from ganpress.errors import GanpressError
from ganpress.losses.unet import UNet

SEED, BATCH, SIZE, LOAD, RATE = 0, 8, 128, 144, 3e-3
WIDTHS = (16, 24, 48, 64, 96)
IGNORED = -1


@dataclass(frozen=True)
class Classes:
    """What the ids of a data set's maps are, and the colours of its label pictures.

    ids: of the classes, by name. ignored: ids that are not counted.
    """

    ids: dict[str, int]
    ignored: tuple[int, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()
    ignored_colours: tuple[tuple[int, int, int], ...] = ()
    trained_on: str = ""
    terms: str = ""


_FACADES = (
    *("background", "facade", "window", "door", "cornice", "sill"),
    *("balcony", "blind", "decoration", "moulding", "pillar", "shop"),
)
SETS = {
    "facades": Classes(
        {name: index + 1 for index, name in enumerate(_FACADES)},
        ignored=(0,),
        colours=(
            *((0, 0, 170), (0, 0, 255), (0, 85, 255), (0, 170, 255), (0, 255, 255)),
            *((85, 255, 170), (170, 255, 85), (255, 255, 0), (255, 170, 0), (255, 85, 0)),
            *((255, 0, 0), (170, 0, 0)),
        ),
        ignored_colours=((0, 0, 0),),
        trained_on="CMP facades (base), photos and label maps, resized to 256 pixels",
        terms="no licence given; cite Tylecek and Sara 2013; research use",
    ),
}


def main() -> None:
    """Read the options, train, write the file and its card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=Path, required=True, help="label maps")
    parser.add_argument("--photos", type=Path, required=True, help="photos, paired by name")
    parser.add_argument("--to", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument("--set", choices=SETS, help="which data set it is")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    try:
        images = open_images(a.photos, labels=a.labels)
        classes = SETS[a.set] if a.set else named_by_id(images)
        train_images, held_out = halves(images)
        net, facts = train(train_images, classes, a.minutes)
        save(net, classes, a.to)
        write_card(a.to, held_out, classes, {**facts, "threads": a.threads})
    except GanpressError as error:
        raise SystemExit(f"error: {error}") from error


def named_by_id(images: Images) -> Classes:
    """Every id but 255 as a class of its own."""
    ids = {f"{i}": i for i in images.label_ids if i != 255}
    return Classes(ids, ignored=(255,))


def halves(images: Images) -> tuple[Images, Images]:
    """The pairs to train on, and every eleventh, held out."""
    numbers = range(len(images))
    return (
        images.some([i for i in numbers if i % EVERY]),
        images.some([i for i in numbers if not i % EVERY]),
    )


def train(images: Images, classes: Classes, minutes: float) -> tuple[nn.Module, dict[str, Any]]:
    """Cross-entropy, rarer classes weighted by 1 / sqrt(their share), a cosine over the minutes."""
    torch.manual_seed(SEED)
    index = torch.full((max(*classes.ids.values(), *classes.ignored) + 1,), IGNORED)
    index[list(classes.ids.values())] = torch.arange(len(classes.ids))
    net = UNet(len(classes.ids), WIDTHS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weight = class_weights(images, index, len(classes.ids))
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    began, step, total = time.monotonic(), 0, 1_000_000
    batches = stream(images, batch=BATCH, size=SIZE, load_size=LOAD, seed=SEED, first=0,
                     total=total, workers=0)  # fmt: skip
    draw = torch.Generator().manual_seed(SEED)
    for step, batch in enumerate(batches):
        progress = (time.monotonic() - began) / (60 * minutes)
        if progress >= 1:
            break
        warm = min(1.0, (step + 1) / 50)
        optimiser.param_groups[0]["lr"] = RATE * warm * 0.5 * (1 + math.cos(math.pi * progress))
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(recoloured(batch.x, draw).contiguous(memory_format=torch.channels_last))
        wanted = index[batch_labels(batch)]
        loss = F.cross_entropy(logits.float(), wanted, weight, ignore_index=IGNORED)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 0:
            print(f"step {step}, {progress:.0%}: loss {loss.item():.3f}", file=sys.stderr)
    return net.eval(), {"steps": step, "minutes": round((time.monotonic() - began) / 60, 2)}


def batch_labels(batch: Batch) -> Tensor:
    """The label maps of a batch that has some."""
    assert batch.labels is not None
    return batch.labels


def class_weights(images: Images, index: Tensor, classes: int) -> Tensor:
    """(classes,) about 1: 1 / sqrt of each class's share of the pixels."""
    counts = torch.zeros(classes)
    for batch in stream(images, batch=1, size=64, seed=SEED, first=0, total=len(images), workers=0):
        found = index[batch_labels(batch)].flatten()
        counts += torch.bincount(found[found >= 0], minlength=classes)
    weight = (counts.clamp_min(1) / counts.sum()).rsqrt()
    return weight / weight.mean()


def recoloured(x: Tensor, draw: torch.Generator) -> Tensor:
    """Pictures with a drawn gain and shift of each channel, and noise: generated ones are dull."""
    shape = (len(x), 3, 1, 1)
    gain = 1 + 0.4 * (torch.rand(shape, generator=draw) - 0.5)
    shift = 0.3 * (torch.rand(shape, generator=draw) - 0.5)
    return x * gain + shift + 0.03 * torch.randn(x.shape, generator=draw)


def save(net: nn.Module, classes: Classes, path: Path) -> None:
    """The weights in half precision with what the network reads and gives, in one file."""
    described = {
        "net": {"kind": "unet", "widths": list(WIDTHS)},
        "classes": list(classes.ids),
        "size": SIZE,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "ids": classes.ids,
        "ignored": list(classes.ignored),
        "colours": dict(zip(classes.ids, classes.colours, strict=False)),
        "ignored_colours": list(classes.ignored_colours),
    }
    state = {n: t.half().contiguous() for n, t in net.state_dict().items() if t.is_floating_point()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, {"segmenter": json.dumps(described)})


def write_card(path: Path, held_out: Images, classes: Classes, facts: dict[str, Any]) -> None:
    """Measure the file on the held-out photos and write what it is."""
    from ganpress.data import evaluation
    from ganpress.measures.segmentation import segmentation_quality
    from ganpress.measures.segmenter import load_segmenter

    segmenter = load_segmenter(path)
    batches = list(evaluation(held_out, batch=8, size=256))
    found = segmentation_quality([batch.x for batch in batches], batches, segmenter)
    card = {
        "what": "network that tells the class of each pixel of a photo",
        **{k: v for k, v in asdict(classes).items() if k in ("trained_on", "terms") and v},
        "classes": list(classes.ids),
        "held_out": {
            "photos": f"{len(held_out)}: every {EVERY}th of the folder, as recipes.split_pairs",
            "protocol": f"photos at 256 px; {segmenter.protocol}",
            **{name: round(value, 4) for name, value in found.items()},
        },
        "params": sum(p.numel() for p in segmenter.parameters()),
        **facts,
        **{"seed": SEED, "batch": BATCH, "crop": SIZE, "load": LOAD, "device": "cpu"},
        "versions": {"torch": torch.__version__},
        "command": portable(["python", "-m", "recipes.train_segmenter", *sys.argv[1:]]),
        "sha256": segmenter.digest,
        "bytes": path.stat().st_size,
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


def portable(argv: list[str]) -> str:
    """The command as it is typed elsewhere: folders below GANPRESS_DATA by that name."""
    line, data = shlex.join(argv), os.environ.get("GANPRESS_DATA", "").rstrip("/")
    return line.replace(f"{data}/", "$GANPRESS_DATA/") if data else line


if __name__ == "__main__":
    main()
