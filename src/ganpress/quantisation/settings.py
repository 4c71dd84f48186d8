"""The settings of quantisation, which every method shares."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ganpress.errors import ConfigError
from ganpress.run.settings import Settings


class QuantiseSettings(Settings):
    """Bits of weights and activations; 32 is float."""

    bits: int = Field(
        default=32, ge=2, le=32, description="bits of weights and activations: 2 to 8, or 32: float"
    )
    per_channel: bool = Field(
        default=False,
        description="one weight scale per output channel; false: one per tensor (eq. 8)",
    )
    ranges: Literal["fixed", "calibrated", "learned"] = Field(
        default="fixed",
        description="activation ranges: fixed at p; read off the teacher's activations; or a "
        "parameter per layer, which starts at the calibrated one",
    )
    p: float = Field(
        default=4.0, gt=0, description="activation range where ranges are fixed (eq. 7)"
    )
    levels: Literal["int", "gs2020"] = Field(
        default="int",
        description="activation levels; int: those of an integer; gs2020: the authors' grid, one "
        "more",
    )
    weight_levels: Literal["narrow", "full"] = Field(
        default="narrow",
        description="levels of n-bit weights; narrow: scale max|w| / (2^(n-1) - 1), as many levels "
        "above 0 as below (authors' code); full: scale max|w| / 2^(n-1) (eq. 8), all 2^n levels",
    )
    trunk: Literal["signed", "clamped"] = Field(
        default="signed",
        description="inputs that can be negative: a signed grid; clamped: cut at 0 (authors' code)",
    )
    last: Literal["int8", "float"] = Field(
        default="int8", description="precision of the layer that writes the picture"
    )
    first: Literal["auto", "float", "int8"] = Field(
        default="auto",
        description="what the layer that reads the picture reads: it as it is, or rounded to int8; "
        "auto: int8 with student.form=integers",
    )
    outputs: Literal["auto", "float", "int8"] = Field(
        default="auto",
        description="outputs that no quantised layer reads at once, such as summands: floats, or "
        "rounded to int8, so that onnxruntime computes their layers in integers; auto: int8 with "
        "student.form=integers, where 8 bits have read ranges and the levels of integers",
    )
    exact: bool = Field(
        default=False,
        description="round scales up to powers of two, so that onnxruntime makes the same pictures",
    )

    @model_validator(mode="after")
    def _bits_exist(self) -> Self:
        if 8 < self.bits < 32:
            raise ConfigError(f"quantise.bits is {self.bits}: give 2 to 8, or 32 for float.")
        if self.outputs == "int8" and not self.can_round_outputs:
            raise ConfigError(
                "quantise.outputs=int8 needs quantise.bits=8, ranges that are read (quantise.ranges"
                "=calibrated or learned), quantise.levels=int and quantise.exact=false."
            )
        if self.exact and self.weight_levels == "full":
            raise ConfigError(
                "quantise.exact has steps that are powers of two, quantise.weight_levels=full has "
                "equation 8's: choose one of them."
            )
        return self

    @property
    def can_round_outputs(self) -> bool:
        """Whether outputs can have grids of their own that a byte holds."""
        integer = self.bits == 8 and self.levels == "int" and not self.exact
        return integer and self.ranges != "fixed"
