"""`ganpress demo`: the whole line on pictures that the package draws itself, with nothing from
outside: the teacher and the feature network are the small ones of `zoo/`."""

from __future__ import annotations

from pathlib import Path

from ganpress.data import open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.losses.weights import zoo_path
from ganpress.methods.compress import compress
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.models.checkpoint import Model, load
from ganpress.run.settings import checked

SEED = 11
TRAIN, TEST, PIXELS = 240, 24, 96

SETTINGS = {
    "seed": SEED,
    "threads": 1,  # a second gains little, and crawls where its core is busy (ADR 17)
    "min_channels": 4,
    "target": {"macs": 0.11},
    "data": {"size": 64, "load_size": 72, "batch": 8, "cached_crops": 2, "workers": 0},
    "distance": {"features": "tiny", "content": 1.0, "style": 0.0, "unit": 2.0, "pixel": 5.0},
    "discriminator": {"width": 16, "weight": 0.2, "lr": 2e-4},
    "sparsify": {"steps": 300, "rounds": 3, "lr": 5e-4, "weight_decay": 0.0, "batch": 4},
    "finetune": {"steps": 1500, "lr": 1e-3, "weight_decay": 0.0, "ema": 0.99},
}


def run_demo(run: Path) -> Model:
    """Slim the zoo's teacher on drawn pictures; the run's folder gets everything.

    Run again after an interruption, it goes on where it stopped.
    """
    train = write_folder(run / "pictures" / "train", TRAIN, SEED, PIXELS)
    test = write_folder(run / "pictures" / "test", TEST, SEED + 1, PIXELS)
    return compress(
        load(zoo_path("demo_teacher.safetensors")),
        open_images(train),
        run=run,
        config=checked(SlimConfig, SETTINGS),
        test=open_images(test),
    )
