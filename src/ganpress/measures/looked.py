"""Pictures as networks see them, nothing of it computed twice: not within a comparison, and not for
the next generator that is compared with the same real pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from ganpress.losses.features import Features

Maps = dict[str, Tensor]
"""Tap name -> (n, c, h, w)."""
Look = Callable[["Looked"], Tensor]
"""A row of numbers for each picture, (n, d)."""


class Looked:
    """A batch of pictures, with each network's maps of them made when they are first asked for.

    Args:
        x: (n, 3, h, w) RGB in [-1, 1], on the networks' device.
        known: the maps that a network makes of them, where those of other pictures give them.
    """

    def __init__(self, x: Tensor, known: Callable[[Features], Maps] | None = None) -> None:
        self.x = x
        self._make = known or (lambda net: net(x))
        self._maps: dict[Features, Maps] = {}

    def maps(self, net: Features) -> Maps:
        """Tap name -> (n, c, h', w'), of the pictures at their own size."""
        if net not in self._maps:
            self._maps[net] = self._make(net)
        return self._maps[net]

    def row(self, net: Features) -> Tensor:
        """`Features.embed`: (n, d)."""
        if net.resize is not None:
            return net.embed(self.x)
        return self.maps(net)[net.taps[-1]].mean((2, 3))

    def like(self, x: Tensor) -> Looked:
        """This one picture as often as ``x`` has pictures, seen once for all of them."""

        def known(net: Features) -> Maps:
            return {tap: m.expand(len(x), *m.shape[1:]) for tap, m in self.maps(net).items()}

        return Looked(self.x.expand_as(x), known)

    def part(self, where: slice) -> Looked:
        """Some of the pictures; networks do not see them again."""

        def known(net: Features) -> Maps:
            return {tap: m[where] for tap, m in self.maps(net).items()}

        return Looked(self.x[where], known)

    def and_then(self, others: Looked) -> Looked:
        """These pictures and others after them; networks do not see them again."""

        def known(net: Features) -> Maps:
            after = others.maps(net)
            return {tap: torch.cat([m, after[tap]]) for tap, m in self.maps(net).items()}

        return Looked(torch.cat([self.x, others.x]), known)


def neighbours(before: Looked | None, pictures: Looked) -> tuple[Looked, Looked]:
    """Of a batch in a sequence, each picture's predecessor, and the picture: as many as the batch
    has, one less without the last picture ``before`` it."""
    first = pictures.part(slice(None, -1))
    if before is None:
        return first, pictures.part(slice(1, None))
    return before.and_then(first), pictures


class Columns:
    """Named values of batches, put one below the other."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, found: Mapping[str, Tensor]) -> None:
        """The values of the next batch, (n, ...) each."""
        for name, values in found.items():
            self._parts.setdefault(name, []).append(values.cpu())

    @property
    def rows(self) -> dict[str, Tensor]:
        """Those of all batches, on the CPU."""
        return {name: torch.cat(parts) for name, parts in self._parts.items()}


def rows_of(pictures: Iterable[Looked], looks: Mapping[str, Look]) -> dict[str, Tensor]:
    """The rows of each look over all pictures, on the CPU."""
    columns = Columns()
    for some in pictures:
        columns.add({name: look(some) for name, look in looks.items()})
    return columns.rows


_MOST_BYTES = 1 << 28


class _RealRows:
    """Rows of real pictures, kept for the next comparisons of this process; the oldest make room.

    A quarter of a gigabyte is kept at the most."""

    def __init__(self) -> None:
        self.known: dict[object, Tensor] = {}

    def lacking(self, of: object, looks: Mapping[str, Look]) -> dict[str, Look]:
        """Those of the looks whose rows of these pictures are not known."""
        return {name: look for name, look in looks.items() if (of, name) not in self.known}

    def complete(
        self, of: object, looks: Mapping[str, Look], fresh: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The rows of all looks, those of `lacking` given; they are known from now on."""
        found = {n: fresh[n] if n in fresh else self.known[of, n] for n in looks}
        for name, rows in fresh.items():
            self.known[of, name] = rows
        while sum(rows.nbytes for rows in self.known.values()) > _MOST_BYTES:
            del self.known[next(iter(self.known))]
        return found

    def __call__(
        self, of: object, looks: Mapping[str, Look], pictures: Callable[[], Iterable[Looked]]
    ) -> dict[str, Tensor]:
        """The rows of these pictures, which ``of`` identifies; opened only where some lack."""
        new = self.lacking(of, looks)
        return self.complete(of, looks, rows_of(pictures(), new) if new else {})


real_rows = _RealRows()
