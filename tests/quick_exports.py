"""Tables of torch's ONNX exporter that are the same for every export, made once a process."""

from __future__ import annotations

import functools
import sys
from typing import Any


def keep_export_tables() -> None:
    """Once the exporter is loaded: what it lists anew for each export takes as long as the export
    of a tiny network. Names that another version of torch has not are left alone."""
    registry = getattr(_loaded("torch.onnx._internal.exporter._registration"), "ONNXRegistry", None)
    if hasattr(registry, "from_torchlib") and not hasattr(registry.from_torchlib, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))
    for module in (_loaded("torch.export.exported_program"), _loaded("torch.export.decomp_utils")):
        listing = getattr(module, "_collect_all_valid_cia_ops", None)
        if listing is not None and not hasattr(listing, "__wrapped__"):
            module._collect_all_valid_cia_ops = _listed_once(listing)


def _listed_once(listing: Any) -> Any:
    """The set of composite operators, listed anew only where another one was registered."""
    from torch._C import _dispatch_get_registrations_for_dispatch_key as registered

    @functools.cache
    def of_so_many(count: int) -> Any:
        return listing()

    return functools.wraps(listing)(
        lambda: of_so_many(len(registered("CompositeImplicitAutograd")))
    )


def _loaded(name: str) -> Any:
    return sys.modules.get(name)
