"""Real photos as codes of a generator, in one call that stops and goes on."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ganpress.data import Images
from ganpress.data import evaluation as every_image
from ganpress.editing.latent_file import FOLDER, Latent, load_latent, save_latent
from ganpress.editing.names import file_stems
from ganpress.editing.objective import Objective
from ganpress.editing.row_optimisers import RowAdam, RowLBFGS, RowOptimiser
from ganpress.editing.settings import ProjectSettings
from ganpress.errors import ConfigError
from ganpress.losses.lpips import PictureDistance
from ganpress.losses.picture_distance import load_distance
from ganpress.measures.comparison import eight_bit
from ganpress.measures.fidelity import check_opened
from ganpress.measures.metrics.psnr import psnr
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.models.device import check_device
from ganpress.models.inputs import images_for, reads
from ganpress.models.spaces import check_space
from ganpress.run.files import make_folder, replace_file
from ganpress.run.grid import grid
from ganpress.run.progress import say
from ganpress.run.run import Run

STAGE = "project"
JITTER, JITTER_UNTIL = 0.05, 0.75
"""Of the styles' spread, falling as a square to 0 at this share of the steps (StyleGAN2)."""
_ACROSS, _MOST = 8, 64  # columns of the sheet, and photos on it


@dataclass(frozen=True)
class Projection:
    """What a projection left.

    Attributes:
        folder: of the run: latents/, pictures/, sheet.png, results.json.
        latents: the files, in the order of the photos.
        photos: by the photo's name: PSNR in dB, and the perceptual distance under its own name.
        mean: of these, over the photos.
    """

    folder: Path
    latents: tuple[Path, ...]
    photos: Mapping[str, Mapping[str, float]]
    mean: Mapping[str, float]


def project(
    model: Model,
    images: Images,
    run: Path | str,
    *,
    settings: ProjectSettings | None = None,
    weights: Path | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> Projection:
    """Find the code, and the noise maps, whose picture is nearest to each photo.

    Photos are brought to the network's size (shorter side, bicubic, then the centre). Each photo's
    search is independent of the photos beside it. Stopped, the same call goes on in the middle of
    a batch; each batch's results are written as it ends.

    Args:
        model: a generator that reads noise: StyleGAN2 of any size and width, SNGAN in z.
        images: photos, by `open_images(..., single=True)` also a single one.
        run: folder of the run, made if missing.
        weights: file or folder of the distance's weights.
    Raises: ConfigError for a generator without that space, or settings that do not suit it;
        WeightsError; Interrupted; DiskFull.
    """
    s = settings or ProjectSettings()
    check_opened(images=images)
    check_space(model, s.space)
    _check_label(model, s.label)
    check_device(device)
    distance = load_distance(s.distance, weights=weights, side=model.size).to(device)
    images = images_for(model, images)
    work = _Work(model, images, distance, s, Path(run), device)
    facts = {"data_hash": images.digest(), "device": device}
    config = {"project": s.model_dump(), "network": work.key, "distance": distance.name}
    folder = Run(Path(run), seed=s.seed, config=config, card=facts, quiet=quiet)
    if not folder.done(STAGE):
        say_small(images, model.size, quiet=quiet)
    stage = folder.stage(STAGE)
    for step in stage.steps(s.iterations * work.batches, work=work):
        batch, at = divmod(step, s.iterations)
        if at == 0:
            work.begin(batch)
        stage.log(step, loss=work.step(at))
        if at == s.iterations - 1:
            work.write()
    if not folder.done(STAGE):
        stage.finish()
    return _summary(work, folder, stage.elapsed_s)


def say_small(images: Images, side: int, *, quiet: bool) -> None:
    """One line on photos that are smaller than the network's pictures."""
    small = [n for n, size in zip(images.names, images.sizes, strict=True) if min(size) < side]
    if small:
        more = f" and {len(small) - 1} more" if small[1:] else ""
        say(
            f"{small[0]}{more}: smaller than the network's {side} pixels, so enlarged to them.",
            quiet=quiet,
        )


def _check_label(model: Model, label: int | None) -> None:
    count = int(getattr(model.net, "classes", 0)) if "y" in reads(model) else 0
    if label is None and count:
        raise ConfigError(
            f"This '{model.family.name}' generator has {count} classes: say which one the photos "
            f"are of (label, --class), 0 to {count - 1}."
        )
    if label is not None and not 0 <= label < count:
        raise ConfigError(
            f"The class is {label}: this generator has {count}, 0 to {count - 1}."
            if count
            else f"This '{model.family.name}' generator has no classes: leave the class out."
        )


class _Work:
    """The batch in hand, as a loop's state."""

    def __init__(
        self,
        model: Model,
        images: Images,
        distance: PictureDistance,
        settings: ProjectSettings,
        folder: Path,
        device: str,
    ) -> None:
        self.key = fingerprint(model.net)
        net = copy.deepcopy(model.net).eval().requires_grad_(False).to(device)
        self.model, self.images, self.distance = replace(model, net=net), images, distance
        self.settings, self.folder, self.device = settings, folder, device
        self.size = settings.batch or max(1, min(4, 4 * 256**2 // model.size**2))
        self.batches = -(-len(images) // self.size)
        self.stems = file_stems(images.names)
        self.start, self.spread = _start(self.model, settings)
        self.batch = -1
        self.objective: Objective | None = None
        self.rows: RowOptimiser | None = None

    @property
    def numbers(self) -> range:
        """Of the photos of this batch."""
        first = self.batch * self.size
        return range(first, min(first + self.size, len(self.images)))

    def begin(self, batch: int) -> None:
        """Take a batch in hand, from its start."""
        self.batch, s = batch, self.settings
        few = self.images.some(list(self.numbers))
        photos = next(iter(every_image(few, batch=len(few), size=self.model.size))).x
        photos = photos.to(self.device)
        self.objective = Objective(self.model, photos, self.distance, s, start=self.start)
        rows = self.objective.first_rows([self._draw(number, "noise") for number in self.numbers])
        if s.optimiser == "lbfgs":
            self.rows = RowLBFGS(rows, lr=1.0 if s.lr is None else s.lr)
        else:
            self.rows = RowAdam(rows, lr=0.1 if s.lr is None else s.lr)

    def _draw(self, number: int, what: str | int) -> torch.Generator:
        """Of one photo: it does not depend on the photos beside it."""
        text = f"{self.settings.seed}/{self.stems[number]}/{what}".encode()
        digest = hashlib.sha256(text).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def step(self, at: int) -> float:
        """One evaluation of the batch; the mean loss of its rows."""
        assert self.objective is not None and self.rows is not None
        progress, objective = at / self.settings.iterations, self.objective
        jitter = self._jitter(at, progress)
        loss = self.rows.step(lambda rows: objective.losses(rows, jitter=jitter), progress)
        best = getattr(self.rows, "loss", loss)
        return float(best.mean())

    def _jitter(self, at: int, progress: float) -> Tensor | None:
        left = max(0.0, 1 - progress / JITTER_UNTIL)
        if self.settings.optimiser != "adam" or left == 0:
            return None
        assert self.objective is not None
        shape, size = self.objective.shape, JITTER * self.spread * left**2
        rows = [torch.randn(shape, generator=self._draw(n, at)) for n in self.numbers]
        return (torch.stack(rows) * size).to(self.device)

    @torch.no_grad()
    def write(self) -> None:
        """Write what was found of this batch."""
        assert self.objective is not None and self.rows is not None
        rows, objective = self.rows.x, self.objective
        made = eight_bit(objective.pictures(rows))
        found = {
            "psnr": psnr(made, objective.photos),
            self.distance.name: self.distance(made, objective.photos),
        }
        codes, rest = objective.codes(rows).cpu(), [t.cpu() for t in objective.rest(rows)]
        for i, number in enumerate(self.numbers):
            stem, names = self.stems[number], reads(self.model)[1:]
            latent = Latent(
                self.settings.space,
                codes[i],
                {name: t[i : i + 1] for name, t in zip(names, rest, strict=True)},
                self.key,
                self.images.names[number],
                {name: float(values[i]) for name, values in found.items()},
            )
            write_picture(made[i : i + 1], make_folder(self.folder / "pictures") / f"{stem}.png")
            save_latent(latent, self.folder / FOLDER / f"{stem}.safetensors")

    def state_dict(self) -> dict[str, Any]:
        """Which batch is in hand, and how far it is."""
        return {"batch": self.batch, "rows": {} if self.rows is None else self.rows.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take the batch in hand again."""
        if state["batch"] >= 0:
            self.begin(state["batch"])
            assert self.rows is not None
            self.rows.load_state_dict(state["rows"])


@torch.no_grad()
def _start(model: Model, s: ProjectSettings) -> tuple[Tensor, float]:
    """Where every code starts: the mean style, of z a draw; and the spread of the draws."""
    net: Any = model.net
    draw = torch.Generator().manual_seed(s.seed)
    dim = int(net.style_dim) if hasattr(net, "style_dim") else int(net.latent_dim)
    z = torch.randn(s.samples, dim, generator=draw)
    if s.space == "z":
        return z[0], float(z.square().sum(1).mean().sqrt())
    w = net.mapping(z.to(next(net.parameters()).device))
    mean = w.mean(0)
    spread = float((w - mean).square().sum(1).mean().sqrt())
    return (mean if s.space == "w" else mean.expand(net.styles, -1)), spread


def write_picture(pictures: Tensor, path: Path, *, columns: int | None = None) -> Path:
    """A grid of pictures, (n, c, h, w) in [-1, 1], as a PNG, whole or not at all."""
    image = Image.fromarray(grid(pictures, columns=columns))
    replace_file(path, lambda file: image.save(file, format="PNG"))
    return path


def _summary(work: _Work, run: Run, seconds: float) -> Projection:
    """results.json and the sheet, from the files of all photos."""
    files = [work.folder / FOLDER / f"{stem}.safetensors" for stem in work.stems]
    facts = [load_latent(path).facts for path in files]
    mean = {name: sum(f[name] for f in facts) / len(facts) for name in facts[0]}
    photos = dict(zip(work.images.names, facts, strict=True))
    write_sheet(work)
    results = {
        "network": work.key,
        "settings": work.settings.model_dump(),
        "photos": photos,
        "mean": mean,
        "seconds": round(seconds, 3),
        "protocol": {
            "psnr": "dB, of 8-bit pictures with the photo at the network's size; larger is nearer",
            work.distance.name: f"{work.distance.protocol}; smaller is nearer",
        },
    }
    run.write_json("results.json", results)
    run.finish()
    return Projection(work.folder, tuple(files), photos, mean)


def write_sheet(work: _Work) -> None:
    """Photos, and below them what was found, at most `_MOST` of them."""
    count = min(_MOST, len(work.images))
    few = work.images.some(list(range(count)))
    rows: list[Tensor] = []
    for batch in every_image(few, batch=min(_ACROSS, count), size=work.model.size):
        names = work.stems[len(rows) // 2 * _ACROSS :][: len(batch.x)]
        made = [_read(work.folder / "pictures" / f"{name}.png", batch.x) for name in names]
        gap = batch.x.new_ones(min(_ACROSS, count) - len(batch.x), *batch.x.shape[1:])
        rows += [torch.cat([batch.x, gap]), torch.cat([*made, gap])]
    write_picture(torch.cat(rows), work.folder / "sheet.png", columns=min(_ACROSS, count))


def _read(path: Path, like: Tensor) -> Tensor:
    """(1, c, h, w) in [-1, 1] of a picture that `write` left."""
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(like) / 127.5 - 1
