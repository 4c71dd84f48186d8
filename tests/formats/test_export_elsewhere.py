"""Exported files where they are run: an onnxruntime of years ago, and torch without ganpress."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exports import SHALLOW, quantised, static, tracing_once
from nets import FIRST, photos

from ganpress.errors import ExportError
from ganpress.formats.exporters import Form, export
from ganpress.formats.exporters.byte_door import as_bytes, from_bytes
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.formats.exporters.verify import GREY
from ganpress.formats.runtimes import open_file
from ganpress.models.inputs import reads

pytestmark = pytest.mark.usefixtures("tracing_once")
__all__ = ["tracing_once"]

OLD = os.environ.get("GANPRESS_OLD_ONNXRUNTIME")
READER = """
import sys, numpy, onnxruntime
assert onnxruntime.__version__.startswith("1.16"), onnxruntime.__version__
for path in sys.argv[1:]:
    held = numpy.load(path + ".npz")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    s = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    made = s.run(None, {i.name: held[i.name] for i in s.get_inputs()})[0]
    print(path, numpy.abs(made.astype(float) - held["want"]).max())
"""


@pytest.mark.skipif(OLD is None, reason="GANPRESS_OLD_ONNXRUNTIME is not set (see CONTRIBUTING)")
def test_an_onnxruntime_of_2023_makes_the_same_pictures(tmp_path: Path) -> None:
    """1.16 reads operator sets up to 19, and files up to IR 9."""
    assert OLD is not None
    files = {}
    for name, wiring in FIRST.items():
        files[f"{name}-float"] = (wiring.model(), static(wiring), wiring.inputs(1))
        if name in ("cyclegan", "sngan"):
            form = static(wiring, bytes_io=True)
            files[f"{name}-bytes"] = (wiring.model(), form, wiring.inputs(1))
    for name, by_channel in (("int8", False), ("int8-channel", True)):
        files[name] = (quantised(per_channel=by_channel), Form(32), (photos(1),))
    for name, (model, form, inputs) in files.items():
        data = to_bytes(model, form)
        (tmp_path / f"{name}.onnx").write_bytes(data)
        fed = {
            n: (as_bytes(x) if n == "image" and form.bytes_io else x).numpy()
            for n, x in zip(reads(model), inputs, strict=True)
        }
        with open_file(data) as today:
            np.savez(tmp_path / f"{name}.onnx.npz", want=today.run(fed)["image_out"], **fed)
    paths = [str(tmp_path / f"{name}.onnx") for name in files]
    ended = subprocess.run(
        [OLD, "-c", READER, *paths], capture_output=True, text=True, check=False, env={}
    )
    assert ended.returncode == 0, ended.stderr
    off = dict(line.rsplit(" ", 1) for line in ended.stdout.splitlines())
    assert len(off) == len(files)
    for path, most in off.items():
        limit = 1 if "bytes" in path else 2 * GREY if "int8" in path else 1e-4
        assert float(most) <= limit, path


def test_a_torch_program_runs_without_ganpress(tmp_path: Path) -> None:
    names = ("cyclegan", "sngan", "stylegan2")
    forms = {f"{name}-float": (FIRST[name].model(), static(FIRST[name])) for name in names}
    forms["int8"] = (quantised(), Form(32))
    forms["bytes"] = (SHALLOW.model(), Form((16, 24), bytes_io=True))
    forms["bf16"] = (SHALLOW.model(), Form(32, precision="bf16"))
    forms["free"] = (SHALLOW.model(), Form(32, dynamic=True))
    for name, (model, form) in forms.items():
        facts = export(model, tmp_path / f"{name}.pt2", to="torch", form=form)
        assert facts.file.read_bytes().find(str(Path(__file__).parents[2]).encode()) < 0
        size = (40, 24) if form.dynamic else form.size
        n = 3 if form.dynamic else 1
        inputs = model.net.draw(n, size, torch.Generator().manual_seed(1))  # type: ignore[operator]
        want = model(*inputs)
        if form.bytes_io:
            inputs, want = (as_bytes(inputs[0]),), as_bytes(model(from_bytes(as_bytes(inputs[0]))))
        torch.save({"inputs": list(inputs), "want": want}, tmp_path / f"{name}.pt")
    code = f"""
import sys, json
sys.modules["ganpress"] = None
import torch
for name in {list(forms)!r}:
    held = torch.load(f"{tmp_path}/{{name}}.pt")
    extra = {{"ganpress.json": ""}}
    program = torch.export.load(f"{tmp_path}/{{name}}.pt2", extra_files=extra).module()
    made = program(*held["inputs"])
    assert json.loads(extra["ganpress.json"])["producer"] == "ganpress"
    print(name, (made.float() - held["want"].float()).abs().max().item())
"""
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True,
                           text=True, check=False, cwd=tmp_path)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    off = {k: float(v) for k, v in (line.split() for line in ended.stdout.splitlines())}
    assert off.keys() == forms.keys()
    assert off.pop("bytes") <= 1
    assert 0 < off.pop("bf16") < 0.1
    assert max(off.values()) < 1e-4
    half, full = (Path(tmp_path / f"{n}.pt2").stat().st_size for n in ("bf16", "int8"))
    assert half and full


def test_an_exported_program_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SHALLOW.model(seed=1)
    whole = export(other, tmp_path / "other.pt2", to="torch", size=32).file.read_bytes()
    monkeypatch.setattr(
        "ganpress.formats.exporters.program_file.program_bytes", lambda model, form: whole
    )
    with pytest.raises(ExportError, match=r"differs from torch"):
        export(SHALLOW.model(), tmp_path / "net.pt2", to="torch", size=32)
    assert not (tmp_path / "net.pt2").exists()
