"""A cost that a student is to reach, as a fraction of its teacher's."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.settings import Settings


class TargetSettings(Settings):
    """A cost to reach, as a fraction of the teacher's; give at most one."""

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

    @model_validator(mode="after")
    def _one_at_most(self) -> Self:
        given = [name for name, share in self if share is not None]
        if len(given) > 1:
            names = ", ".join(f"target.{name}" for name in given)
            raise ConfigError(f"Give one target, not {len(given)}: {names}.")
        return self

    @property
    def chosen(self) -> tuple[str, float] | None:
        """('macs', 0.03), or None where pruning is governed by rho alone."""
        return next(((name, share) for name, share in self if share is not None), None)
