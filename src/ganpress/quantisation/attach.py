"""Attach quantisers to a network by its settings."""

from __future__ import annotations

from torch import nn

from ganpress.quantisation.exact import make_quantiser
from ganpress.quantisation.quantise import FakeQuantiser, calibrate, learn_ranges, quantise
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.types import Inputs


def quantiser_of_settings(settings: QuantiseSettings) -> FakeQuantiser:
    """The quantiser that the settings describe, ranges as yet fixed; what is "auto" is float."""
    values = settings.model_dump(exclude={"ranges"})
    open_ = {name: "float" for name in ("first", "outputs") if values[name] == "auto"}
    return make_quantiser(**{**values, **open_})


def attach_quantiser(
    net: nn.Module, observed: nn.Module, inputs: Inputs, settings: QuantiseSettings
) -> None:
    """q_w and q_a (eq. 7, 8) on every convolution, below 32 bits.

    Activation ranges (``quantise.ranges``) are fixed at p, or calibrated on the activations of
    ``observed`` on ``inputs``; "learned" ones start calibrated and become parameters.
    """
    if settings.bits >= 32:
        return
    quantise(net, quantiser_of_settings(settings))
    if settings.ranges != "fixed":
        calibrate(net, observed, *inputs)
    if settings.ranges == "learned":
        learn_ranges(net)
