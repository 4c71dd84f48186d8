"""A paper as a function that calls stages in order."""

from __future__ import annotations

from ganpress.methods.gan_slimming.method import slim as _slim  # `methods.slim` stays the module

METHODS = {"slim": _slim}

__all__ = ["METHODS"]
