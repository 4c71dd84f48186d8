"""Train the teacher of `ganpress demo`: drawn pictures -> their posters (paired), tiny ResNet.

Command:  .venv/bin/python recipes/train_demo_teacher.py [--minutes 12] [--threads 1]
Time:     12 minutes on one CPU thread. Resumes when run again.
Result:   zoo/demo_teacher.safetensors (half precision, about 2.4 MB) and its card.

Objective: L1 + tiny-feature distance + least-squares PatchGAN, as pix2pix (Isola et al., CVPR 2017)
with the perceptual term in place of most of the L1.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.optim import Adam

from ganpress.data import evaluation, open_images, stream
from ganpress.data.drawn.draw import write_folder
from ganpress.losses.features import Features, load_features
from ganpress.losses.terms import unit_distance
from ganpress.models.checkpoint import Model, save
from ganpress.models.families import family
from ganpress.run.grid import first_rows
from ganpress.run.run import Run
from ganpress.training.discriminator import DiscriminatorWithLoss

ZOO = Path(__file__).parents[1] / "zoo"
WIDTHS = {"stem": 24, "down1": 48, "trunk": 96, "up1": 48, "up2": 24}
OPTIONS = {"blocks": 6, "affine": True}
SEED, SIZE, BATCH, PICTURES = 7, 64, 8, 1500


def main() -> None:
    """Draw, train, write the file and its card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run", type=Path, default=Path("runs/demo-teacher"))
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    run = Run(a.run, seed=SEED, config={"minutes": a.minutes, "widths": WIDTHS, **OPTIONS})
    with tempfile.TemporaryDirectory() as folder:
        pictures = write_folder(Path(folder) / "a", PICTURES, SEED, 96)
        posters = write_folder(Path(folder) / "b", PICTURES, SEED, 96, stylised=True)
        images = open_images(pictures, pairs=posters)
        model, facts = train(run, images, a.minutes)
    card = {"recipe": "recipes/train_demo_teacher.py", "licence": "drawn by ganpress, Apache-2.0"}
    model.provenance = {**card, **facts}
    save(model, ZOO / "demo_teacher.safetensors", half=True)
    facts = {**facts, "command": run_card(run)["command"], "torch": torch.__version__}
    text = {"seed": SEED, "size": SIZE, "batch": BATCH, "threads": a.threads, "device": "cpu"}
    out = json.dumps({**card, **text, **facts}, indent=2) + "\n"
    (ZOO / "demo_teacher.json").write_text(out)


def run_card(run: Run) -> dict[str, str]:
    """What the run says of itself."""
    found: dict[str, str] = json.loads((run.root / "card.json").read_text())
    return found


def train(run: Run, images, minutes: float):  # type: ignore[no-untyped-def]
    """G step, D step, under a cosine that follows the minutes; returns the model and its losses."""
    run.seed_all("init")
    which = family("cyclegan")
    net = which.build({**WIDTHS, **{f"block{i}": 96 for i in range(6)}}, **OPTIONS).train()
    discriminator, features = DiscriminatorWithLoss(width=24, pooled=False), load_features("tiny")
    opt_g = Adam(net.parameters(), 1e-3, betas=(0.5, 0.999))
    opt_d = Adam(discriminator.parameters(), 4e-4, betas=(0.5, 0.999))
    stage = run.stage("train")
    state: dict[str, Any] = {
        "net": net,
        "discriminator": discriminator,
        "opt_g": opt_g,
        "opt_d": opt_d,
    }
    loop = stage.steps(1_000_000, minutes=minutes, **state)
    batches = stream(images, batch=BATCH, size=SIZE, seed=SEED, first=stage.first,
                     total=1_000_000, load_size=72, workers=0)  # fmt: skip
    step = stage.first
    for step in loop:
        opt_g.param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * stage.progress))
        batch = next(batches)
        assert batch.y is not None  # each picture has its pair
        fake = net(batch.x)
        discriminator.requires_grad_(False)
        l1 = F.l1_loss(fake, batch.y)
        with torch.no_grad():
            wanted = features(batch.y)
        d = unit_distance(features(fake), wanted).mean()
        gan = discriminator.g_loss(fake)
        opt_g.zero_grad()
        (20 * l1 + 2 * d + 0.05 * gan).backward()
        opt_g.step()
        discriminator.requires_grad_(True)
        d_loss = discriminator.d_loss(batch.y, fake)
        opt_d.zero_grad()
        d_loss.backward()
        opt_d.step()
        stage.log(step, **{"loss/l1": l1, "loss/distance": d, "loss/gan": gan, "loss/d": d_loss})
        if step % 500 == 0:
            stage.images(step, "input-target-output", first_rows(batch.x, batch.y, fake), columns=4)
    model = Model(net.eval(), which, which.resolve(OPTIONS))
    facts = {"steps": step + 1, **held_out(model, features)}
    stage.finish(**facts)
    return model, facts


def held_out(model: Model, features: Features) -> dict[str, float]:
    """L1 (share of the grey range) and tiny-feature distance on 100 pictures of another seed."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = write_folder(Path(folder) / "a", 100, SEED + 1, 96)
        posters = write_folder(Path(folder) / "b", 100, SEED + 1, 96, stylised=True)
        images = open_images(pictures, pairs=posters)
        l1, d = [], []
        for batch in evaluation(images, batch=10, size=96):
            assert batch.y is not None
            made = model(batch.x)
            l1.append((made - batch.y).abs().mean().item() / 2)
            with torch.no_grad():
                d.append(unit_distance(features(made), features(batch.y)).mean().item())
    mean = {"held_out_l1": sum(l1) / len(l1), "held_out_distance": sum(d) / len(d)}
    return {name: round(value, 4) for name, value in mean.items()}


if __name__ == "__main__":
    main()
