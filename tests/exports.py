"""What tests of exported files share: shallow nets, whose export is a matter of two seconds, and
8-bit files that several tests look at."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from nets import Wiring

from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.graph import optimised
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.formats.exporters.opset import at_opset
from ganpress.formats.exporters.trace import traced
from ganpress.models.checkpoint import Model
from ganpress.nn.integer_layers import output_grids
from ganpress.nn.layers import quantisable
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, quantise

for _package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(_package, reason="needs ganpress[onnx]")

SHALLOW = Wiring("cyclegan", {"affine": True, "blocks": 1, "downsamplings": 1})
"""So few layers that single roundings do not add up to a grey level."""
LEAST = {
    "cartoongan": Wiring("cartoongan", {"blocks": 1}),
    "pix2pix": Wiring("pix2pix", {"downs": 3}),
    "gaugan": Wiring("gaugan"),
    "munit": Wiring("munit", {"down": 1}),
    "sngan": Wiring("sngan"),
    "stylegan2": Wiring("stylegan2", {"size": 8, "n_mlp": 1}),
}
"""The other families with as few layers as their files can have."""


FREE = Form(32, dynamic=True)
"""Of files that take every batch and size; slow to make: torch's exporter solves for the shapes."""
_TRACES: dict[str, bytes] = {}


def traced_once(model: Model, form: Form) -> Any:
    """`trace.traced`, which takes a second, once for each network and shape of all tests."""
    import onnx

    state = hashlib.sha256()
    for name, tensor in model.net.state_dict().items():
        state.update(name.encode() + tensor.detach().numpy().tobytes())
    shape = (form.size, form.batch, form.dynamic)
    on = [(repr(m.quantiser), m.range) for m in quantisable(model.net).values()]
    on += [(repr(grid.quantiser), None) for grid in output_grids(model.net).values()]
    key = f"{model.family.name} {model.options} {shape} {on} {state.hexdigest()}"
    if key not in _TRACES:
        _TRACES[key] = traced(model, form).SerializeToString()
    return onnx.load_from_string(_TRACES[key])


@pytest.fixture
def tracing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of this test trace no network anew."""
    monkeypatch.setattr("ganpress.formats.exporters.onnx.traced", traced_once)


def static(wiring: Wiring, **how: Any) -> Form:
    """The usual form of a tiny network's file."""
    is_fixed = hasattr(wiring.ghost, "size")
    return Form(wiring.model().resolve_size(None if is_fixed else wiring.pixels), **how)


def quantised(wiring: Wiring = SHALLOW, **how: Any) -> Model:
    """A tiny network on 8 bits, with calibrated ranges."""
    model = wiring.model()
    calibrate(quantise(model.net, FakeQuantiser(**how)), wiring.net(), *wiring.inputs())
    return model


def both_files(model: Model, form: Form) -> tuple[bytes, bytes]:
    """A quantised network's file for onnxruntime, and the one as it was traced, of one tracing."""
    layers = to_bytes(model, replace(form, opset=18), passes=False)
    return at_opset(optimised(layers)), layers


@functools.cache
def in_eight_bits(wiring_of: str) -> tuple[Model, bytes]:
    """A network of `LEAST`, each channel on 8 bits, calibrated on its random inputs; its file as it
    was traced, whose layers are those of the network."""
    wiring = LEAST[wiring_of]
    model = wiring.model()
    quantised = quantise(model.net, FakeQuantiser(per_channel=True))
    calibrate(quantised, wiring.net(), *wiring.inputs())
    return model, to_bytes(model, Form(wiring.pixels, dynamic=True), passes=False)
