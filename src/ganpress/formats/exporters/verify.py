"""Compare an exported network with torch before its file is written.

A float network has to make torch's picture to 1e-4; in half precision or bfloat16 it may be off by
a mean of two grey levels, and one that was calibrated to 8 bits after training, for which nothing
was trained, by `CALIBRATED`. A fake-quantised one is checked twice:

- layer by layer, each fed what torch's layer reads (`layerwise`), where roundings cannot pile up:
  the limits are single roundings, and 1e-4 for the picture. This is what finds a wrong file.
- as a whole, where roundings do pile up: two correct programs differ by the network's quantisation
  noise, and torch in float32 differs from torch in float64 by as much. So the limit is the one that
  is asked for, or where torch itself is no surer, what torch does under a change of 1e-5 in the
  input (`Agreement.noise`). Where the quantiser is exact (ADR 0015) nothing can pile up, and the
  two pictures have to be the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganpress.errors import ExportError
from ganpress.formats.exporters.byte_door import as_bytes, from_bytes, on_floats
from ganpress.formats.exporters.form import OUTPUT, Form
from ganpress.formats.exporters.layerwise import Session, check_layers
from ganpress.formats.runtimes import Opened
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import reads
from ganpress.quantisation.quantise import quantiser_of
from ganpress.types import Inputs
from ganpress.types.sizes import shorter

FLOAT_MAX = 1e-4
GREY = 1 / 127.5  # one grey level of 255, in units of [-1, 1]
NEAR = 2 * GREY
EXACT_FAMILIES = ("cartoongan", "cyclegan", "pix2pix")
NUDGE = 1e-5
NOISE_FACTOR = 2.0  # of torch's own noise, of which few pictures give only a rough estimate
NOISE_MOST = 0.05  # mean; whatever the network's own noise
HALF_MEAN = 2 * GREY  # of fp16 and bf16
CALIBRATED = 16 * GREY  # mean; what is off by more was not calibrated on its own pictures
BYTE_MAX = 1.001 * GREY  # of a float network between bytes: values next to .5 round to both sides


@dataclass(frozen=True)
class Tolerance:
    """How far a quantised network may be off: the mean, and the share of values within 2 grey
    levels (0: any). ``exact`` is the largest difference of a network that claims exactness (its
    last tanh is each program's own); None where the program's sums are not known to be."""

    mean: float = 0.5 * GREY
    share: float = 0.99
    exact: float | None = 1e-6


@dataclass(frozen=True)
class Agreement:
    """How far an exported network is from torch, over all values compared, in units of [-1, 1].

    Attributes:
        near: share of the values within two grey levels of 255.
        sizes: (n, 3, h, w) of each batch of pictures compared.
        noise: mean change of torch's own output when its inputs change by 1e-5; None where it was
            not asked for.
    """

    most: float
    mean: float
    near: float
    sizes: tuple[tuple[int, ...], ...]
    noise: float | None = None


@dataclass(frozen=True)
class ExportFacts:
    """What was written, and how far it is from torch.

    Attributes:
        bytes: size of the file (of both, where the format has two).
        max_abs_diff, mean_abs_diff: over all pixels compared, in units of [-1, 1].
        sizes_checked: (n, 3, h, w) of each batch of pictures compared.
        opset: ONNX operator set; None for a file without operators. ir: version of ONNX's format.
        near: share of the values within two grey levels of 255.
        noise: see `Agreement`.
        upstream: of a file in the layout of another code base: the class, and the call that builds
            it, written out. widths: what that class then has, where zero channels were added.
        beside: other files that were written: the student as a plain torch module.
        parity: the file of `parity.write_parity`, where the file was checked on pictures.
    """

    file: Path
    bytes: int
    max_abs_diff: float
    mean_abs_diff: float
    sizes_checked: tuple[tuple[int, ...], ...]
    opset: int | None
    near: float = 1.0
    noise: float | None = None
    upstream: str | None = None
    widths: Mapping[str, int] | None = None
    beside: tuple[Path, ...] = ()
    ir: int | None = None
    parity: Path | None = None


def compare(
    model: Model,
    data: bytes,
    open_: Callable[[bytes], Session],
    form: Form,
    *,
    quantised: Tolerance = Tolerance(),
    layers: bytes | None = None,
) -> Agreement:
    """How far the exported network is from torch, on a smooth picture and on noise: of the form's
    size and batch, or where these are free, of two.

    Args:
        model: what the file computes (`trace.in_form`).
        data: the ONNX file.
        open_: loads such a file in the program that it is for.
        quantised: what is allowed to a fake-quantised one as a whole; where torch's own noise is
            more, twice that.
        layers: the file in which the layers of a quantised network are checked; None: ``data``.

    Raises: ExportError where a difference is above the tolerance.
    """
    batches = _batches(model, form)
    model = copy.copy(model)
    model.net = copy.deepcopy(model.net).cpu().eval()  # a GPU's convolutions are less exact
    if form.bytes_io:
        open_, batches = on_floats(open_), [_on_levels(model, inputs) for inputs in batches]
    most = max(FLOAT_MAX, BYTE_MAX) if form.bytes_io else FLOAT_MAX
    found = agreement(model, runner(open_(data), reads(model)), batches, levels=form.bytes_io)
    if quantiser_of(model.net) is None:
        _check_float(found, form, most)
        return found
    _compare_layers(model, layers or data, open_, batches, most, form)
    if quantised.exact is not None and claims_exactness(model):
        most = BYTE_MAX if form.bytes_io else quantised.exact
        if not found.most <= most:
            raise _disagreement(found, f"{most:.0e} anywhere, since it is exact")
        return found
    return _compare_whole(model, found, batches, quantised)


def compare_program(
    model: Model, run: Callable[..., Tensor], form: Form, most: float = FLOAT_MAX
) -> Agreement:
    """`compare` of a program in torch's own arithmetic, as a function of the network's inputs: a
    fake-quantised network has to be as near as a float one. Raises: ExportError."""
    batches = _batches(model, form)
    if form.bytes_io:
        batches = [_on_levels(model, inputs) for inputs in batches]
    found = agreement(model, run, batches, levels=form.bytes_io)
    _check_float(found, form, max(most, BYTE_MAX) if form.bytes_io else most)
    return found


def _batches(model: Model, form: Form) -> list[Inputs]:
    """A smooth picture and noise."""
    draw = torch.Generator().manual_seed(0)
    if not form.dynamic:
        first, second = (draw_inputs(model.net, form.batch, form.size, draw) for _ in range(2))
        return [smooth(model, first), second]
    step = model.multiple
    half = max(model.min_size, shorter(form.size) // 2 // step * step)
    return [
        smooth(model, draw_inputs(model.net, 1, form.size, draw)),
        draw_inputs(model.net, 2, (half, half + max(8, step)), draw),
    ]


def _on_levels(model: Model, inputs: Inputs) -> Inputs:
    """The inputs with their pictures on the levels of bytes."""
    named = zip(reads(model), inputs, strict=True)
    return tuple(from_bytes(as_bytes(x)) if name == "image" else x for name, x in named)


def mean_allowed(form: Form) -> float | None:
    """The mean difference allowed to a float network whose file has another precision; None where
    the precision is its own."""
    return {"fp16": HALF_MEAN, "bf16": HALF_MEAN, "int8": CALIBRATED}.get(form.precision or "")


def _check_float(found: Agreement, form: Form, most: float) -> None:
    """Raises ExportError where a float network is off by more than its file's precision allows."""
    mean = mean_allowed(form)
    if mean is None and not found.most <= most:  # also where something is not a number
        raise _disagreement(found, f"{most:.0e} anywhere")
    if mean is not None and not found.mean <= mean:
        raise _disagreement(found, f"a mean of {mean:.1e}")


def claims_exactness(model: Model) -> bool:
    """Whether a program with other sums has to make torch's picture (`FakeQuantiser.exact`)."""
    q, options = quantiser_of(model.net), model.options
    if options.get("antialias") or options.get("up") == "bilinear":  # sums of floats
        return False
    return q is not None and q.exact and q.last == "int8" and model.family.name in EXACT_FAMILIES


def on_tensors(opened: Opened) -> Session:
    """An opened file as a function of tensors on the CPU."""

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = opened.run({name: t.numpy() for name, t in inputs.items()})
        return {name: torch.from_numpy(array) for name, array in made.items()}

    return run


def runner(session: Session, names: tuple[str, ...]) -> Callable[..., Tensor]:
    """A session as a function of the network's inputs."""
    return lambda *inputs: session(dict(zip(names, inputs, strict=True)))[OUTPUT]


def _compare_layers(
    model: Model,
    data: bytes,
    open_: Callable[[bytes], Session],
    batches: list[Inputs],
    most: float,
    form: Form,
) -> None:
    """Each layer by itself, and the picture that the last ones make of torch's activations."""

    def run(*inputs: Tensor) -> Tensor:
        named = dict(zip(reads(model), inputs, strict=True))
        return check_layers(model.net, data, open_, named)[OUTPUT]

    found = agreement(model, run, batches, levels=form.bytes_io)
    if not found.most <= most:
        raise _disagreement(found, f"{most:.0e} anywhere where each layer reads torch's values")


def _compare_whole(
    model: Model, found: Agreement, batches: list[Inputs], quantised: Tolerance
) -> Agreement:
    """The picture of the whole file against what is asked for, or torch's own noise."""
    if found.mean < quantised.mean and found.near >= quantised.share:
        return found
    noise = own_noise(model, batches)
    found = replace(found, noise=noise)
    allowed = min(NOISE_MOST, NOISE_FACTOR * noise)
    if not found.mean <= allowed:
        share = f", with {100 * quantised.share:.0f} % of the values in {NEAR:.1e}"
        limit = f"a mean of {max(allowed, quantised.mean):.1e}"
        raise _disagreement(found, limit + (share if quantised.share else ""))
    return found


def smooth(model: Model, inputs: Inputs) -> Inputs:
    """The inputs with images that have a photo's smoothness: noise of a sixteenth of the size,
    enlarged, and a little of the noise itself."""

    def smoothed(x: Tensor) -> Tensor:
        shape = [max(2, side // 16) for side in x.shape[-2:]]
        coarse = F.interpolate(x, shape, mode="nearest")
        fine = F.interpolate(coarse, x.shape[-2:], mode="bicubic", align_corners=False)
        return (0.9 * fine + 0.1 * x).clamp(-1, 1)

    return tuple(
        smoothed(x) if name == "image" else x for name, x in zip(reads(model), inputs, strict=True)
    )


def agreement(
    model: Model, run: Callable[..., Tensor], batches: list[Inputs], *, levels: bool = False
) -> Agreement:
    """The difference of ``run`` from torch on these inputs, whatever it is.

    Args: levels: torch's pictures are rounded to the levels of bytes, too.
    """
    wanted = [_on_cpu(model, inputs) for inputs in batches]
    if levels:
        wanted = [from_bytes(as_bytes(want)) for want in wanted]
    difference = torch.cat(
        [_difference(run(*i), want, i) for i, want in zip(batches, wanted, strict=True)]
    )
    near = float((difference <= NEAR).float().mean())
    sizes = tuple(tuple(want.shape) for want in wanted)
    return Agreement(float(difference.max()), float(difference.mean()), near, sizes)


def own_noise(model: Model, batches: list[Inputs]) -> float:
    """Mean change of torch's output when the inputs change by about 1e-5."""
    draw = torch.Generator().manual_seed(1)

    def nudged(inputs: Inputs) -> Inputs:
        return tuple(t + NUDGE * torch.randn(t.shape, generator=draw) for t in inputs)

    changes = [
        (_on_cpu(model, nudged(inputs)) - _on_cpu(model, inputs)).abs()
        for inputs in batches
        for _ in range(2)
    ]
    return float(torch.cat([change.flatten() for change in changes]).mean())


def _on_cpu(model: Model, inputs: Inputs) -> Tensor:
    device = next(model.net.parameters()).device
    return model(*(t.to(device) for t in inputs)).cpu()


def _difference(got: Tensor, want: Tensor, inputs: Inputs) -> Tensor:
    if got.shape != want.shape:
        raise ExportError(
            f"The exported network makes {tuple(got.shape)} of {tuple(inputs[0].shape)}, torch "
            f"makes {tuple(want.shape)}. Nothing was written; please report this."
        )
    return (got - want).abs().flatten()


def _disagreement(found: Agreement, limit: str) -> ExportError:
    return ExportError(
        f"The exported network differs from torch by up to {found.most:.2e} (mean "
        f"{found.mean:.2e}); allowed is {limit}. Nothing was written; please report this with the "
        "model."
    )
