"""PatchGAN discriminators: NLayerDiscriminator of junyanz and of GAN Compression (the same keys).

`model.0` is the first convolution; `model.2`, `model.5`, ... are those in front of a norm, which
follows at once and under BatchNorm takes the place of their bias; the last one writes the logits.
"""

from __future__ import annotations

from ganpress.errors import CheckpointError
from ganpress.formats.importers.fitting import STATISTICS, DiscriminatorPlan
from ganpress.types import State


def discriminator_plan(state: State, *, source: str) -> DiscriminatorPlan:
    """How an NLayerDiscriminator becomes a 'patch' one; all of it is read off the file.

    Raises: CheckpointError where the keys are not those of such a discriminator.
    """
    numbers = sorted(
        int(place)
        for name, tensor in state.items()
        if name.startswith("model.") and name.endswith(".weight") and tensor.ndim == 4
        if (place := name.split(".")[1]).isdecimal()
    )
    layers = len(numbers) - 2
    if layers < 1 or numbers != [0, *range(2, 3 * layers + 3, 3)]:
        raise CheckpointError(
            f"{source} does not hold a PatchGAN discriminator (model.0.weight, model.2.weight, "
            "model.5.weight and so on): one of single pixels, or another network."
        )
    first = state["model.0.weight"]
    options = {"inputs": first.shape[1], "width": first.shape[0], "layers": layers}
    kind = _norm_kind(state)
    kept = [n for n in state if n.endswith(STATISTICS)]  # of InstanceNorm: 2018 files have them
    ignored = kept if kind != "batch" else ()
    names = _names(state, layers)
    objective = objective_of(first.shape[1], 3)
    return DiscriminatorPlan("patch", {**options, "norm": kind}, names, ignored, objective)


def objective_of(inputs: int, made: int) -> str:
    """junyanz's defaults: cross-entropy of pix2pix's discriminator, which reads input and picture,
    and least squares of CycleGAN's, which reads the picture alone, of ``made`` channels."""
    return "cross-entropy" if inputs > made else "least-squares"


def _norm_kind(state: State) -> str:
    if "model.3.weight" not in state:
        return "instance"
    return "batch" if "model.3.running_mean" in state else "instance-affine"


def _names(state: State, layers: int) -> dict[str, str]:
    """Our tensors -> the file's: the same names, those that the network has."""
    norms = {f"model.{3 * i}" for i in range(1, layers + 1)}
    kept = STATISTICS if _norm_kind(state) == "batch" else ()
    places = ["model.0", *(f"model.{i}" for i in range(2, 3 * layers + 3, 3))]
    ours = [f"{n}.{t}" for n in (*places, *norms) for t in ("weight", "bias")]
    return {n: n for n in (*ours, *(f"{n}.{t}" for n in norms for t in kept))}
