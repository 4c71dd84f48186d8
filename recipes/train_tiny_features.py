"""Train the features `tiny` on drawn pictures only; writes zoo/tiny_features.{safetensors,json}.

    python recipes/train_tiny_features.py                # 5 to 8 minutes on one thread

The network tells what is drawn: on cards (one shape on one texture) the shape, the texture, its
direction and the shape's hue; in the landscapes of ganpress.data.drawn.draw the ground, the time of
day, which things stand in it and whether it is a poster; on both, how the picture was spoilt (blur,
noise, JPEG). Heads read the means of every tap, so every tap has to say something.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import platform
import sys
import time
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ganpress.data.drawn.draw import GROUNDS, TIMES, draw, plan
from ganpress.data.drawn.poster import stylise
from ganpress.losses.networks import tiny_layers

SIZE = 64
BATCH = 64
SHAPES = ("disc", "square", "triangle", "star", "ring", "cross", "crescent", "heart")
TEXTURES = ("plain", "stripes", "checks", "dots", "clouds", "bricks", "waves", "rings")
TURNED = ("stripes", "bricks", "waves")  # these have a direction
HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")
SPOILT = ("clean", "blur", "noise", "jpeg")
THINGS = ("houses", "trees", "boats", "balls", "balloons")
HEADS = {
    "shape": len(SHAPES),
    "texture": len(TEXTURES),
    "direction": 4,
    "hue": len(HUES),
    "ground": len(GROUNDS),
    "time": len(TIMES),
    "poster": 2,
    **dict.fromkeys(THINGS, 2),
    "spoilt": len(SPOILT),
}
TAPS = (3, 8, 13, 16)


def _hsv(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    """One colour, (3,) in 0..255; hue in turns."""
    turns = np.abs((hue + np.array((0.0, 2 / 3, 1 / 3))) % 1 * 6 - 3) - 1
    return (255 * value * (1 - saturation * (1 - np.clip(turns, 0, 1)))).astype(np.float32)


def _texture(kind: str, turn: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(SIZE, SIZE) in [0, 1]."""
    v, u = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) - SIZE / 2
    a, b = u * math.cos(turn) + v * math.sin(turn), v * math.cos(turn) - u * math.sin(turn)
    a, b = a + rng.uniform(0, SIZE), b + rng.uniform(0, SIZE)
    step = float(rng.uniform(5, 14))
    wave = np.sin(2 * np.pi * a / step)
    if kind == "plain":
        return np.clip(0.5 + (u * rng.uniform(-1, 1) + v * rng.uniform(-1, 1)) / SIZE, 0, 1)
    if kind == "stripes":
        return np.clip(wave * rng.uniform(1, 3) + 0.5, 0, 1)
    if kind == "checks":
        return np.clip(wave * np.sin(2 * np.pi * b / step) * 4 + 0.5, 0, 1)
    if kind == "dots":
        away = np.hypot(a % step - step / 2, b % step - step / 2)
        return np.clip(step * rng.uniform(0.2, 0.35) - away + 0.5, 0, 1)
    if kind == "clouds":
        cells = int(rng.integers(5, 24))
        grid = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        return np.clip(np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC)), 0, 1)
    if kind == "bricks":
        row = np.floor(a / step)
        joint = np.minimum(a % step, (b + row % 2 * step) % (2 * step))
        return np.clip(joint - rng.uniform(0.6, 1.4), 0, 1)
    if kind == "waves":
        bend = np.sin(2 * np.pi * b / (step * rng.uniform(1.5, 2.5))) * step * 0.35
        return np.clip(np.sin(2 * np.pi * (a + bend) / step) * 2 + 0.5, 0, 1)
    away = np.hypot(u - rng.uniform(-20, 20), v - rng.uniform(-20, 20))
    return np.clip(np.sin(2 * np.pi * away / step) * 2 + 0.5, 0, 1)


def _outline(kind: str, turn: float, count: int = 48) -> NDArray[np.float64]:
    """Corners (n, 2) of a shape about 2 wide, around 0."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    if kind in ("square", "triangle"):
        t = np.linspace(0, 2 * np.pi, 4 if kind == "square" else 3, endpoint=False)
    points = np.stack([np.cos(t), np.sin(t)], 1)
    if kind == "star":
        t = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        points = np.stack([np.cos(t), np.sin(t)], 1) * np.where(np.arange(10) % 2, 0.42, 1)[:, None]
    elif kind == "cross":
        arm, end = 0.34, 1.0
        x = np.array([arm, arm, end, end, arm, arm, -arm, -arm, -end, -end, -arm, -arm])
        y = np.array([end, arm, arm, -arm, -arm, -end, -end, -arm, -arm, arm, arm, end])
        points = np.stack([x, y], 1)
    elif kind == "crescent":
        bow = np.linspace(-2.2, 2.2, count // 2)
        outer = np.stack([np.cos(bow), np.sin(bow)], 1)
        inner = np.stack([np.cos(bow[::-1]) * 0.55 - 0.26, np.sin(bow[::-1])], 1)
        points = np.concatenate([outer, inner])
    elif kind == "heart":
        y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        points = np.stack([16 * np.sin(t) ** 3, -y], 1) / 16
    spin = np.array(((math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))))
    return points @ spin


def _mask(kind: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """(SIZE, SIZE) in [0, 1]: 1 inside the shape."""
    radius = rng.uniform(0.2, 0.36) * 2 * SIZE
    centre = rng.uniform(radius * 0.9, 2 * SIZE - radius * 0.9, 2)
    turn = rng.uniform(-0.4, 0.4) if kind in ("square", "heart", "cross") else rng.uniform(0, 6.3)
    points = _outline(kind, turn + (np.pi / 4 if kind == "square" else 0)) * radius + centre
    image = Image.new("L", (2 * SIZE, 2 * SIZE))
    pen = ImageDraw.Draw(image)
    pen.polygon([tuple(point) for point in points.tolist()], fill=255)
    if kind == "ring":
        hole = (points - centre) * rng.uniform(0.45, 0.65) + centre
        pen.polygon([tuple(point) for point in hole.tolist()], fill=0)
    small = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def card(rng: np.random.Generator) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """One shape on one texture: (SIZE, SIZE, 3) uint8 and its labels."""
    shape, texture, hue = (int(rng.integers(len(of))) for of in (SHAPES, TEXTURES, HUES))
    direction = int(rng.integers(4))
    turn = (direction + rng.uniform(-0.3, 0.3)) * np.pi / 4
    mix = _texture(TEXTURES[texture], turn, rng)[..., None]
    light = rng.uniform(0.35, 0.6) * rng.choice((-1, 1))
    first = _hsv(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.5, 0.75) + light / 2)
    second = _hsv(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.5, 0.75) - light / 2)
    tint = (hue + rng.uniform(-0.3, 0.3)) / len(HUES)
    paint = _hsv(tint, rng.uniform(0.7, 1), rng.uniform(0.55, 1))
    mask = _mask(SHAPES[shape], rng)[..., None]
    shade = 1 + rng.uniform(-0.3, 0.3) * np.linspace(-1, 1, SIZE, dtype=np.float32)[:, None, None]
    picture = (first + mix * (second - first)) * (1 - mask) + paint * mask
    labels = {"shape": shape, "texture": texture, "hue": hue}
    if TEXTURES[texture] in TURNED:
        labels["direction"] = direction
    return np.clip(picture * shade, 0, 255).astype(np.uint8), labels


def spoil(picture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], int]:
    """The picture as it is, blurred, noisy, or through a bad JPEG; and which."""
    kind = int(rng.choice(4, p=(0.46, 0.18, 0.18, 0.18)))
    image = Image.fromarray(picture)
    if kind == 1:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.9, 2.4))))
    if kind == 2:
        noise = rng.standard_normal(picture.shape, np.float32) * rng.uniform(9, 32)
        return np.clip(picture + noise, 0, 255).astype(np.uint8), kind
    if kind == 3:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(6, 28)))
        image = Image.open(file)
    return np.asarray(image), kind


def pictures(seed: int, cards: int, scenes: int) -> tuple[Tensor, Tensor]:
    """Cards, then scenes (every second one a poster): (n, 3, SIZE, SIZE) uint8, labels (n, heads).

    A label of -1: the head has nothing to say about that picture.
    """
    names = list(HEADS)
    images = np.empty((cards + scenes, SIZE, SIZE, 3), np.uint8)
    labels = np.full((cards + scenes, len(names)), -1, np.int64)
    for index in range(cards + scenes):
        rng = np.random.default_rng([seed, index, 7])
        if index < cards:
            picture, known = card(rng)
        else:
            scene = plan(seed, index)
            picture = draw(seed, index, SIZE)
            known = {"ground": GROUNDS.index(scene.ground), "time": TIMES.index(scene.time)}
            known |= {thing: int(getattr(scene, thing) > 0) for thing in THINGS}
            known["poster"] = index % 2
            picture = stylise(picture) if index % 2 else picture
        images[index], known["spoilt"] = spoil(picture, rng)
        for name, label in known.items():
            labels[index, names.index(name)] = label
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


class Learner(nn.Module):
    """The layers with BatchNorm after each convolution, and one linear head per question."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = tiny_layers()
        convs = {str(k): c for k, c in enumerate(self.layers) if isinstance(c, nn.Conv2d)}
        for layer in convs.values():
            nn.init.kaiming_normal_(layer.weight)
        norms = {key: nn.BatchNorm2d(layer.out_channels) for key, layer in convs.items()}
        self.norms = nn.ModuleDict(norms)
        self.heads = nn.ModuleDict({name: nn.Linear(400, size) for name, size in HEADS.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(n, 3, h, w) in [-1, 1] -> answers (n, classes) by head."""
        seen = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if str(index) in self.norms:
                x = self.norms[str(index)](x)
            if index in TAPS:
                seen.append(x.mean((2, 3)))
        joined = torch.cat([*seen, x.amax((2, 3)), F.adaptive_max_pool2d(x, 2).std((2, 3))], 1)
        return {name: head(joined) for name, head in self.heads.items()}

    def folded(self) -> dict[str, Tensor]:
        """The layers' tensors with each BatchNorm folded into its convolution."""
        state = {}
        for index, norm in self.norms.items():
            layer = self.layers[int(index)]
            assert isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            assert norm.running_var is not None and norm.running_mean is not None
            assert layer.bias is not None
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            state[f"{index}.weight"] = layer.weight * gain[:, None, None, None]
            state[f"{index}.bias"] = (layer.bias - norm.running_mean) * gain + norm.bias
        return {key: value.detach() for key, value in state.items()}


def _ready(images: Tensor) -> Tensor:
    return images.float().div(127.5).sub(1)


def train(seed: int, steps: int, images: Tensor, labels: Tensor, cards: int) -> Learner:
    """Half of each batch cards, half scenes; cosine schedule; sides of 64 and 56 in turn."""
    torch.manual_seed(seed)
    learner = Learner()
    optimiser = torch.optim.AdamW(learner.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    rng = np.random.default_rng(seed)
    start = time.monotonic()
    for step in range(steps):
        chosen = np.concatenate(
            [rng.integers(0, cards, BATCH // 2), rng.integers(cards, len(images), BATCH // 2)]
        )
        x, y = _ready(images[chosen]), labels[chosen]
        if step % 2:
            top, left = rng.integers(0, 9, 2)
            x = x[:, :, top : top + 56, left : left + 56]
        answers = learner(x)
        losses = [
            F.cross_entropy(answers[name], y[:, column], ignore_index=-1)
            for column, name in enumerate(HEADS)
            if bool((y[:, column] >= 0).any())
        ]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"{step:5d}  loss {loss.item():7.3f}  {time.monotonic() - start:5.0f} s")
    return learner.eval()


@torch.no_grad()
def accuracies(learner: Learner, images: Tensor, labels: Tensor) -> dict[str, dict[str, float]]:
    """Per head: share of right answers, and what always giving the commonest answer would get."""
    batches = [learner(_ready(part)) for part in images.split(100)]
    found = {}
    for column, name in enumerate(HEADS):
        truth = labels[:, column]
        known = truth >= 0
        answer = torch.cat([batch[name] for batch in batches]).argmax(1)
        right = (answer == truth)[known].float().mean().item()
        commonest = truth[known].bincount().max().item() / int(known.sum())
        found[name] = {"accuracy": round(right, 4), "commonest": round(commonest, 4)}
    return found


def write(learner: Learner, folder: Path, card_facts: dict[str, object]) -> None:
    """Half-precision weights and the card beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_features.safetensors"
    halves = {key: tensor.half().contiguous() for key, tensor in learner.folded().items()}
    save_file(halves, path, {"format": "pt"})
    path.chmod(0o644)
    card_facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    card_facts["bytes"] = path.stat().st_size
    (folder / "tiny_features.json").write_text(json.dumps(card_facts, indent=2) + "\n")


def describe(
    given: argparse.Namespace, learner: Learner, measured: object, minutes: float
) -> dict[str, object]:
    """The card: what was trained, on what, how, with which versions, and how well it does."""
    return {
        "name": "tiny",
        "what": "feature network for RGB pictures in [-1, 1], 32 to 256 pixels",
        "layers": "ganpress.losses.networks.tiny_layers",
        "taps": {f"relu{k + 1}": f"stride {2**k}" for k in range(4)},
        "params": sum(tensor.numel() for tensor in learner.folded().values()),
        "precision": "float16",
        "trained_on": f"{given.cards} drawn cards and {given.scenes} drawn scenes, {SIZE} pixels; "
        "no photographs, no other network",
        "held_out": "2000 cards and 2000 scenes of another seed; 'commonest' is the share that "
        "always giving the commonest answer gets",
        "accuracy": measured,
        "seed": given.seed,
        "steps": given.steps,
        "batch": BATCH,
        "minutes": round(minutes, 2),
        "device": "cpu, 1 thread",
        "versions": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "python": platform.python_version(),
        },
        "command": " ".join(["python", *sys.argv]),
        "licence": "that of ganpress",
    }


def main() -> None:
    """Draw, train, measure, write."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--steps", type=int, default=1150)
    options.add_argument("--cards", type=int, default=12000)
    options.add_argument("--scenes", type=int, default=6000)
    options.add_argument("--out", type=Path, default=Path("zoo"))
    given = options.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    images, labels = pictures(given.seed, given.cards, given.scenes)
    held_out = pictures(given.seed + 1_000_003, 2000, 2000)
    drawn_s = time.monotonic() - start
    print(f"{len(images)} + {len(held_out[0])} pictures drawn in {drawn_s:.0f} s")
    learner = train(given.seed, given.steps, images, labels, given.cards)
    measured = accuracies(learner, *held_out)
    facts = describe(given, learner, measured, (time.monotonic() - start) / 60)
    write(learner, given.out, facts)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
