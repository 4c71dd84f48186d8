"""Pictures the package draws itself, for demos and tests that need no data set."""

from __future__ import annotations
