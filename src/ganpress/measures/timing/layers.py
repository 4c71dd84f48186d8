"""Where the time of an exported file goes: by node, and summed by operator kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Share:
    """Time of a node, or of all nodes of a kind.

    Attributes:
        ms: of a pass. share: of the sum over all nodes, 0 to 1. count: of nodes.
    """

    name: str
    ms: float
    share: float
    count: int = 1


def by_kind(layers: Sequence[Mapping[str, Any]]) -> list[Share]:
    """Times by operator kind, the longest first.

    Args: layers: ``name``, ``kind`` and ``ms`` of each node.

    >>> nodes = [{"name": n, "kind": k, "ms": m} for n, k, m in (("a", "Conv", 3), ("b", "Add", 1))]
    >>> [(share.name, share.share) for share in by_kind(nodes)]
    [('Conv', 0.75), ('Add', 0.25)]
    """
    sums: defaultdict[str, list[float]] = defaultdict(list)
    for node in layers:
        sums[node["kind"]].append(node["ms"])
    whole = _whole(layers)
    shares = [Share(kind, sum(ms), sum(ms) / whole, len(ms)) for kind, ms in sums.items()]
    return sorted(shares, key=lambda share: -share.ms)


def by_node(layers: Sequence[Mapping[str, Any]]) -> list[Share]:
    """Times by node, the longest first; a node's name has its kind behind it."""
    whole = _whole(layers)
    shares = [Share(f"{n['name']} ({n['kind']})", n["ms"], n["ms"] / whole) for n in layers]
    return sorted(shares, key=lambda share: -share.ms)


def _whole(layers: Sequence[Mapping[str, Any]]) -> float:
    return sum(node["ms"] for node in layers) or 1.0
