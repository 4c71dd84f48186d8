"""Which runs an ablation has: its variants with their settings and seeds, and why one cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError, GanpressError, InfeasibleTarget
from ganpress.methods.base import Given, Method
from ganpress.methods.measured import Plan
from ganpress.run.proposals import ways
from ganpress.training.shared_settings import MethodSettings


def planned(
    method: Method,
    given: Given,
    base: MethodSettings,
    variants: Sequence[str],
    seeds: Sequence[int],
    run: Path,
) -> tuple[list[Plan], dict[str, GanpressError]]:
    """Every run that is asked for, seed by seed, and why variants cannot be run; all share the
    teacher's pictures.

    Raises: ConfigError for an unknown variant, no target, no seed, variants of unequal time, or
        where none of them can be run.
    """
    if base.target.given is None:
        some = ({"target.macs": share} for share in (0.05, 0.1, 0.25, 0.5, 0.9))

        def check(config: MethodSettings) -> None:
            method.check(given, method.resolve(given, config))

        raise ConfigError(
            f"The variants are compared at one cost: give it{ways(base, some, check=check)}."
        )
    if not variants or not seeds or min(seeds) < 0:
        raise ConfigError("Give at least one variant and one seed; seeds are 0 or more.")
    settings = {name: method.settings_of(name, base) for name in dict.fromkeys(variants)}
    check_minutes(method, settings, base)
    cache = base.data.teacher_cache
    if cache is None and base.data.cached_crops:
        cache = str(Path(run) / "teacher-cache")
    data = base.data.model_copy(update={"teacher_cache": cache})
    resolved, refused = resolve_all(method, given, settings)
    plans = []
    for seed in dict.fromkeys(seeds):
        for name in sorted(settings, key=lambda name: method.variants[name].reuses is not None):
            asked, twin = settings[name], method.variants[name].reuses  # twins are run before
            own: dict[str, Any] = {"seed": seed, "data": data}
            own |= {"reuse": str(Path(run) / f"{twin}-{seed}")} if twin else {}
            used = resolved.get(name, asked).model_copy(update=own)
            folder = Path(run) / f"{name}-{seed}"
            plans.append(Plan(name, seed, folder, asked.model_copy(update=own), used))
    return plans, refused


def check_minutes(method: Method, settings: dict[str, Any], base: MethodSettings) -> None:
    """Refuse variants that would not train for equal times: ConfigError."""
    wanted = method.training_minutes(base)
    for name, own in settings.items():
        given = method.training_minutes(own)
        if (given is None) != (wanted is None) or abs((given or 0) - (wanted or 0)) > 1e-6:
            raise ConfigError(f"Variant '{name}' would train {given} minutes, the others {wanted}.")


def resolve_all(
    method: Method, given: Given, settings: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, GanpressError]]:
    """The settings of each variant as its stages use them, and why others cannot be run.

    Raises: ConfigError where none of them can.
    """
    resolved: dict[str, Any] = {}
    refused: dict[str, GanpressError] = {}
    why: dict[str, list[str]] = {}
    for name, asked in settings.items():
        try:
            resolved[name] = method.resolve(given, asked)
            if method.variants[name].reuses is None:  # else checked once that run has ended
                method.check(given, resolved[name])
        except (ConfigError, InfeasibleTarget) as error:
            refused[name] = error
            why.setdefault(str(error), []).append(name)
    if len(refused) == len(settings):
        lines = [f"{', '.join(names)}: {text}" for text, names in why.items()]
        raise ConfigError("\n  ".join(["No variant that is asked for can be run.", *lines]))
    return resolved, refused
