"""A generator whose latent code is mixed, truncated and moved inside the network.

The browser then gives teacher and student the same numbers, and each does the sums in its own
latent space with its own directions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganpress.editing.directions import Directions, find_directions
from ganpress.editing.latents import latent_space
from ganpress.editing.transfer import fit_map, mapped
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import Generator, draw_inputs
from ganpress.models.inputs import reads
from ganpress.models.spaces import code_dim, has_mapping, latent_of
from ganpress.types import Inputs
from ganpress.types.sizes import Size

EDITS = ("other", "mix", "psi", "amounts")
"""Names of the inputs that are added, in order; psi only where a mapping network makes the code."""
COUNT = 8
"""Directions that a page shows, where none are given."""


class Editable(Generator):
    """(what the network reads, other, mix[, psi], amounts) -> (n, out, h, w).

    The code of the network's own latent input, c, and that of ``other``, d, (n, dim) each, become
    (1 - mix) c + mix d for each layer, mix (layers,) in [0, 1]; this is moved towards the mean,
    psi c + (1 - psi) mean, psi (1,); and amounts (k,), in standard deviations, are how far it then
    goes along k directions. With mix 0, psi 1 and amounts 0 the picture is the network's own.
    """

    mean: Tensor
    moves: Tensor

    def __init__(self, net: Generator, directions: Directions, layers: int) -> None:
        super().__init__({"in_channels": net.in_channels, "out_channels": net.out_channels})
        self.net, self.layers, self.family = net, layers, net.family
        self.multiple, self.min_pixels, self.min_map = net.multiple, net.min_size, 1
        if hasattr(net, "size"):
            self.size = net.size
        self.at = next(k for k, name in enumerate(net.reads) if name in ("z", "style"))
        self.truncates = has_mapping(net)
        edits = EDITS if self.truncates else tuple(e for e in EDITS if e != "psi")
        self.reads = (*net.reads, *edits)
        first, last = directions.layers
        per_layer = directions.vectors * directions.deviations[:, None]
        moves = torch.zeros(len(directions), layers, per_layer.shape[1])
        moves[:, first : last + 1] = per_layer[:, None]
        self.register_buffer("moves", moves)
        self.register_buffer("mean", directions.mean.clone())

    def forward(self, *inputs: Tensor) -> Tensor:
        """See the class."""
        edits = dict(zip(self.reads[len(self.net.reads) :], inputs[len(self.net.reads) :],
                         strict=True))  # fmt: skip
        own = inputs[: len(self.net.reads)]
        second = (*own[: self.at], edits["other"], *own[self.at + 1 :])
        code = latent_of(self.net)
        assert code is not None  # `editable` refuses
        mix, amounts = edits["mix"][:, None], edits["amounts"]
        codes = code.of(own).flatten(1)[:, None], code.of(second).flatten(1)[:, None]
        mixed = (1 - mix) * codes[0] + mix * codes[1]
        if self.truncates:
            psi = edits["psi"]
            mixed = psi * mixed + (1 - psi) * self.mean
        moved = mixed + (amounts[:, None, None] * self.moves).sum(0)
        return code.run(moved if self.layers > 1 else moved[:, 0], own)

    def draw(self, n: int, size: Size, generator: torch.Generator | None = None) -> Inputs:
        """What the network reads; another code, random mixing, psi and amounts."""
        own = draw_inputs(self.net, n, size, generator)
        other = draw_inputs(self.net, n, size, generator)[self.at]
        count = len(self.moves)
        edits = {
            "other": other,
            "mix": torch.rand(self.layers, generator=generator),
            "psi": torch.rand(1, generator=generator),
            "amounts": torch.randn(count, generator=generator),
        }
        return (*own, *(edits[name] for name in self.reads[len(own) :]))


def is_latent(model: Model) -> bool:
    """Whether the generator has a latent code."""
    return latent_of(model.net) is not None


def editable(model: Model, directions: Directions) -> Model:
    """The model with its network made `Editable`; the model itself stays as it is."""
    layers = latent_space(model).layers
    net: Any = copy.deepcopy(model.net)
    return replace(model, net=Editable(net, directions, layers))


def directions_of(
    models: Sequence[Model], given: Directions | None = None, *, samples: int = 10_000
) -> list[Directions]:
    """The same directions for each of the models: those of the first, carried over to the others.

    A model that is no student of the first (another family, or another code) has its own.

    Args:
        given: of the first model; None: its first `COUNT` principal components.
        samples: codes that components and maps are found on.
    Raises: ConfigError where ``given`` are not the first model's.
    """
    first = models[0]
    if given is None:
        given = _own_directions(first, COUNT, samples)
    found = [given]
    for model in models[1:]:
        try:
            ours = fit_map(latent_space(first), latent_space(model), samples=samples)
            kept, moved = mapped(given, ours, model)
        except ConfigError:  # not of one another
            found.append(_own_directions(model, len(given), samples))
        else:
            found.append(_spread(moved, kept, len(given)))
    return found


def _own_directions(model: Model, most: int, samples: int) -> Directions:
    """The first principal components, ``most`` of them or all that there are."""
    for count in range(most, 1, -1):
        try:
            return find_directions(model, count=count, samples=samples)
        except ConfigError:  # the network's codes have fewer
            continue
    return find_directions(model, count=1, samples=samples)


def _spread(moved: Directions, kept: Sequence[int], count: int) -> Directions:
    """The directions at their old numbers; those that the student does not have change nothing."""
    vectors = moved.vectors.new_zeros(count, moved.vectors.shape[1])
    deviations = moved.deviations.new_zeros(count)
    ratios = moved.ratios.new_zeros(count)
    at = list(kept)
    vectors[at], deviations[at], ratios[at] = moved.vectors, moved.deviations, moved.ratios
    return replace(moved, vectors=vectors, deviations=deviations, ratios=ratios)


def latent_facts(model: Model, directions: Directions | None) -> dict[str, Any]:
    """What the page's controls need to know: `latent` of an entry of models.json.

    Args: directions: None where the network was not made `Editable`.
    """
    code = latent_of(model.net)
    assert code is not None
    facts: dict[str, Any] = {
        "name": code.name,
        "input": reads(model)[code.at],
        "dim": code_dim(model.net),
        "layers": latent_space(model).layers,
        "classes": int(getattr(model.net, "classes", 0)),
        "directions": [],
    }
    if directions is not None:
        columns = zip(directions.deviations.tolist(), directions.ratios.tolist(), strict=True)
        facts["directions"] = [
            {"name": str(k + 1), "deviation": d, "ratio": r, "layers": list(directions.layers)}
            for k, (d, r) in enumerate(columns)
        ]
    return facts
