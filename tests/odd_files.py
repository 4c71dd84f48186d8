"""Files of every kind that lands where another is wanted, made by the libraries that make them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from nets import WIRINGS
from PIL import Image
from safetensors.torch import save as to_safetensors
from torch import nn

STATE = {"model.1.weight": torch.zeros(4, 3, 7, 7), "model.1.bias": torch.zeros(4)}
LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 45531\n"
)
HTML = b"\xef\xbb\xbf\n<!-- saved --><!DOCTYPE html>\n<html><head><title>Quota &amp; limits</title>"
S3 = b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code><Message>no</Message></Error>'
IR = b'<?xml version="1.0"?>\n<net name="torch_jit" version="11"><layers/></net>'
SVG = b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x" "y">\n<svg width="1" height="1"/>'


@dataclass(frozen=True)
class Odd:
    """A kind of file: what makes one, what it is called, and what it is good for after all."""

    make: Callable[[], bytes]
    words: str
    good_for: tuple[str, ...] = ()


def _picture(kind: str) -> Callable[[], bytes]:
    def make() -> bytes:
        data = io.BytesIO()
        Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(data, kind)
        return data.getvalue()

    return make


def _zip(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def _tar(mode: str) -> Callable[[], bytes]:
    def make() -> bytes:
        data, png = io.BytesIO(), _picture("PNG")()
        with tarfile.open(fileobj=data, mode=mode) as archive:  # type: ignore[call-overload]
            info = tarfile.TarInfo("photos/a.png")
            info.size = len(png)
            archive.addfile(info, io.BytesIO(png))
        return data.getvalue()

    return make


def _torch(*, legacy: bool = False) -> bytes:
    data = io.BytesIO()
    torch.save(STATE, data, _use_new_zipfile_serialization=not legacy)
    return data.getvalue()


def _script() -> bytes:
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still what people have
        torch.jit.save(torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)), data)
    return data.getvalue()


def _onnx() -> bytes:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    model = helper.make_model(graph, producer_name="pytorch")
    return bytes(model.SerializeToString())


def _npz() -> bytes:
    data = io.BytesIO()
    np.savez(data, images=np.zeros((2, 8, 8, 3), np.uint8))
    return data.getvalue()


def _npy() -> bytes:
    data = io.BytesIO()
    np.save(data, np.zeros(4))
    return data.getvalue()


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


@cache
def _model() -> bytes:
    from tempfile import TemporaryDirectory

    from ganpress.models.checkpoint import save

    with TemporaryDirectory() as folder:
        return save(WIRINGS["cyclegan instance"].model(), f"{folder}/a.safetensors").read_bytes()


def _cut(whole: Callable[[], bytes], part: float = 0.8) -> Callable[[], bytes]:
    return lambda: whole()[: int(len(whole()) * part)]


NODE = _field(1, _field(1, b"input/x") + _field(2, b"Placeholder"))
TENSORS = ("checkpoint", "weights")
ODD: dict[str, Odd] = {
    "git-lfs pointer": Odd(lambda: LFS, "git-lfs pointer, which stands for a file of 45,531 bytes"),
    "old git-lfs pointer": Odd(
        lambda: LFS.replace(b"git-lfs.github.com", b"hawser.github.com"), "git-lfs pointer"
    ),
    "git-annex pointer": Odd(
        lambda: b"/annex/objects/SHA256E-s12--a1b2.pth\n", "git-annex pointer"
    ),
    "dvc pointer": Odd(lambda: b"outs:\n- md5: 0cc1\n  size: 12\n  path: net.pth\n", "DVC pointer"),
    "macOS fork": Odd(lambda: b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(80), "macOS"),
    "html page": Odd(lambda: HTML, "an HTML page ('Quota & limits')"),
    "bare html page": Odd(lambda: b"<html>Please log in</html>", "an HTML page"),
    "server's error": Odd(lambda: S3, "a server's error ('AccessDenied')"),
    "empty": Odd(lambda: b"", "empty (0 bytes)", ("settings",)),
    "zeros": Odd(lambda: bytes(5000), "nothing but zero bytes", ("settings",)),
    "white space": Odd(lambda: b" \n\n", "blank", ("settings",)),
    "text": Odd(lambda: b"404: Not Found\n", "a text ('404: Not Found')", ("settings", "json")),
    "json": Odd(
        lambda: json.dumps({"message": "Not Found"}).encode(),
        'a JSON text (\'{"message"',
        ("settings", "json"),
    ),
    "index of parts": Odd(
        lambda: json.dumps({"metadata": {}, "weight_map": {"w": "a-00001-of-00002"}}).encode(),
        "the index of a model in several files",
        ("settings", "json"),
    ),
    "utf-16 text": Odd(
        lambda: "Entry not found".encode("utf-16"), "Entry not found", ("settings", "json")
    ),
    "zip of pictures": Odd(
        lambda: _zip({"a/1.png": _picture("PNG")(), "a/2.png": b"x"}), "zip archive of 2 pictures"
    ),
    "zip of a checkpoint": Odd(
        lambda: _zip({"read.me": b"x", "nets/net_G.pth": _torch()}), "zip archive of 2 files"
    ),
    "tar": Odd(_tar("w"), "a tar archive"),
    "tar.gz": Odd(_tar("w:gz"), "a gzip archive (.tar.gz)"),
    "gzip": Odd(lambda: gzip.compress(_torch()), "a gzip archive"),
    "bzip2": Odd(lambda: bz2.compress(_torch()), "a bzip2 archive"),
    "xz": Odd(lambda: lzma.compress(_torch()), "an xz archive"),
    "7z": Odd(lambda: b"7z\xbc\xaf\x27\x1c\0\4" + bytes(30), "a 7z archive"),
    "rar": Odd(lambda: b"Rar!\x1a\x07\1\0" + bytes(30), "a RAR archive"),
    "zstd": Odd(lambda: b"\x28\xb5\x2f\xfd\x24\x05\x29\0\0hello", "a zstd archive"),
    "parquet": Odd(lambda: b"PAR1" + bytes(range(40)) + b"PAR1", "a Parquet table"),
    "flax": Odd(lambda: b"\x81\xa6params\x81\xa4conv\xc0" + bytes(40), "a Flax checkpoint"),
    "lmdb": Odd(lambda: bytes(16) + b"\xde\xc0\xef\xbe" + bytes(100), "an LMDB database"),
    **{
        name: Odd(_picture(name), f"{name} picture", ("picture",))
        for name in ("JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF")
    },
    "heic": Odd(
        lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "a HEIC picture", ("picture",)
    ),
    "avif": Odd(
        lambda: b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(40), "an AVIF picture", ("picture",)
    ),
    "svg": Odd(lambda: SVG, "an SVG drawing"),
    "pnm": Odd(lambda: b"P6\n2 2\n255\n" + bytes(range(3, 15)), "a PNM picture"),
    "pdf": Odd(lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF document"),
    "mp4": Odd(lambda: b"\0\0\0\x20ftypisom\0\0\2\0isomiso2" + bytes(40), "an MP4 video"),
    "onnx": Odd(_onnx, "an ONNX network"),
    "keras h5": Odd(lambda: b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file (Keras .h5)"),
    "keras 3": Odd(
        lambda: _zip({"config.json": b"{}", "model.weights.h5": b"x"}), "a Keras network"
    ),
    "saved model": Odd(
        lambda: b"\x08\x01" + _field(2, b"\x0a" + bytes([5]) + b"serve"), "SavedModel"
    ),
    "frozen graph": Odd(lambda: NODE + NODE, "a TensorFlow graph (.pb)"),
    "tf index": Odd(
        lambda: bytes(range(1, 60)) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
        "the index of a TensorFlow checkpoint",
    ),
    "tflite": Odd(lambda: b"\x1c\0\0\0TFL3" + bytes(40), "a TensorFlow Lite network"),
    "openvino": Odd(lambda: IR, "an OpenVINO network"),
    "core ml": Odd(lambda: b"\x08\x05" + _field(2, b"\x0a\x03abc"), "a Core ML network"),
    "torch7": Odd(
        lambda: struct.pack("<iii", 4, 1, 3) + b"V 1" + struct.pack("<i", 13) + b"nn.Sequential",
        "a Torch7 (Lua) file",
    ),
    "torchscript": Odd(_script, "a TorchScript program"),
    "torch": Odd(_torch, "a torch checkpoint", (*TENSORS, "state")),
    "legacy torch": Odd(lambda: _torch(legacy=True), "a torch checkpoint", (*TENSORS, "state")),
    "pickle": Odd(lambda: pickle.dumps(np.zeros(3)), "a Python pickle", ("checkpoint",)),
    "text pickle": Odd(
        lambda: pickle.dumps({"a": 1}, protocol=0), "a Python pickle of the oldest", ("checkpoint",)
    ),
    "safetensors": Odd(lambda: to_safetensors(STATE), "a .safetensors file", TENSORS),
    "ganpress model": Odd(_model, "a ganpress model", ("model", "checkpoint")),
    "npz": Odd(_npz, "an .npz file of NumPy arrays", ("pack",)),
    "npy": Odd(_npy, "a single NumPy array"),
    "half a torch": Odd(_cut(_torch), "a torch checkpoint"),
    "half a safetensors": Odd(_cut(lambda: to_safetensors(STATE)), "a .safetensors file"),
    "half a header": Odd(_cut(lambda: to_safetensors(STATE), 0.01), "a .safetensors file"),
    "half a model": Odd(_cut(_model), "a ganpress model"),
    "half an npz": Odd(_cut(_npz), "an .npz file"),
    "half a zip": Odd(_cut(lambda: _zip({"a/1.png": bytes(500)})), "a zip archive"),
}
"""What lands in the wrong place, by name."""
