"""Parametrisations whose dear cases run on request: `pytest -m slow`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def thinned(cases: Iterable[Any], keep: Callable[[Any], bool] | int) -> list[Any]:
    """The cases, of which only those to keep, or the first so many, run in `make test`."""
    chosen = list(cases)
    kept = keep if callable(keep) else lambda case: any(case is one for one in chosen[:keep])
    return [case if kept(case) else _slow(case) for case in chosen]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
