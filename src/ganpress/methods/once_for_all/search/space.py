"""A search space: slots, each with the numbers that it can take, and the widths they stand for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from ganpress.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from ganpress.types import Widths

Choice = tuple[int, ...]
"""One number for each slot: a width set."""


@dataclass(frozen=True)
class Slot:
    """Groups of channels that one number sets.

    Attributes:
        name: for messages and tables.
        groups: each group with its multiplier: {"trunk": 4} has 4 channels for a number of 1.
        numbers: what the slot can be, from the largest down.
    Raises: ConfigError for a slot without groups or numbers, or numbers in another order.
    """

    name: str
    groups: Mapping[str, int]
    numbers: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.groups or not self.numbers:
            raise ConfigError(
                f"Slot '{self.name}' has groups {dict(self.groups)} and numbers "
                f"{list(self.numbers)}: it needs at least one of each."
            )
        whole = (*self.numbers, *self.groups.values())
        if any(type(n) is not int or n < 1 for n in whole):
            raise ConfigError(
                f"Slot '{self.name}' has groups {dict(self.groups)} and numbers "
                f"{list(self.numbers)}: multipliers and numbers are whole, from 1 on."
            )
        if list(self.numbers) != sorted(set(self.numbers), reverse=True):
            better = sorted(set(self.numbers), reverse=True)
            raise ConfigError(
                f"Slot '{self.name}' has the numbers {list(self.numbers)}: write each once, from "
                f"the largest down: {better}."
            )


@dataclass(frozen=True)
class Space:
    """Width sets: every combination of the slots' numbers.

    Raises: ConfigError for no slot, or a group that two slots set.
    """

    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        if not self.slots:
            raise ConfigError("A search space needs at least one slot.")
        seen: dict[str, str] = {}
        for slot in self.slots:
            for group in slot.groups:
                if group in seen:
                    raise ConfigError(
                        f"Slots '{seen[group]}' and '{slot.name}' both set the group '{group}': "
                        "leave it to one of them."
                    )
                seen[group] = slot.name

    @property
    def largest(self) -> Choice:
        """The widest set."""
        return tuple(slot.numbers[0] for slot in self.slots)

    @property
    def smallest(self) -> Choice:
        """The narrowest set."""
        return tuple(slot.numbers[-1] for slot in self.slots)

    @property
    def size(self) -> int:
        """How many width sets there are."""
        return math.prod(len(slot.numbers) for slot in self.slots)

    @property
    def groups(self) -> dict[str, Slot]:
        """Each group with the slot that sets it."""
        return {group: slot for slot in self.slots for group in slot.groups}

    def widths(self, choice: Choice) -> dict[str, int]:
        """Channels of each group that a slot sets. ConfigError for a choice of another space."""
        self._check(choice)
        return {
            group: number * times
            for slot, number in zip(self.slots, choice, strict=True)
            for group, times in slot.groups.items()
        }

    def name(self, choice: Choice) -> str:
        """'32_16_24': the numbers in the slots' order, as the authors' files write them."""
        return "_".join(map(str, choice))

    def parse(self, name: str) -> Choice:
        """The choice of a name. Raises: ConfigError where the space has none of that name."""
        try:
            choice = tuple(int(part) for part in name.split("_"))
        except ValueError:
            raise ConfigError(
                f"'{name}' names no width set: write one number for each slot, such as "
                f"{self.name(self.smallest)}."
            ) from None
        self._check(choice)
        return choice

    def enumerate(self) -> Iterator[Choice]:
        """Every choice, the widest first; the last slot changes fastest."""
        return itertools.product(*(slot.numbers for slot in self.slots))

    def sample(self, rng: Random, small_bias: float = 1.0) -> Choice:
        """A random choice, the slots independent of each other.

        Args: small_bias: each next smaller number of a slot is so many times as likely (the
            authors' geometric weights); 1: all alike.
        """
        return tuple(
            rng.choices(slot.numbers, [small_bias**i for i in range(len(slot.numbers))])[0]
            for slot in self.slots
        )

    def _check(self, choice: Choice) -> None:
        if len(choice) != len(self.slots):
            raise ConfigError(
                f"{self.name(choice)} has {len(choice)} numbers; this space has {len(self.slots)} "
                f"slots: {', '.join(slot.name for slot in self.slots)}."
            )
        for slot, number in zip(self.slots, choice, strict=True):
            if number not in slot.numbers:
                known = ", ".join(map(str, slot.numbers))
                raise ConfigError(
                    f"{self.name(choice)} has {number} in slot '{slot.name}', which can be {known}."
                )


def check_fits(space: Space, network: Widths, free: tuple[str, ...] = ()) -> None:
    """Refuse a space that is not of this network. ConfigError.

    Args:
        network: every group of the network, with its channels: no set may be wider.
        free: groups that no slot has to set: they keep the network's channels.
    """
    for group, slot in space.groups.items():
        if group not in network:
            raise ConfigError(
                f"Slot '{slot.name}' of the search space sets the group '{group}', which this "
                f"network does not have{did_you_mean(group, network)}. Groups: "
                f"{', '.join(network)}."
            )
        wanted = slot.numbers[0] * slot.groups[group]
        if wanted > network[group]:
            raise ConfigError(
                f"Slot '{slot.name}' of the search space goes up to {wanted} channels of group "
                f"'{group}', and the network has {network[group]}. Take a space of smaller "
                "numbers, or search.space=default, which is made from the network's widths."
            )
    if rest := [group for group in network if group not in space.groups and group not in free]:
        raise ConfigError(
            f"No slot of the search space sets {', '.join(rest)} of this network. Add slots for "
            "them, or take search.space=default, which has one for each group."
        )
