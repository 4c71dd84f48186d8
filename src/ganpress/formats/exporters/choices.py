"""Which choices a target and a model have, so that what cannot be is refused before any work."""

from __future__ import annotations

from ganpress.errors import ConfigError
from ganpress.formats.exporters.form import Form
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import from_noise
from ganpress.quantisation.quantise import quantiser_of

FORMS = {
    "onnx": ("batch", "dynamic", "opset", "precision", "bytes", "images", "calibrate"),
    "openvino": ("batch", "dynamic", "precision", "bytes", "images", "calibrate"),
    "torch": ("batch", "dynamic", "precision", "bytes", "images"),
}
"""Of each target the choices that its files have; the others are state dicts, which have none."""


def check_choices(to: str, model: Model, form: Form, *, checks: bool, calibrates: bool) -> None:
    """Refuse what a target's files, or this network, cannot have: ConfigError.

    Args: checks, calibrates: images were given to check on, to calibrate on.
    """
    chosen = {
        "batch": form.batch != 1,
        "dynamic": form.dynamic,
        "opset": form.opset is not None,
        "precision": form.precision is not None,
        "bytes": form.bytes_io,
        "images": checks,
        "calibrate": calibrates,
    }
    for name, is_chosen in chosen.items():
        able = [target for target, choices in FORMS.items() if name in choices]
        if is_chosen and name not in FORMS.get(to, ()):
            raise ConfigError(
                f"Target '{to}' has no --{name}, which is for {', '.join(able)}: leave it out, or "
                f"choose --to {able[0]}."
            )
    _check_precision(to, model, form, calibrates=calibrates)


def _check_precision(to: str, model: Model, form: Form, *, calibrates: bool) -> None:
    """Refuse 8 bits without anything to find the ranges from, and ranges for nothing."""
    is_trained = quantiser_of(model.net) is not None
    if calibrates and form.precision != "int8":
        raise ConfigError("--calibrate is for --precision int8: give that too, or leave it out.")
    if calibrates and is_trained:
        raise ConfigError(
            "This network was trained in 8 bits and has its ranges: leave --calibrate out."
        )
    if calibrates and from_noise(model):
        raise ConfigError(
            f"A '{model.family.name}' generator reads noise and is calibrated on draws: leave "
            "--calibrate out."
        )
    if form.precision != "int8" or is_trained or (to != "torch" and from_noise(model)):
        return
    if to == "torch":
        raise ConfigError(
            "A float network has no 8-bit form for target 'torch': export it to onnx or openvino, "
            "or compress it with --set quantise.bits=8, which trains its ranges."
        )
    if not calibrates:
        raise ConfigError(
            "A float network needs pictures to find the ranges of its activations: --calibrate "
            "DIR; or compress it with --set quantise.bits=8, which trains them."
        )
