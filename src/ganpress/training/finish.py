"""The end of a teacher's training: save, show, report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganpress.data import Images, evaluation
from ganpress.measures.cost import measure
from ganpress.models.checkpoint import Model, save
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import from_noise, images_for, inputs_of
from ganpress.report import write_report
from ganpress.run.files import make_folder, replace_file
from ganpress.run.grid import grid
from ganpress.run.logs import read_log
from ganpress.run.run import Run
from ganpress.training.outcome import stage_facts
from ganpress.training.settings import TrainConfig
from ganpress.types.pictures import as_widest
from ganpress.types.sizes import Size

SHOWN, DRAWN = 8, 64
"""Rows of a sample grid where the generator reads pictures, and pictures where it reads noise."""


def finish(
    run: Run,
    models: Mapping[str, Model],
    config: TrainConfig,
    *,
    shown: Images,
    other: Images | None,
) -> None:
    """Save the teachers of a trained run, draw their samples, and write the report."""
    stages, teachers, samples = stage_facts(run), {}, []
    trained = {"steps": stages[-1]["steps"], "seconds": stages[-1]["seconds"]} if stages else {}
    make_folder(run.root / "samples")
    for name, model in models.items():
        stem = f"teacher-{name}" if name else "teacher"
        path = run.root / f"{stem}.safetensors"
        model.provenance |= trained
        save(model, path)
        size = config.data.size
        cost = asdict(measure(model.net, model.size))
        teachers[name] = {"file": path.name, "file_bytes": path.stat().st_size, **cost}
        teachers[name] |= {"size": model.size, "widths": model.widths, "family": model.family.name}
        source = other if other is not None and name == "B2A" else shown
        picture, columns, caption = samples_of(model, source, size)
        file = run.root / "samples" / f"{stem}.png"
        image = Image.fromarray(grid(picture, columns=columns))
        replace_file(file, partial(image.save, format="PNG"))
        samples.append({"file": file.name, "caption": caption})
    results = {
        "teachers": teachers,
        "samples": samples,
        "stages": stages,
        "last": _last(run.root, stages),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    run.write_json("results.json", results)
    run.finish()
    write_report(run.root)


def _last(root: Path, stages: list[dict[str, Any]]) -> dict[str, float]:
    """The numbers of the last logged step."""
    lines = read_log(root / stages[-1]["name"] / "log.jsonl") if stages else []
    return {k: v for k, v in lines[-1].items() if k not in ("step", "elapsed_s")} if lines else {}


def samples_of(model: Model, images: Images, size: Size) -> tuple[Tensor, int, str]:
    """A grid of what a teacher makes: (n, c, h, w) in [-1, 1], its columns, and what they show."""
    batch = next(evaluation(images_for(model, images), batch=SHOWN, size=size))
    seed = torch.Generator().manual_seed(0)
    if from_noise(model):
        return model(*draw_inputs(model.net, DRAWN, size, seed)), 8, "made from noise"
    made = model(*inputs_of(model, batch, seed))
    kinds = {"input": batch.x, "made": made}
    if batch.labels is not None:
        kinds = {"label map": _coloured(batch.labels), "made": made, "photo": batch.x}
    elif batch.y is not None:
        kinds["target"] = batch.y
    rows = torch.stack(as_widest(*kinds.values()), 1).flatten(0, 1)
    return rows, len(kinds), ", ".join(kinds)


def _coloured(labels: Tensor) -> Tensor:
    """Label maps (n, h, w) as pictures (n, 3, h, w) in [-1, 1], a fixed colour for each id."""
    palette = torch.rand(256, 3, generator=torch.Generator().manual_seed(7)) * 2 - 1
    return palette[labels.clamp(0, 255)].permute(0, 3, 1, 2)
