"""Widths that tell the groups of channels of an exported graph apart.

They are *codes*: primes, no two of them alike, of which no sum along a dim equals another number of
the graph. A number of the file that is a code (a dim of a weight, of a shape, the groups of a
depthwise convolution) then says which groups of channels it counts, whatever the exporter has made
of the layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from torch import nn

from ganpress.errors import ExportError
from ganpress.formats.exporters.form import Form
from ganpress.nn.axes import Axis, axes
from ganpress.types import Widths
from ganpress.types.sizes import height_width

FIRST_CODE = 67
NEAR = 8  # pixels by which paddings change a side
HALVINGS = 11


@dataclass(frozen=True)
class Count:
    """A number of channels as a function of widths: ``plus`` + the sum of times x width.

    >>> Count((("enc0", 1), ("dec0", 1)))({"enc0": 8, "dec0": 24})
    32
    """

    of: tuple[tuple[str, int], ...]
    plus: int = 0

    def __call__(self, widths: Widths) -> int:
        """The number at these widths."""
        return self.plus + sum(times * widths[group] for group, times in self.of)

    def __add__(self, other: Count) -> Count:
        total = dict(self.of)
        for group, times in other.of:
            total[group] = total.get(group, 0) + times
        return Count(tuple(sorted(total.items())), self.plus + other.plus)


def _count(axis: Axis) -> Count:
    if axis.fixed:
        return Count((), axis.width * axis.span)
    return Count(((axis.group, axis.span),))


def counts_in(net: nn.Module) -> list[Count]:
    """Every number of channels that a graph of this network can hold: of each group, of each dim,
    and of the beginning of each concatenation (where slices start)."""
    found: dict[Count, None] = {}
    for dims in axes(net).values():
        for dim in dims:
            total = Count(())
            for axis in dim or ():
                own = _count(axis)
                total = total + own
                found |= dict.fromkeys((own, total))
                if not axis.fixed:
                    found[Count(((axis.group, 1),))] = None
    return [count for count in found if count.of]


def with_products(counts: Mapping[int, Count], numbers: Iterable[int]) -> dict[int, Count]:
    """The counts, and those of numbers that are a whole multiple of one group's code: exporters
    flatten maps, and make one convolution of the phases of a transposed one."""
    single = {n: c for n, c in counts.items() if [k for _, k in c.of] == [1] and not c.plus}
    found = dict(counts)
    for number in numbers:
        divides = [code for code in single if number % code == 0]
        if number > 0 and number not in found and len(divides) == 1:
            [(group, _)] = single[divides[0]].of
            found[number] = Count(((group, number // divides[0]),))
    return found


def coded(counts: Sequence[Count], taken: set[int]) -> dict[str, int]:
    """A width for each group, so that no two of the counts, and none of the numbers ``taken``, are
    equal: primes, as small as they can be, that divide none of the numbers taken."""
    groups = list(dict.fromkeys(group for count in counts for group, _ in count.of))
    for attempt in range(200):
        limit = FIRST_CODE + 12 * len(groups) + 60 + 20 * attempt
        found = (n for n in range(FIRST_CODE, limit) if _is_prime(n))
        primes = [n for n in found if all(other % n for other in taken if other)]
        if len(primes) < len(groups):
            continue
        codes = dict(zip(groups, Random(attempt).sample(primes, len(groups)), strict=True))
        numbers = {count(codes) for count in counts}
        if len(numbers) == len(counts) and not numbers & taken:
            return codes
    raise ExportError("No widths tell the channel groups of this network apart; please report it.")


def _is_prime(n: int) -> bool:
    return all(n % d for d in range(2, int(n**0.5) + 1))


def numbers_of_size(net: nn.Module, form: Form) -> set[int]:
    """What numbers a graph holds that are no channels: sides with their paddings, pixels, and the
    axes that cannot be cut."""
    sides = height_width(form.size)
    taken = set(range(FIRST_CODE))
    for k in range(HALVINGS):
        halved = [max(1, side >> k) for side in sides]
        taken |= {side + more for side in halved for more in range(-NEAR, NEAR + 1)}
        taken |= {halved[0] * halved[1]}
    for dims in axes(net).values():
        taken |= {a.width * a.span for dim in dims for a in dim or () if a.fixed}
    return taken
