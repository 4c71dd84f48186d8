"""ganpress: make trained GAN generators small and fast without losing their quality.

Public names are loaded when first used, so that `import ganpress` is quick and touches neither
CUDA nor optional packages.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganpress.data import Images, open_images
    from ganpress.errors import GanpressError
    from ganpress.formats.exporters import export
    from ganpress.formats.importers import import_model
    from ganpress.generation.generate import generate
    from ganpress.measures.colour import match_colour
    from ganpress.measures.cost import latency, measure
    from ganpress.measures.fidelity import evaluate
    from ganpress.measures.files.cost import measure_file
    from ganpress.measures.quality import evaluate_quality
    from ganpress.measures.timing.bench import bench
    from ganpress.methods.compress import compress
    from ganpress.methods.gan_slimming.settings import SlimConfig
    from ganpress.models.checkpoint import Model, full_model, load, save
    from ganpress.models.families import FAMILIES, family
    from ganpress.report import write_report
    from ganpress.run.run import Run
    from ganpress.run.settings import read_config
    from ganpress.training.train import train

_HOME = {
    "FAMILIES": "models.families",
    "GanpressError": "errors",
    "Images": "data",
    "Model": "models.checkpoint",
    "Run": "run.run",
    "SlimConfig": "methods.gan_slimming.settings",
    "bench": "measures.timing.bench",
    "compress": "methods.compress",
    "evaluate": "measures.fidelity",
    "evaluate_quality": "measures.quality",
    "export": "formats.exporters",
    "family": "models.families",
    "full_model": "models.checkpoint",
    "generate": "generation.generate",
    "import_model": "formats.importers",
    "latency": "measures.cost",
    "load": "models.checkpoint",
    "match_colour": "measures.colour",
    "measure": "measures.cost",
    "measure_file": "measures.files.cost",
    "open_images": "data",
    "read_config": "run.settings",
    "save": "models.checkpoint",
    "train": "training.train",
    "write_report": "report",
}

_RENAMED = {"judge": "evaluate_quality"}
"""Public names of before -> today's."""

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
    "bench",
    "compress",
    "evaluate",
    "evaluate_quality",
    "export",
    "family",
    "full_model",
    "generate",
    "import_model",
    "latency",
    "load",
    "match_colour",
    "measure",
    "measure_file",
    "open_images",
    "read_config",
    "save",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"ganpress.{_HOME[name]}"), name)
    now = f": it is called '{_RENAMED[name]}'" if name in _RENAMED else ""
    raise AttributeError(f"module 'ganpress' has no attribute '{name}'{now}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
