"""StyleGAN2 at 256 pixels on a CPU: our form of the modulated convolution beside rosinality's.

Command:  .venv/bin/python -m benchmarks.stylegan2_forms [--threads 2] [--repeats 5]
Time:     about 4 minutes on 2 cores.
Result:   benchmarks/results/stylegan2-forms-cpu.json; the last lines name the ratios.

Ours scales the input, convolves once with the same weights for all samples, and scales the output.
rosinality's makes weights for each sample and convolves in one group per sample. Both run the same
full generator (random weights: time does not depend on them), with the same blur, and take turns in
one process; peak memory is of one process each. ADR 0012 has what follows.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.measures.timing.device import processor
from ganpress.models.families.stylegan2 import STYLEGAN2, StyleGAN2
from ganpress.nn.modulated import ModulatedConv

SEED, BATCHES = 0, (1, 4)
RESULT = Path(__file__).parent / "results" / "stylegan2-forms-cpu.json"


def main() -> None:
    """Measure, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", nargs=2, metavar=("FORM", "BATCH"), help="for our own children")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    net = generator()
    if a.memory:
        print(peak_mb(net, a.memory[0], int(a.memory[1])))
        return
    found = {str(n): compare(net, n, a.threads, a.repeats) for n in BATCHES}
    facts = {
        "device": processor(),
        "threads": a.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": SEED,
        "repeats": a.repeats,
        "load": os.getloadavg()[0],
        "size": 256,
        "params": sum(p.numel() for p in net.parameters()),
        "batches": found,
    }
    RESULT.write_text(json.dumps(facts, indent=2) + "\n")
    for n, f in found.items():
        print(
            f"batch {n}: ours {f['ours']['images_per_s']:.2f} images/s and "
            f"{f['ours']['peak_mb']:.0f} MB, grouped {f['grouped']['images_per_s']:.2f} and "
            f"{f['grouped']['peak_mb']:.0f} MB; {f['ratio']:.2f}x by the clock, "
            f"{f['process_ratio']:.2f}x in CPU time"
        )


def generator() -> StyleGAN2:
    """config-f at 256 pixels, every tensor with an effect."""
    torch.manual_seed(SEED)
    net = STYLEGAN2.build(size=256).eval()
    assert isinstance(net, StyleGAN2)
    with torch.no_grad():
        layer: Any
        for layer in net.layers:
            layer.strength.fill_(0.1)
            layer.bias.normal_(0, 0.1)
    return net


def compare(net: StyleGAN2, n: int, threads: int, repeats: int) -> dict[str, Any]:
    """Both forms in turn on ``n`` pictures at once; seconds are of the clock and of the process.

    Images per second are those of the fastest repeat, ratios the median over turns: other work on
    the machine lengthens single repeats.
    """
    z = torch.randn(n, net.style_dim)
    pictures = {name: form(net, z) for name, form in FORMS.items()}  # also warms up
    apart = float((pictures["ours"] - pictures["grouped"]).abs().max())
    clock: dict[str, list[float]] = {name: [] for name in FORMS}
    process: dict[str, list[float]] = {name: [] for name in FORMS}
    for turn in range(repeats):
        order = list(FORMS) if turn % 2 else list(FORMS)[::-1]
        for name in order:
            began, spent = time.perf_counter(), time.process_time()
            FORMS[name](net, z)
            clock[name].append(time.perf_counter() - began)
            process[name].append(time.process_time() - spent)
    out: dict[str, Any] = {
        name: {
            "images_per_s": n / min(clock[name]),
            "seconds": clock[name],
            "process_seconds": process[name],
            "peak_mb": in_a_child(name, n, threads),
        }
        for name in FORMS
    }
    pairs = zip(clock["grouped"], clock["ours"], strict=True)
    out["ratio"] = statistics.median(theirs / ours for theirs, ours in pairs)
    spent_pairs = zip(process["grouped"], process["ours"], strict=True)
    out["process_ratio"] = statistics.median(theirs / ours for theirs, ours in spent_pairs)
    out["largest_difference"] = apart
    return out


@torch.no_grad()
def ours(net: StyleGAN2, z: Tensor) -> Tensor:
    """The network as it is."""
    out: Tensor = net(z)
    return out


@torch.no_grad()
def grouped(net: StyleGAN2, z: Tensor) -> Tensor:
    """The same network as rosinality formulates it."""
    w = net.mapping(z)
    x = net.const.expand(len(z), -1, -1, -1)
    image: Tensor | None = None
    layer: Any
    for k, layer in enumerate(net.layers):
        x = per_sample(layer.modulated, x, w) + layer.strength * getattr(net, f"noise_{k}")
        x = F.leaky_relu(x + layer.bias[:, None, None], 0.2) * math.sqrt(2)
        if k % 2 == 0:
            rgb: Any = net.to_rgb[k // 2]
            y = per_sample(rgb.modulated, x, w) + rgb.bias[:, None, None]
            image = y if image is None else y + rgb.blur.upsample(image)
    assert image is not None
    return image


def per_sample(layer: ModulatedConv, x: Tensor, w: Tensor) -> Tensor:
    """Weights for each sample, one group of the convolution per sample."""
    n, i, h, width = x.shape
    weight = layer.conv.weight
    weight = weight.transpose(0, 1) if layer.up else weight
    o, kernel = weight.shape[0], weight.shape[2]
    weight = layer.gain * weight[None] * layer.affine(w)[:, None, :, None, None]
    if layer.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, n * i, h, width)
    if layer.up:
        weight = weight.transpose(1, 2).reshape(n * i, o, kernel, kernel)
        y = F.conv_transpose2d(x, weight, stride=2, groups=n)
        return layer.blur(y.view(n, o, *y.shape[2:]), padding=1)
    weight = weight.reshape(n * o, i, kernel, kernel)
    y = F.conv2d(x, weight, padding=kernel // 2, groups=n)
    return y.view(n, o, *y.shape[2:])


FORMS: dict[str, Callable[[StyleGAN2, Tensor], Tensor]] = {"ours": ours, "grouped": grouped}


def peak_mb(net: StyleGAN2, form: str, n: int) -> float:
    """MB that the second of two passes has resident at its peak, above the network itself.

    Run it in a process of its own: what a pass leaves behind in the heap would count as the next
    one's, so the resident size before any pass is what the peak is compared with.
    """
    z, before = torch.randn(n, net.style_dim), resident_mb()
    FORMS[form](net, z)
    seen, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    FORMS[form](net, z)
    done.set()
    watcher.join()
    return max(seen) - before


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_a_child(form: str, n: int, threads: int) -> float:
    """`peak_mb` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.stylegan2_forms", "--threads", str(threads)]
    command += ["--memory", form, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
