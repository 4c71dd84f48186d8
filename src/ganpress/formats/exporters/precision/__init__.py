"""The precisions of an exported file: half, bfloat16, and 8 bits calibrated after training."""

from __future__ import annotations

from ganpress.formats.exporters.precision.half import to_bfloat, to_half
from ganpress.formats.exporters.precision.integers import Feeds, calibrated

__all__ = ["Feeds", "calibrated", "to_bfloat", "to_half"]
