"""The forms of an exported file: shapes, operator set and format version, bytes, precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exports import SHALLOW, static, tracing_once
from nets import FIRST, WIRINGS, Wiring, every_family, photos

import ganpress
from ganpress.errors import ConfigError, ExportError
from ganpress.formats.exporters import Form, export
from ganpress.formats.exporters.byte_door import as_bytes, from_bytes
from ganpress.formats.exporters.onnx import session, to_bytes, versions_of
from ganpress.formats.exporters.opset import at_opset
from ganpress.formats.exporters.verify import GREY, compare
from ganpress.formats.runtimes import open_file
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, quantise
from ganpress.run.grid import grid
from ganpress.types import Inputs

onnx = pytest.importorskip("onnx", reason="needs ganpress[onnx]")
helper, TensorProto = onnx.helper, onnx.TensorProto

pytestmark = pytest.mark.usefixtures("tracing_once")
__all__ = ["tracing_once"]

ON_SHAPES = {"Shape", "Gather", "Squeeze", "ConstantOfShape", "Expand", "Range", "ReduceProd"}
"""Operators of arithmetic on shapes."""
NEEDS = {"gaugan": 13, "munit": 13, "sngan": 13}
"""Operator sets of the families that resize; of the others 11."""
IR_OF = {11: 6, 13: 7}
"""As onnx's release notes have it: set 11 came with format 6 (1.6), sets 12 and 13 with 7."""


def quantised(wiring: Wiring = SHALLOW, **how: Any) -> Model:
    """A tiny network on 8 bits, with calibrated ranges."""
    model = wiring.model()
    calibrate(quantise(model.net, FakeQuantiser(**how)), wiring.net(), *wiring.inputs())
    return model


def run(data: bytes, model: Model, inputs: Inputs) -> torch.Tensor:
    return session(data)(dict(zip(reads(model), inputs, strict=True)))["image_out"]


@every_family
def test_a_static_file_is_the_network_in_the_lowest_set_without_arithmetic_on_shapes(
    wiring: Wiring,
) -> None:
    model, form = wiring.model(), static(wiring)
    data = to_bytes(model, form)
    file = onnx.load_from_string(data)
    onnx.checker.check_model(file, full_check=True)
    assert not ON_SHAPES & {node.op_type for node in file.graph.node}
    lowest = NEEDS.get(wiring.name, 11)
    assert versions_of(data) == (lowest, IR_OF[lowest])
    assert compare(model, data, session, form).most < 1e-4
    for port in (*file.graph.input, *file.graph.output):
        dims = [d.dim_value for d in port.type.tensor_type.shape.dim]
        assert dims[0] == 1 and all(dims)
    if lowest > 11:
        with pytest.raises(ConfigError, match=r"is 12, which .*Resize .*give --opset 13, or leave"):
            to_bytes(model, static(wiring, opset=12))


@every_family
def test_bytes_in_and_out_are_pythons_own_pictures(wiring: Wiring) -> None:
    model, form = wiring.model(), static(wiring, bytes_io=True)
    given = wiring.inputs(1, seed=4)
    fed = {
        name: (as_bytes(x) if name == "image" else x).numpy()
        for name, x in zip(reads(model), given, strict=True)
    }
    with open_file(to_bytes(model, form)) as opened:
        made = opened.run(fed)["image_out"]
        ports = {**opened.inputs, **opened.outputs}
        described = json.loads(opened.described["preprocessing"])
    onto = tuple(from_bytes(torch.from_numpy(a)) if a.dtype == np.uint8 else torch.from_numpy(a)
                 for a in fed.values())  # fmt: skip
    want = grid(model(*onto))
    assert made.dtype == np.uint8 and made.shape == (1, *want.shape)
    assert np.abs(made[0].astype(int) - want).max() <= 1
    assert np.mean(made[0] == want) > 0.99
    told = {**described["inputs"], **described["outputs"]}
    assert {n: (p.dims, p.dtype) for n, p in ports.items()} == {
        n: (tuple(t["dims"]), t["dtype"]) for n, t in told.items()
    }


@pytest.mark.parametrize("as_bytes_", [False, True])
def test_the_metadata_turn_a_photo_into_what_the_file_reads(as_bytes_: bool) -> None:
    """By the formula of docs/formats.md alone."""
    model = SHALLOW.model()
    with open_file(to_bytes(model, Form((16, 24), bytes_io=as_bytes_))) as opened:
        told = json.loads(opened.described["preprocessing"])
        image, made = told["inputs"]["image"], told["outputs"]["image_out"]
        photo = np.random.default_rng(1).integers(0, 256, (1, 16, 24, 3), np.uint8)
        value = (photo - np.array(image["mean"])) / np.array(image["scale"])
        value = value if image["layout"] == "NHWC" else value.transpose(0, 3, 1, 2)
        out = opened.run({"image": value.astype(image["dtype"])})["image_out"]
    assert (told["size"], told["multiple"], told["min_size"]) == ([16, 24], 2, 4)
    assert (image["colour"], image["dims"][0]) == ("RGB", 1)
    out = out if made["layout"] == "NHWC" else out.transpose(0, 2, 3, 1)
    byte = np.rint(out * np.array(made["scale"]) + np.array(made["mean"])).clip(0, 255)
    x = torch.from_numpy(photo).permute(0, 3, 1, 2).float() / 127.5 - 1
    want = ((model(x) + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
    assert np.abs(byte - want.numpy()).max() <= 1
    with pytest.raises(Exception, match=r"(?i)type|dimension"):
        session(to_bytes(model, Form((16, 24), bytes_io=not as_bytes_)))({"image": x[:, :, :8]})


def test_label_maps_codes_and_classes_are_described() -> None:
    gaugan, sngan = FIRST["gaugan"], WIRINGS["sngan conditional"]
    told = {}
    for wiring in (gaugan, sngan, FIRST["stylegan2"], FIRST["munit"]):
        data = to_bytes(wiring.model(), static(wiring))
        meta = {p.key: p.value for p in onnx.load_from_string(data).metadata_props}
        told |= json.loads(meta["preprocessing"])["inputs"]
    labels = told["semantics"]
    assert (labels["labels"], labels["edges_channel"], labels["dontcare_channel"]) == (4, 4, None)
    assert labels["dims"][1] == 5
    assert (told["y"]["classes"], told["y"]["encoding"]) == (4, "one-hot")
    kinds = {name: told[name]["is"] for name in ("z", "style", "noise_0", "image", "semantics")}
    assert list(kinds.values()) == [
        *("latent code", "style code", "noise map", "picture", "label map")
    ]


@pytest.mark.parametrize(("asked", "ir"), [(7, 4), (9, 4), (12, 7), (13, 7), (17, 8), (21, 10)])
def test_an_operator_set_that_is_asked_for_is_kept(asked: int, ir: int) -> None:
    model = SHALLOW.model()
    data = to_bytes(model, Form(32, opset=asked))
    assert versions_of(data) == (asked, ir)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    x = photos(1)
    assert (run(data, model, (x,)) - model(x)).abs().max() < 1e-4


def test_scales_by_channel_need_set_13_and_one_scale_needs_10() -> None:
    model = quantised(per_channel=True)
    assert versions_of(to_bytes(model, Form(32)))[0] == 13
    with pytest.raises(ConfigError, match=r"12, which .*DequantizeLinear has .*give --opset 13"):
        to_bytes(model, Form(32, opset=12))
    with pytest.raises(ConfigError, match=r"set is 99, .*sets are 7 to"):
        to_bytes(model, Form(32, opset=99))
    one_scale = quantised()
    assert versions_of(to_bytes(one_scale, Form(32)))[0] == 11
    assert versions_of(to_bytes(one_scale, Form(32, opset=10), passes=False))[0] == 10


def graph_of(*nodes: Any, kind: int = TensorProto.FLOAT, rank: int = 4, **weights: Any) -> bytes:
    """A graph of set 18 from x, (1, 2, 3, 4), to y, with these constants."""
    x = helper.make_tensor_value_info("x", kind, [1, 2, 3, 4])
    y = helper.make_tensor_value_info("y", kind, [None] * rank)
    constants = [onnx.numpy_helper.from_array(np.array(v), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


NODES: dict[str, tuple[bytes, int]] = {
    "constant axes become an attribute": (
        graph_of(helper.make_node("ReduceMean", ["x", "a"], ["y"]), a=np.array([2, 3])), 7),
    "axes from the end stay where these are known": (
        graph_of(helper.make_node("ReduceMean", ["x", "a"], ["y"]), a=np.array([-1, -2])), 11),
    "axes that are computed stay an input": (
        graph_of(helper.make_node("Neg", ["n"], ["m"]),
                 helper.make_node("ReduceMean", ["x", "m"], ["y"]), n=np.array([1])), 18),
    "a layer norm is an operator of its own": (
        graph_of(helper.make_node("LayerNormalization", ["x", "s"], ["y"]),
                 s=np.ones(4, np.float32)), 17),
    "a softmax before 13 was another": (graph_of(helper.make_node("Softmax", ["x"], ["y"])), 13),
    "a group norm of 18 is gone in 21": (
        graph_of(helper.make_node("GroupNormalization", ["x", "s", "s"], ["y"], num_groups=1),
                 s=np.ones(1, np.float32)), 18),
    "an exponent of another type": (
        graph_of(helper.make_node("Pow", ["x", "p"], ["y"]), p=np.array(2)), 12),
    "a clip by inputs": (
        graph_of(helper.make_node("Clip", ["x", "l", "h"], ["y"]),
                 l=np.float32(0), h=np.float32(1)), 7),
    "a clip of whole numbers": (
        graph_of(helper.make_node("Clip", ["x", "l"], ["y"]), kind=TensorProto.INT8,
                 l=np.int8(0)), 12),
    "half precision from the first": (
        graph_of(helper.make_node("Relu", ["x"], ["y"]), kind=TensorProto.FLOAT16), 7),
    "bfloat16 since 13": (
        graph_of(helper.make_node("Relu", ["x"], ["y"]), kind=TensorProto.BFLOAT16), 13),
    "a reshape whose shape has no zero": (
        graph_of(helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=1),
                 rank=2, s=np.array([1, 24])), 7),
    "a reshape to nothing": (
        graph_of(helper.make_node("Reshape", ["x", "s"], ["y"], allowzero=1),
                 rank=3, s=np.array([1, 24, 0])), 14),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_the_lowest_set_of_a_graph_is_that_of_its_operators(name: str) -> None:
    data, lowest = NODES[name]
    if lowest > 7:
        with pytest.raises(ConfigError, match=rf"It can have {lowest} to 2"):
            at_opset(data, lowest - 1)
    made = at_opset(data, lowest)
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    assert versions_of(made)[0] == lowest
    assert versions_of(at_opset(data))[0] == max(11, lowest)
    if "float16" in name or "half" in name or "nothing" in name or "whole" in name:
        return
    x = {"x": np.random.default_rng(0).random((1, 2, 3, 4), np.float32)}
    reference = onnx.reference.ReferenceEvaluator(onnx.load_from_string(data))
    with open_file(made) as opened:
        assert np.allclose(opened.run(x)["y"], reference.run(None, x)[0], atol=1e-6)


def test_a_quantised_student_in_floats_is_clamped_and_on_its_grid() -> None:
    """Within what rounding the activations changes, and nearer than without the clamping."""
    model = quantised(p=0.5)
    for layer in model.net.modules():
        if isinstance(getattr(layer, "quantiser", None), FakeQuantiser):
            layer.quantiser = FakeQuantiser(p=0.5)
    form = Form(32, precision="fp32")
    data = to_bytes(model, form)
    graph = onnx.load_from_string(data).graph
    assert not {"QuantizeLinear", "DequantizeLinear"} & {n.op_type for n in graph.node}
    assert {t.data_type for t in graph.initializer if len(t.dims) == 4} == {TensorProto.FLOAT}
    x, plain = photos(1, seed=8), SHALLOW.model()
    off = (run(data, model, (x,)) - model(x)).abs().mean()
    assert off < 2 * GREY < 0.2 * (plain(x) - model(x)).abs().mean()
    meta = {p.key: p.value for p in onnx.load_from_string(data).metadata_props}
    assert (meta["precision"], meta["quantiser"]) == ("fp32", "null")


@pytest.mark.parametrize(
    ("to", "how", "said"),
    [
        ("onnx", {"precision": "int8"}, r"needs pictures .*--calibrate DIR"),
        ("torch", {"precision": "int8"}, r"no 8-bit form for target 'torch'.*quantise\.bits=8"),
        ("torch", {"opset": 17}, r"'torch' has no --opset, which is for onnx: leave it out"),
        ("openvino", {"opset": 17}, r"no --opset"),
        ("pth-plain", {"dynamic": True}, r"no --dynamic, which is for onnx, openvino, torch"),
        ("pth-plain", {"bytes_io": True}, r"no --bytes"),
        ("pth-junyanz", {"precision": "fp16"}, r"no --precision"),
        ("pth-junyanz", {"batch": 2}, r"no --batch"),
    ],
)
def test_what_a_target_cannot_have_is_refused(
    tmp_path: Path, to: str, how: dict[str, Any], said: str
) -> None:
    endings = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
    with pytest.raises(ConfigError, match=said):
        export(
            SHALLOW.model(), tmp_path / f"n{endings.get(to, '.pth')}", to=to, form=Form(32, **how)
        )
    assert not list(tmp_path.iterdir())


def test_a_form_that_no_file_has_is_refused() -> None:
    for how, said in (
        ({"batch": 0}, "at least one picture"),
        ({"batch": 2, "dynamic": True}, "leave the batch out"),
        ({"precision": "fp23"}, "did you mean 'fp32'"),
    ):
        with pytest.raises(ConfigError, match=said):
            Form(32, **how)


@pytest.mark.parametrize("to", ["onnx", "openvino", "torch", "pth-plain", "pth-cyclegan"])
def test_a_name_of_another_format_is_refused_whatever_the_target(tmp_path: Path, to: str) -> None:
    own = {"onnx": {"onnx"}, "openvino": {"xml"}, "torch": {"pt2"}}.get(to, {"pth", "pt"})
    kinds = ("tflite", "ort", "TFLITE", "onnx", "xml", "bin", "pt2", "pth", "pt", "engine", "json")
    for kind in (*kinds, "mlpackage", "safetensors", "2"):
        if kind not in own:
            with pytest.raises(ConfigError, match=r"name it .*|no export target"):
                export(SHALLOW.model(), tmp_path / f"x.{kind}", to=to, size=32)
    assert not list(tmp_path.iterdir())


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
        for what, how in (("float", {}), ("bytes", {"bytes_io": True})):
            files[f"{name}-{what}"] = (wiring.model(), static(wiring, **how), wiring.inputs(1))
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


def test_a_bytes_file_makes_pictures_by_run(tmp_path: Path) -> None:
    """As the model itself, to a level: resized and cropped to what a static file takes."""
    from PIL import Image

    model = SHALLOW.model()
    facts = export(model, tmp_path / "net.onnx", form=Form((16, 24), bytes_io=True))
    (tmp_path / "in").mkdir()
    photo = np.random.default_rng(2).integers(0, 256, (16, 24, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "in" / "a.png")
    made = []
    for what, out in ((model, "torch"), (facts.file, "bytes")):
        ganpress.generate(what, tmp_path / out, images=tmp_path / "in", quiet=True)
        made.append(np.asarray(Image.open(tmp_path / out / "a.png")).astype(int))
    assert np.abs(made[0] - made[1]).max() <= 1
