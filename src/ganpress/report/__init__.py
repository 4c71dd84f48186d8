"""One self-contained page about a run: numbers, pictures, curves and how to repeat it.

Reads files of the run directory only and never imports torch.
"""

from __future__ import annotations

from ganpress.report.page import write_report

__all__ = ["write_report"]
