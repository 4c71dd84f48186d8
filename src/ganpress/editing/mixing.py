"""Style mixing (Karras et al., CVPR 2019, section 3.1): some layers' styles from one picture, the
others' from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganpress.editing.latent_file import check_latent
from ganpress.editing.latents import check_layers
from ganpress.editing.pictures import Edited
from ganpress.errors import ConfigError
from ganpress.models.checkpoint import fingerprint
from ganpress.models.spaces import check_space


@dataclass(frozen=True)
class Mixture:
    """A table of mixed pictures.

    Attributes:
        sources: (s, c, h, w), whose styles are taken. destinations: (d, c, h, w), which get them.
        table: (d, s, c, h, w): row i, column j is destination i with source j's styles.
        layers: first and last that are taken from the source.
    """

    sources: Tensor
    destinations: Tensor
    table: Tensor
    layers: tuple[int, int]

    @property
    def picture(self) -> Tensor:
        """The table with the sources above it and the destinations on its left, row by row, the
        corner white: ((d + 1) * (s + 1), c, h, w)."""
        corner = torch.ones_like(self.sources[:1])
        rows = [torch.cat([corner, self.sources])]
        rows += [
            torch.cat([d[None], row]) for d, row in zip(self.destinations, self.table, strict=True)
        ]
        return torch.cat(rows)


def mix(
    sources: Edited, destinations: Edited, layers: tuple[int, int], *, same_noise: bool = True
) -> Mixture:
    """Every destination with the styles of every source in a range of layers.

    Args:
        sources, destinations: of one network that has styles, at least one latent each.
        layers: first and last whose styles are the source's, 0 to the number of styles less 1. Of
            64 px: 0 to 2 are 4 and 8 pixels (pose, shape), 3 to 6 are 16 and 32, the rest 64.
        same_noise: the maps of the first destination for all pictures, so that only styles differ;
            else each row has its own destination's.
    Raises: ConfigError for a network without styles, a range that it does not have, no latents, or
        sources of another network than the destinations.
    """
    check_space(sources.model, "w+")
    net: Any = sources.model.net
    first, last = check_layers(layers, int(net.styles))
    for name, given in (("source", sources), ("destination", destinations)):
        if not given.latents:
            raise ConfigError(f"There is no {name} to mix: give at least one.")
    key = fingerprint(destinations.model.net)
    for latent in sources.latents:
        check_latent(latent, destinations.model, f"The source '{latent.name}'", key)
    a, b = sources.rows("w+"), destinations.rows("w+")
    shared = destinations.rest(0)
    table, own = [], []
    for i, row in enumerate(b):
        noise = shared if same_noise else destinations.rest(i)
        mixed = row.expand_as(a).clone()
        mixed[:, first : last + 1] = a[:, first : last + 1]
        table.append(destinations.pictures("w+", mixed, noise))
        own.append(destinations.pictures("w+", row[None], noise))
    shown = sources.pictures("w+", a, shared)
    return Mixture(shown, torch.cat(own), torch.stack(table), (first, last))
