"""The page in a browser: models as a folder that any static host serves, and a local server."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganpress.web.building import Site, site
    from ganpress.web.serving import serve

_HOME = {"Site": "building", "serve": "serving", "site": "building"}

__all__ = ["Site", "serve", "site"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"ganpress.web.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ganpress.web' has no attribute '{name}'")
