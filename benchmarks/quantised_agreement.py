"""Do torch, onnxruntime and OpenVINO make the same picture of an 8-bit network, and how large are
its files?

Command:  .venv/bin/python -m benchmarks.quantised_agreement [--threads 1]
          .venv/bin/python -m benchmarks.quantised_agreement --model FILE --images DIR
Time:     about 2 minutes on 1 core; networks that the result file has are not run again (--again).
Needs:    ganpress[onnx,openvino]; for all rows GANPRESS_DATA and GANPRESS_WEIGHTS.
Result:   benchmarks/results/quantised-agreement-cpu.json, one entry a network.

A network that is float is quantised after training, per channel, with ranges calibrated on other
photos, once as usual and once in the exact form (ADR 15); one that is quantised (--model) is taken
as it is. Differences are in grey levels of 255, on
real photos, from torch's float32 fake-quantised picture. The first three rows of each network are
torch's own: the same network in float64, and in float32 with 1e-6 of noise added to the photo, say
how well the picture is defined at all; "float network" is what quantisation itself costs.
"""

from __future__ import annotations

import argparse
import copy
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
from PIL import Image
from torch import Tensor

from ganpress import import_model, load, save
from ganpress.formats.exporters import openvino
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.models.inputs import reads
from ganpress.models.checkpoint import Model
from ganpress.quantisation.exact import make_quantiser
from ganpress.quantisation.quantise import calibrate, quantise, quantiser_of

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "quantised-agreement-cpu.json"
PHOTOS, CALIBRATE = 4, 16


def main() -> None:
    """Measure what is not there yet, write, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--again", action="store_true", help="measure all networks again")
    parser.add_argument("--model", type=Path, help="a ganpress model of photos, quantised or not")
    parser.add_argument("--images", type=Path, help="photos for --model")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    found = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name, (read, folder) in networks(a.model, a.images).items():
        for exact in (False, True):
            entry = f"{name}, exact" if exact else name
            if entry in found and not (a.again or a.model):
                continue
            model = read()
            if exact and quantiser_of(model.net) is not None:
                continue
            found[entry] = measured(model, folder, a.size, a.threads, exact=exact)
            print(entry, json.dumps(found[entry], indent=1), flush=True)
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps(found, indent=1) + "\n")


def networks(
    model: Path | None, images: Path | None
) -> dict[str, tuple[Callable[[], Model], Path]]:
    """Name -> how to read the network, and the folder of its photos."""
    if model is not None and images is not None:
        return {"/".join(model.parts[-3:-1]): (lambda: load(model), images)}
    weights, data = Path(os.environ["GANPRESS_WEIGHTS"]), Path(os.environ["GANPRESS_DATA"])
    [horses] = (weights / "gancompression_horse2zebra").glob("*.pth")
    hayao = weights / "cartoongan_hayao" / "hayao_fp16.pth"
    monet = data / "monet2photo" / "testB"
    return {
        "demo teacher": (lambda: load(ROOT / "zoo" / "demo_teacher.safetensors"), monet),
        "horse2zebra student": (
            lambda: import_model("auto", horses),
            data / "horse2zebra_part" / "testA",
        ),
        "Hayao": (lambda: import_model("auto", hayao), monet),
    }


def measured(
    model: Model, folder: Path, size: int, threads: int, *, exact: bool = False
) -> dict[str, Any]:
    """All rows of one network."""
    pictures = photos(folder, size)
    heard, x = pictures[PHOTOS:], pictures[:PHOTOS]
    plain: Tensor | None = None
    if quantiser_of(model.net) is None:
        plain = model(x)
        net = quantise(copy.deepcopy(model.net), make_quantiser(per_channel=True, exact=exact))
        float_size = file_size(model)
        model = Model(calibrate(net, model.net, heard), model.family, model.options)
    else:
        float_size = file_size(model, trainable=True)
    want, torch_ms = timed(model, x)
    data = to_bytes(model, Form(size, dynamic=True))
    quantiser = quantiser_of(model.net)
    out: dict[str, Any] = {
        "family": model.family.name,
        "quantiser": quantiser.card() if quantiser else None,
        "photos": len(x), "size": size, "threads": threads, "load": os.getloadavg()[0],
        "bytes": {"safetensors float32": float_size, "safetensors int8": file_size(model),
                  "onnx": len(data), "openvino": sum(map(len, openvino.files(data)))},
        "grey_levels": {}, "milliseconds": {"torch": torch_ms},
    }  # fmt: skip
    rows = out["grey_levels"]
    rows["torch float64"] = difference(in_double(model, x), want)
    rows["torch, input + 1e-6"] = difference(model(x + 1e-6 * torch.randn_like(x)), want)
    if plain is not None:
        rows["float network"] = difference(plain, want)
    for name, run in programs(data, reads(model)).items():
        got, out["milliseconds"][name] = timed(run, x)
        rows[name] = difference(got, want)
    return out


def programs(data: bytes, names: tuple[str, ...]) -> dict[str, Callable[..., Tensor]]:
    """The ONNX file in each program and session setting."""
    return {
        "onnxruntime, all optimisations": onnxruntime_of(data, names, "ORT_ENABLE_ALL"),
        "onnxruntime, none": onnxruntime_of(data, names, "ORT_DISABLE_ALL"),
        "onnxruntime, QDQ not fused": onnxruntime_of(
            data, names, "ORT_ENABLE_ALL", **{"session.disable_quant_qdq": "1"}
        ),
        "OpenVINO, float32": openvino.runner(data, names),
        "OpenVINO, its own precision": openvino.runner(
            data, names, INFERENCE_PRECISION_HINT="bf16"
        ),
    }


def onnxruntime_of(
    data: bytes, names: tuple[str, ...], level: str, **entries: str
) -> Callable[..., Tensor]:
    """A session with these optimisations and configuration entries."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> Tensor:
        fed = {name: t.numpy() for name, t in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, fed)[0])

    return run


def in_double(model: Model, x: Tensor) -> Tensor:
    """The same network with all sums in float64."""
    twin = Model(copy.deepcopy(model.net).double(), model.family, model.options)
    return twin(x.double()).float()


def difference(got: Tensor, want: Tensor) -> dict[str, float]:
    """Mean, 99th percentile and maximum in grey levels, and the share within 2 of them."""
    d = (got - want).abs().flatten().numpy() * 127.5
    return {
        "mean": round(float(d.mean()), 3),
        "p99": round(float(np.quantile(d, 0.99)), 2),
        "max": round(float(d.max()), 1),
        "within_2": round(float((d <= 2).mean()), 4),
    }


def timed(run: Callable[..., Tensor], x: Tensor, repeats: int = 5) -> tuple[Tensor, float]:
    """The output, and the median of the milliseconds a photo takes in this batch."""
    out, took = run(x), []
    for _ in range(repeats):
        began = time.perf_counter()
        out = run(x)
        took.append(time.perf_counter() - began)
    return out, round(1e3 * statistics.median(took) / len(x), 1)


def file_size(model: Model, *, trainable: bool = False) -> int:
    """Bytes of the safetensors file."""
    with tempfile.TemporaryDirectory() as folder:
        path = save(model, Path(folder) / "model.safetensors", trainable=trainable)
        return path.stat().st_size


def photos(folder: Path, size: int) -> Tensor:
    """The first photos of a folder, shrunk to squares: (n, 3, size, size) in [-1, 1]."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    read = []
    for path in paths[: PHOTOS + CALIBRATE]:
        with Image.open(path) as picture:
            small = picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        read.append(torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 127.5 - 1)
    return torch.stack(read)


if __name__ == "__main__":
    main()
