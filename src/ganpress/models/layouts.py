"""Widths that a class of another code base can have: whether a network fits, and pruning by them.

A class has few numbers (``ngf``, the entries of a config) and every width is one of them times a
whole number; some it fixes in its code. The exporters ask whether a network fits, and with which
call (`fit`); compression binds its widths in the same way (`Binding`). The classes themselves are
in `upstream`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import gcd, lcm
from typing import Literal

from ganpress.errors import ConfigError

Numbers = Mapping[str, int]
Norms = Literal["plain", "scaled", "off trunk"]
"""InstanceNorms of the class: without scales and shifts, with them, or with them but on the norms
that write the residual trunk."""


@dataclass(frozen=True, kw_only=True)
class UpstreamClass:
    """A generator class of another code base.

    Attributes:
        name: the class. of: its code base, for people.
        widths: group -> (the number that it hangs on, channels for each unit of that number).
        fixed: numbers that the class fixes itself.
        call: numbers -> the call that builds it, written out.
        norms: see `Norms`; of families whose InstanceNorms can have scales.
        statistics_of_largest: running statistics are as wide as at the largest of the numbers,
            and the first of them are used.
    """

    name: str
    of: str
    widths: Mapping[str, tuple[str, int]]
    call: Callable[[Numbers], str]
    fixed: Numbers = field(default_factory=dict)
    norms: Norms = "plain"
    statistics_of_largest: bool = False

    def numbers_for(self, widths: Mapping[str, int]) -> dict[str, int]:
        """The smallest numbers whose widths hold these."""
        found = dict(self.fixed)
        for group, (number, times) in self.widths.items():
            if number not in self.fixed:
                found[number] = max(found.get(number, 1), -(-widths[group] // times))
        return found

    def widths_of(self, numbers: Numbers) -> dict[str, int]:
        """The widths of the class built with these numbers."""
        return {group: times * numbers[number] for group, (number, times) in self.widths.items()}


@dataclass(frozen=True)
class Fit:
    """The smallest network of a class that holds a student.

    Attributes:
        numbers, widths: of that network.
        short: groups for which even the class is too narrow: what it fixes is less.
        wider: groups in which that network has more channels than the student.
    """

    of: UpstreamClass
    numbers: Numbers
    widths: dict[str, int]
    short: tuple[str, ...]
    wider: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether the class takes the student as it is."""
        return not self.short and not self.wider

    @property
    def call(self) -> str:
        """The class and its call, written out."""
        return self.of.call(self.numbers)

    def explain(self, have: Mapping[str, int]) -> str:
        """Per group, what differs: 'trunk 28, not 4 ngf = 32'."""
        parts = []
        for group in (*self.short, *self.wider):
            number, times = self.of.widths[group]
            unit = "fixed" if number in self.of.fixed else f"{times if times > 1 else ''} {number}"
            parts.append(f"{group} {have[group]}, not {unit.strip()} = {self.widths[group]}")
        return "; ".join(parts)


def fit(of: UpstreamClass, have: Mapping[str, int]) -> Fit:
    """The smallest network of a class that holds these widths."""
    numbers = of.numbers_for(have)
    widths = of.widths_of(numbers)
    short = tuple(g for g, width in widths.items() if width < have[g])
    wider = tuple(g for g, width in widths.items() if width > have[g])
    return Fit(of, numbers, widths, short, wider)


class Binding:
    """The widths that a class can have, for pruning: calling it raises widths to allowed ones.

    Where the class has few numbers, groups hang together: the group that needs most says what all
    others of its number keep. No group gets more channels than it has.
    """

    def __init__(
        self,
        layout: str,
        of: UpstreamClass,
        have: Mapping[str, int],
        *,
        whole: Collection[str] = (),
        multiple: int = 1,
    ) -> None:
        """Args:
            have: the widths to be pruned.
            whole: groups that cannot be pruned: what hangs on their numbers stays whole, too.
            multiple: widths are multiples of it, where a group has that many.

        Raises: ConfigError where the class cannot be as narrow as ``have``, or not as wide as a
            group that stays whole.
        """
        self.layout, self.of, self._have = layout, of, have
        numbers = {number for number, _ in of.widths.values()}
        self._largest = {n: of.fixed.get(n, self._most(n)) for n in numbers}
        self._step = {n: self._step_of(n, multiple) for n in numbers}
        self._held = {of.widths[g][0] for g in whole} | set(of.fixed)
        self._refuse_misfits(whole)

    def __call__(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """These widths (of some groups), each raised to what the class has with its smallest
        numbers that hold them all, or lowered to the largest that the network has."""
        numbers: dict[str, int] = {}
        for group, width in wanted.items():
            number, times = self.of.widths[group]
            numbers[number] = max(numbers.get(number, 1), -(-width // times))
        for number, k in numbers.items():
            step, largest = self._step[number], self._largest[number]
            numbers[number] = (
                largest if number in self._held else min(largest, -(-k // step) * step)
            )
        return {g: self.of.widths[g][1] * numbers[self.of.widths[g][0]] for g in wanted}

    @property
    def free(self) -> tuple[str, ...]:
        """Groups that the class lets be narrower than they are."""
        return tuple(
            g
            for g, (n, _) in self.of.widths.items()
            if n not in self._held and self._largest[n] > 1
        )

    @property
    def has_one_number(self) -> bool:
        """Whether all widths that can vary hang on one number."""
        return len({self.of.widths[g][0] for g in self.free}) == 1

    def _most(self, number: str) -> int:
        return min(self._have[g] // t for g, (n, t) in self.of.widths.items() if n == number)

    def _step_of(self, number: str, multiple: int) -> int:
        times = [t for n, t in self.of.widths.values() if n == number]
        return lcm(*(multiple // gcd(multiple, t) for t in times))

    def _refuse_misfits(self, whole: Collection[str]) -> None:
        large = self.of.widths_of({n: max(1, k) for n, k in self._largest.items()})
        wrong = [g for g, width in large.items() if width > self._have[g]]
        wrong += [g for g in whole if large[g] < self._have[g]]
        if wrong:
            listed = ", ".join(f"{g} {self._have[g]} (there {large[g]})" for g in wrong[:10])
            more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
            raise ConfigError(
                f"target.layout={self.layout} is for students that {self.of.name} of {self.of.of} "
                f"can be, and no student of this teacher is: {listed}{more}. Leave target.layout "
                "out, and export to 'pth-plain' or to onnx."
            )
