"""MACs and parameters of a graph as a list of operations, whatever format it came from.

The conventions are those of `measures.cost`: true MACs count a transposed convolution at its input
resolution, the papers' tools at its output resolution; fully connected layers and products of
matrices are counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

Shape = Sequence[int]


@dataclass(frozen=True)
class Operation:
    """One operation that multiplies and adds.

    Attributes:
        kind: a convolution, a transposed one, or a product of matrices.
        weight: shape of its second operand. Of a convolution (out, in / groups, *kernel), of a
            transposed one (in, out / groups, *kernel), groups perhaps as a dim of their own in
            front.
        reads, makes: shapes of its first operand and of its output, batch first.
        depth: of a product of matrices: the number of products in each sum.
    """

    name: str
    kind: Literal["convolution", "transposed", "product"]
    weight: Shape
    reads: Shape
    makes: Shape
    depth: int = 0

    @property
    def macs(self) -> int:
        """Of the whole batch."""
        if self.kind == "product":
            return prod(self.makes) * self.depth
        seen = self.reads if self.kind == "transposed" else self.makes
        return seen[0] * prod(seen[2:]) * prod(self.weight)

    @property
    def macs_outres(self) -> int:
        """Of the whole batch, a transposed convolution counted at its output resolution."""
        if self.kind == "transposed":
            return self.makes[0] * prod(self.makes[2:]) * prod(self.weight)
        return self.macs


@dataclass(frozen=True)
class FileCost:
    """Cost of an exported file, of one picture where that applies.

    Attributes:
        params: numbers among the graph's constants that it computes with: no shapes, indices,
            scales of quantisers, nor single numbers (slopes, epsilons). Norms may have been folded
            into convolutions.
        macs: of all convolutions in the graph: also of blurs, which `measures.cost` leaves out.
        bytes: on disk, with the weights that lie beside it.
        precision: "int8" of a graph with quantised convolutions or products, else what most of its
            weights are.
    """

    params: int
    macs: int
    macs_outres: int
    bytes: int
    macs_linear: int
    precision: str


def summed(
    operations: Sequence[Operation], *, params: int, size: int, batch: int, precision: str
) -> FileCost:
    """The cost of the operations of a graph. Args: batch: pictures at a time."""
    spatial = [o for o in operations if o.kind != "product"]
    return FileCost(
        params=params,
        macs=sum(o.macs for o in spatial) // batch,
        macs_outres=sum(o.macs_outres for o in spatial) // batch,
        bytes=size,
        macs_linear=sum(o.macs for o in operations if o.kind == "product") // batch,
        precision=precision,
    )
