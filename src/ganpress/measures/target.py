"""A cost that a student is to reach: a fraction of its teacher's, or milliseconds; and widths that
it is bound to."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.models.upstream import families_of
from ganpress.run.settings import PixelSize, Settings

COSTS = ("macs", "params", "bytes", "latency_ms")
"""Settings that are costs."""
LATENCY = "latency_ms"
OF_LATENCY = ("runtime", "threads", "precision", "size", "round", "processor", "teacher_ms")
"""Settings that say how a latency is measured."""


class TargetSettings(Settings):
    """A cost to reach: a fraction of the teacher's, or milliseconds on this machine; give at most
    one. And, with a cost or alone, the code base whose class is to hold the student."""

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
    latency_ms: float | None = Field(
        default=None,
        gt=0,
        description="milliseconds that the exported student takes on this machine, one picture at "
        "a time",
    )

    layout: str | None = Field(
        default=None,
        description="code base whose own class is to hold the student, as in 'export --to': "
        "pth-junyanz, ...; its widths are bound to those that the class can have",
    )

    runtime: Literal["openvino", "onnxruntime"] | None = Field(
        default=None,
        description="program that latency_ms is measured in; None: openvino where it is "
        "installed, else onnxruntime",
    )
    threads: int | None = Field(
        default=None, ge=1, description="threads of that program; None: as many as torch has here"
    )
    precision: Literal["fp32", "fp16", "bf16", "int8"] | None = Field(
        default=None,
        description="numbers of that program; int8: those trained with quantise.bits; None: int8 "
        "where there are any, else fp32",
    )
    size: PixelSize | None = Field(
        default=None,
        description="pictures that latency_ms is of, pixels; None: the network's own size",
    )
    round: int | None = Field(
        default=None,
        ge=1,
        description="with latency_ms, channels are also a multiple of this; None: what the program "
        "is found to round up to here",
    )
    processor: str | None = Field(
        default=None, description="of the machine that latency_ms is of; filled in by the run"
    )
    teacher_ms: float | None = Field(
        default=None,
        gt=0,
        description="milliseconds of the teacher in that program in fp32; filled in by the run",
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
        """The costs that are given, by name, as they are given."""
        found = ((name, getattr(self, name)) for name in COSTS)
        return [(name, value) for name, value in found if value is not None]

    @property
    def given(self) -> tuple[str, float] | None:
        """('macs', 0.03) or ('latency_ms', 12.0) as it was asked for; None: no cost."""
        return next(iter(self.costs), None)

    @property
    def chosen(self) -> tuple[str, float] | None:
        """('macs', 0.03): a cost and a fraction of the teacher's, at most 1; None: no cost.

        A latency is a fraction of `teacher_ms`, which resolving the settings fills in.
        """
        if self.given is None:
            return None
        name, value = self.given
        if name == LATENCY:
            value = min(1.0, value / self._teacher_ms)
        return name, value

    def as_given(self, share: float) -> float:
        """A fraction of the teacher's cost in the unit of the setting."""
        return share * self._teacher_ms if self.latency_ms is not None else share

    def words(self, share: float) -> str:
        """'0.12 of the teacher's macs', '8.4 of the teacher's 61 ms'."""
        if self.latency_ms is None:
            return f"{share:.4g} of the teacher's {self.given[0] if self.given else 'macs'}"
        return f"{self.as_given(share):.4g} of the teacher's {self._teacher_ms:.4g} ms"

    @property
    def _teacher_ms(self) -> float:
        if self.teacher_ms is None:
            raise RuntimeError("target.latency_ms has not been resolved")
        return self.teacher_ms
