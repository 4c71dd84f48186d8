"""A target in milliseconds as one more cost of every method: its settings, resolved for a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ganpress.errors import ConfigError
from ganpress.measures.target import LATENCY
from ganpress.measures.timing.latency_target import check_alone, resolved_target
from ganpress.measures.timing.timer import conditions_here, usual_runtime
from ganpress.methods.base import Given
from ganpress.models.checkpoint import Model
from ganpress.run.proposals import ways
from ganpress.training.shared_settings import MethodSettings, least_channels


def resolved_latency(
    given: Given,
    settings: MethodSettings,
    student: Callable[[], Model],
    *,
    wanted: bool | None = None,
) -> dict[str, Any]:
    """What a target in milliseconds changes in settings that are resolved but for it: the target
    has all that it hangs on, and the channels of groups are multiples of what the runtime rounds up
    to. {} where there is no such target.

    Args:
        student: makes the network that is narrowed, at its full widths, without quantisers.
        wanted: whether latencies are asked for; None: where there is such a target.
    Raises: ConfigError, MissingExtra.
    """
    c, target = settings, settings.target
    wanted = target.latency_ms is not None if wanted is None else wanted
    check_alone(target, wanted=wanted)
    if not wanted:
        return {}
    check_precision(c)
    own = resolved_target(target, c.quantise, given.teacher, student(), given.kept)
    multiple = math.lcm(c.channel_multiple, own.round or 1)
    return {
        "target": own,
        "channel_multiple": multiple,
        "min_channels": least_channels(c.min_channels, multiple),
    }


def check_precision(c: MethodSettings) -> None:
    """Refuse the time of integers for a student without any, and the reverse: ConfigError."""
    target, bits = c.target, c.quantise.bits
    integers = [{"quantise.bits": 8}]
    others = ([{"target.precision": p}] for p in ("int8" if bits < 32 else "fp32", "bf16"))
    if target.precision == "int8" and bits == 32:
        raise ConfigError(
            f"target.precision=int8 is the time of a student that is trained for it, and "
            f"quantise.bits is 32{ways(c, integers, *others, check=_check_runs)}."
        )
    if target.precision in ("fp32", "fp16") and bits < 32:
        raise ConfigError(
            f"target.precision={target.precision} is not that of a student with quantise.bits="
            f"{bits}, whose file computes with integers{ways(c, *others, check=_check_runs)}."
        )
    if bits < 8 and target.latency_ms is not None:
        raise ConfigError(
            f"quantise.bits={bits} is computed in 8 bits by every runtime, so that a target."
            f"{LATENCY} is that of 8{ways(c, integers, check=_check_runs)}."
        )


def _check_runs(c: MethodSettings) -> None:
    """Refuse also what the runtime cannot do: ConfigError, MissingExtra."""
    check_precision(c)
    target = c.target
    conditions_here(target.runtime or usual_runtime(), target.precision or "fp32", 1)
