"""What tests of exported files share: shallow nets, whose export is a matter of two seconds, and
8-bit files that several tests look at."""

from __future__ import annotations

import functools

import pytest
from nets import Wiring

from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.models.checkpoint import Model
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


@functools.cache
def in_eight_bits(wiring_of: str) -> tuple[Model, bytes]:
    """A network of `LEAST`, each channel on 8 bits, calibrated on its random inputs; its file."""
    wiring = LEAST[wiring_of]
    model = wiring.model()
    quantised = quantise(model.net, FakeQuantiser(per_channel=True))
    calibrate(quantised, wiring.net(), *wiring.inputs())
    return model, to_bytes(model, Form(wiring.pixels, dynamic=True))
