"""A cost that a student is to reach, as a fraction of its teacher's, and widths it is bound to."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.models.upstream import families_of
from ganpress.run.settings import Settings


class TargetSettings(Settings):
    """A cost to reach, as a fraction of the teacher's; give at most one. And, with a cost or alone,
    the code base whose class is to hold the student."""

    macs: float | None = Field(
        default=None, gt=0, le=1, description="fraction of the teacher's MACs, 0 to 1"
    )
    params: float | None = Field(
        default=None, gt=0, le=1, description="fraction of the teacher's parameters, 0 to 1"
    )
    bytes: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="fraction of the bytes of the teacher's weights, 0 to 1, at quantise.bits",
    )

    layout: str | None = Field(
        default=None,
        description="code base whose own class is to hold the student, as in 'export --to': "
        "pth-junyanz, ...; its widths are bound to those that the class can have",
    )

    @model_validator(mode="after")
    def _one_at_most(self) -> Self:
        if self.layout is not None:
            families_of(self.layout)  # an unknown one is refused
        given = [name for name, _ in self.costs]
        if len(given) > 1:
            names = ", ".join(f"target.{name}" for name in given)
            raise ConfigError(f"Give one target, not {len(given)}: {names}.")
        return self

    @property
    def costs(self) -> list[tuple[str, float]]:
        """The costs that are given, by name."""
        return [(name, share) for name, share in self if share is not None and name != "layout"]

    @property
    def chosen(self) -> tuple[str, float] | None:
        """('macs', 0.03), or None where pruning is governed by rho alone."""
        return next(iter(self.costs), None)
