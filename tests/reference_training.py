"""What the reference training loops share: seeds, batches, Adam and the average, written out.

The loops run in double precision, where a gradient that is 0 but for rounding stays 0 in Adam, so
that weights, moments and losses can be compared over several steps to a millionth.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganpress.data import Batch, Images, open_images, stream
from ganpress.data.drawn.draw import write_folder
from ganpress.models.families import Family
from ganpress.run.logs import read_log
from ganpress.training.settings import TrainConfig

RELATIVE = 1e-6  # of the largest number in a tensor
NOISE = 1e-11  # what rounding leaves of a gradient that is 0


@contextmanager
def double_precision() -> Iterator[None]:
    """Within, networks are built in float64, and batches become so on their way to the device."""

    def to(batch: Batch, device: str) -> Batch:
        assert device == "cpu"
        return replace(batch, x=batch.x.double(), y=None if batch.y is None else batch.y.double())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batch, "to", to)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def pictures(
    folder: Path, *, seed: int, stylised: bool = False, pairs: Path | None = None
) -> Images:
    """Four drawn pictures of 40 x 40 pixels."""
    return open_images(write_folder(folder, 4, seed, 40, stylised=stylised), pairs=pairs)


def reseed(salt: str, seed: int = 0) -> None:
    """Seed torch as a run of this seed does: "init" before the networks, "train/3" at step 3."""
    digest = hashlib.sha256(f"{seed}/{salt}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def batches(images: Images, c: TrainConfig, salt: str = "") -> list[Batch]:
    """The batches of all steps, in double precision; a salt names a stream of its own."""
    digest = hashlib.sha256(f"{c.seed}/{salt}".encode()).digest()
    seed = int.from_bytes(digest[:7], "little") if salt else c.seed
    found = stream(
        images, batch=c.batch, size=c.data.size, seed=seed, first=0, total=c.steps,
        flip=c.data.flip, load_size=c.data.load_size, workers=0,
    )  # fmt: skip
    return [batch.to("cpu") for batch in found]


def scaled(family: Family, c: TrainConfig) -> nn.Module:
    """The family's network at c.width of its full widths."""
    full = family.full(family.resolve(c.options))
    widths = {group: max(1, round(width * c.width)) for group, width in full.items()}
    return family.build(widths, **c.options)


def drawn_normal(net: nn.Module) -> nn.Module:
    """Convolutions from N(0, 0.02), scales of norms from N(1, 0.02), biases 0 (pix2pix, 6.2)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, 0.02)
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return net


def linear_decay(step: int, c: Any) -> float:
    """1 until ``decay_from`` of the steps, then in a straight line to 0 after the last."""
    start = c.decay_from * c.steps
    return 1.0 if step <= start else (c.steps - step) / (c.steps - start)


class Adam:
    """Kingma & Ba, 2015, algorithm 1, with betas 0.5 and 0.999 and eps 1e-8.

    Biases that a norm takes away again, whose gradient is 0 but for rounding, are idle: they do
    not move here.

    Args: weight_decay: times the weight, added to its gradient. moves_idle: the loop's Adam has
        those biases too; they then go at random, and are not compared.
    """

    def __init__(
        self, net: nn.Module, *, weight_decay: float = 0.0, moves_idle: bool = False
    ) -> None:
        self.all = dict(net.named_parameters())
        self.weight_decay, self.moves_idle, self.t = weight_decay, moves_idle, 0
        self.idle = set(self.all)
        self.m, self.v = ({n: torch.zeros_like(w) for n, w in self.all.items()} for _ in "mv")

    @property
    def ignored(self) -> set[str]:
        """Names of the parameters that are not compared."""
        return self.idle if self.moves_idle else set()

    def step(self, loss: Tensor, lr: float) -> None:
        grads = dict(zip(self.all, torch.autograd.grad(loss, list(self.all.values())), strict=True))
        self.idle -= {n for n, g in grads.items() if g.ndim > 1 or float(g.abs().max()) > NOISE}
        self.t += 1
        with torch.no_grad():
            for name in self.all.keys() - self.idle:
                w, m, v = self.all[name], self.m[name], self.v[name]
                g = grads[name] + self.weight_decay * w
                m.copy_(0.5 * m + 0.5 * g)
                v.copy_(0.999 * v + 0.001 * g * g)
                m_hat, v_hat = m / (1 - 0.5**self.t), v / (1 - 0.999**self.t)
                w.sub_(lr * m_hat / (v_hat.sqrt() + 1e-8))


@dataclass
class Reference:
    """Networks, optimisers, the averaged weights, and what is logged at each step."""

    G: nn.Module
    D: nn.Module
    opt_g: Adam
    opt_d: Adam
    decay: float
    logs: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.average = {name: tensor.clone() for name, tensor in self.G.state_dict().items()}

    @torch.no_grad()
    def follow(self) -> None:
        """a <- d a + (1 - d) w after update t, with d = min(decay, (1 + t) / (10 + t))."""
        t = self.opt_g.t
        d = min(self.decay, (1 + t) / (10 + t)) if self.decay else 0.0
        for name, w in self.G.state_dict().items():
            a = self.average[name]
            a.copy_(a * d + w * (1 - d) if w.is_floating_point() else w)

    def log(self, terms: Mapping[str, Tensor | float]) -> None:
        self.logs.append({n: float(torch.as_tensor(t).detach()) for n, t in terms.items()})

    def averaged(self, prefix: str = "") -> dict[str, Tensor]:
        """The averaged tensors below this prefix that are compared, by what follows it."""
        return part(self.average, prefix, self.opt_g.ignored)

    def discriminators(self, prefix: str = "") -> dict[str, Tensor]:
        """The same of the discriminators, which are not averaged."""
        return part(self.D.state_dict(), prefix, self.opt_d.ignored)


def part(state: Mapping[str, Tensor], prefix: str, ignored: Collection[str]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it, but for the ignored ones."""
    kept = {n: t for n, t in state.items() if n.startswith(prefix) and n not in ignored}
    return {n.removeprefix(prefix): t for n, t in kept.items()}


def check(stage: Path, r: Reference) -> None:
    """Compare all that a finished stage has saved and logged with the reference."""
    logs = read_log(stage / "log.jsonl")
    assert len(logs) == len(r.logs)
    for line, wanted in zip(logs, r.logs, strict=True):
        found = {name: line[name] for name in wanted}
        assert found == pytest.approx(wanted, rel=RELATIVE, abs=NOISE), f"step {line['step']}"
    state = torch.load(stage / "state.pt", weights_only=True)["of"]
    check_tensors(state["G"], part(r.G.state_dict(), "", r.opt_g.ignored))
    check_tensors(state["average"]["shadow"], r.averaged())
    check_tensors(state["D"], r.discriminators())
    check_adam(state["opt_g"]["state"], r.opt_g)
    check_adam(state["opt_d"]["state"], r.opt_d)


def check_adam(moments: Mapping[int, Mapping[str, Tensor]], adam: Adam) -> None:
    """Compare the moments that torch's Adam keeps, in the order of its parameters."""
    names = [name for name in adam.all if adam.moves_idle or name not in adam.idle]
    assert len(moments) == len(names)
    for name, found in zip(names, moments.values(), strict=True):
        if name not in adam.idle:
            assert int(found["step"]) == adam.t
            check_tensors({name: found["exp_avg"]}, {name: adam.m[name]})
            check_tensors({name: found["exp_avg_sq"]}, {name: adam.v[name]})


def check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Compare the tensors that are compared, each to a millionth of its largest number."""
    assert all(name.endswith("bias") for name in found.keys() ^ wanted.keys())
    for name, b in wanted.items():
        a = found[name]
        assert a.shape == b.shape
        if b.numel():
            limit = RELATIVE * float(b.abs().max())
            apart = float((a - b).detach().abs().max())
            assert math.isfinite(apart) and apart <= limit, f"{name}: {apart} > {limit}"
