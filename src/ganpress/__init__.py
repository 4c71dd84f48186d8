"""ganpress: make trained GAN generators small and fast without losing their quality.

Public names are loaded when first used, so that `import ganpress` is quick and touches neither
CUDA nor optional packages.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganpress.checkpoint import Model, full_model, load, save
    from ganpress.colour import match_colour
    from ganpress.compression import compress
    from ganpress.config import SlimConfig, read_config
    from ganpress.cost import latency, measure
    from ganpress.data import Images, open_images
    from ganpress.errors import GanpressError
    from ganpress.evaluation import evaluate
    from ganpress.exporters import export
    from ganpress.families import FAMILIES, family
    from ganpress.importers import import_model
    from ganpress.judging import judge
    from ganpress.report import write_report
    from ganpress.run import Run
    from ganpress.training import train

_HOME = {
    "FAMILIES": "families",
    "GanpressError": "errors",
    "Images": "data",
    "Model": "checkpoint",
    "Run": "run",
    "SlimConfig": "config",
    "compress": "compression",
    "evaluate": "evaluation",
    "export": "exporters",
    "family": "families",
    "full_model": "checkpoint",
    "import_model": "importers",
    "judge": "judging",
    "latency": "cost",
    "load": "checkpoint",
    "match_colour": "colour",
    "measure": "cost",
    "open_images": "data",
    "read_config": "config",
    "save": "checkpoint",
    "train": "training",
    "write_report": "report",
}

try:
    __version__ = version("ganpress")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "FAMILIES",
    "GanpressError",
    "Images",
    "Model",
    "Run",
    "SlimConfig",
    "compress",
    "evaluate",
    "export",
    "family",
    "full_model",
    "import_model",
    "judge",
    "latency",
    "load",
    "match_colour",
    "measure",
    "open_images",
    "read_config",
    "save",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"ganpress.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ganpress' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
