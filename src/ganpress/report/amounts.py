"""Numbers as people read them: 56.8 G, 3.81 MB, 14.9×, 1 h 20 min (1 G = 1e9, 1 MB = 1e6 bytes)."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple


def number(value: object) -> float | None:
    """The value as a float, or None when it is not a finite number (booleans are not numbers)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def significant(value: float, digits: int = 3) -> str:
    """Plain digits where they are readable (12,345 or 0.0012), an exponent elsewhere; 'nan', 'inf'
    for what is no finite number."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if not 1e-4 <= size < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return (
            f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
        )
    places = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def si(value: float, unit: str = "") -> str:
    """A count with a decimal prefix: 56800000000 -> 56.8 G."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{significant(value / factor)}\u00a0{prefix}{unit}"
    return f"{significant(value)}\u00a0{unit}".rstrip("\u00a0")


def size_bytes(value: float) -> str:
    """A file size in decimal units: 45500000 -> 45.5 MB."""
    return si(value, "B")


def milliseconds(value: float) -> str:
    """A time given in milliseconds: 57.6 ms."""
    return f"{significant(value)}\u00a0ms"


def times(ratio: float) -> str:
    """A ratio: 14.9×."""
    return f"{significant(ratio)}×"


def duration(seconds: float) -> str:
    """A stretch of time given in seconds: 4800 -> 1 h 20 min."""
    if seconds < 60:
        return f"{significant(seconds)}\u00a0s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{minutes}\u00a0min"
    return f"{hours}\u00a0h {rest}\u00a0min" if rest else f"{hours}\u00a0h"


def moment(value: object) -> str:
    """A point in time to the minute, from seconds since 1970 or ISO text; other text stays."""
    seconds = number(value)
    try:
        if seconds is not None:
            when = datetime.fromtimestamp(seconds, tz=UTC)
        else:
            when = datetime.fromisoformat(str(value))
    except (OverflowError, OSError, ValueError):
        return str(value)
    return when.strftime("%Y-%m-%d %H:%M %Z").rstrip()


class Amount(NamedTuple):
    """A number as it is read, and exactly, for machines and for copying."""

    shown: str
    exact: int | float


def marked(value: float, shown: str) -> Amount:
    """The readable text together with the exact number; whole numbers without a point."""
    return Amount(shown, int(value) if value == int(value) and abs(value) < 2**53 else value)


def optional(value: float | None, show: Callable[[float], str]) -> Amount | str:
    """The number as ``show`` writes it, a dash for None."""
    return "–" if value is None else marked(value, show(value))


def plus_minus(value: float, error: float | None) -> str:
    """A number and its standard error or deviation: '0.352 ± 0.004'; the number alone for None."""
    shown = significant(value, 4)
    return shown if error is None else f"{shown} ± {significant(error, 2)}"


def larger_is_better(metric: str) -> bool:
    """Whether a metric is a score (IS, mean IoU, pixel accuracy), not a distance."""
    return metric.removeprefix("real/").startswith(("is-", "miou-", "accuracy-"))
