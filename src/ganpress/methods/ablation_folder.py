"""An ablation's folder: begun or gone on with, which variants are there, and the pages of them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError, GanpressError
from ganpress.measures.interest.interest import resolved_mask
from ganpress.methods.base import Method
from ganpress.methods.measured import Pictures, Plan
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.report.ablation import write_ablation
from ganpress.report.statements import summary
from ganpress.run.card import differences
from ganpress.run.files import as_json, make_folder, read_json, write_json
from ganpress.training.shared_settings import MethodSettings


def begin(
    run: Path, method: Method, teacher: Model, pictures: Pictures, base: MethodSettings
) -> None:
    """Write run/settings.json, or refuse to add variants to an ablation of something else."""
    shared = base.model_dump(exclude={"seed": True, "data": {"teacher_cache"}})
    overridden = {n for v in method.variants.values() for n, o in v.overrides.items()
                  if not isinstance(o, dict)}  # fmt: skip
    shared["mask"] = resolved_mask(base.mask).model_dump()
    digests = {"data": pictures.images, "test": pictures.test, "reals": pictures.reals}
    facts = {
        "method": method.name,
        "paper": method.paper,
        "family": teacher.family.name,
        "teacher": fingerprint(teacher.net),
        **{f"{name}_hash": some.digest() if some else None for name, some in digests.items()},
        "settings": {name: value for name, value in shared.items() if name not in overridden},
        "minutes": method.training_minutes(base),
        "stage_minutes": {
            name: method.stage_minutes(method.settings_of(name, base)) for name in method.variants
        },
        "meanings": {name: variant.meaning for name, variant in method.variants.items()},
        "claims": [[c.statement, c.better, c.worse] for c in method.claims],
    }
    path = run / "settings.json"
    was = read_json(path) if path.exists() else facts
    was.setdefault("reals_hash", facts["reals_hash"])  # a folder of before does not say
    usual = {"settings": as_json(method.settings().model_dump())}
    wording = ("paper", "meanings", "claims")  # texts may change
    was, now = ({n: v for n, v in d.items() if n not in wording} for d in (was, facts))
    was, now = as_json(was), as_json(now)
    if not was["settings"].get("mask", {}).get("digest"):  # of before: then paths are compared
        now["settings"]["mask"]["digest"] = None
    both = was["stage_minutes"].keys() & now["stage_minutes"].keys()  # there may be new variants
    for one in (was, now):
        one["stage_minutes"] = {n: v for n, v in one["stage_minutes"].items() if n in both}
    if differing := differences(was, now, usual):
        raise ConfigError(
            f"The ablation in {run} was started with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the same to go on, or choose another folder."
        )
    write_json(path, facts)


def finished(plan: Plan, method: Method) -> bool:
    """Whether this variant has ended before. ConfigError: it was run with other settings."""
    if (plan.folder / "config.json").exists() and (
        differing := changed_since(plan.folder, plan.resolved.model_dump(), method)
    ):
        raise ConfigError(
            f"{plan.folder} holds this variant with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the same, or delete that folder to run the variant anew."
        )
    return (plan.folder / "done.json").exists() and (plan.folder / "results.json").exists()


def changed_since(folder: Path, settings: dict[str, Any], method: Method) -> list[str]:
    """Which of these settings the run in ``folder`` had otherwise, wherever its cache was."""
    was, now = read_json(folder / "config.json"), as_json(settings)
    for one in (was, now):
        one.get("data", {}).pop("teacher_cache", None)
    known = {name: was[name] for name in now if name in was}
    return differences(known, now, as_json(method.settings().model_dump()))


def take_over_training(plan: Plan, method: Method) -> None:
    """Start from the finished stages of the variant that this one is trained as, where there are
    any: their steps and seconds are then this one's, too."""
    twin_of = method.variants[plan.variant].trained_as
    if twin_of is None or (plan.folder / "config.json").exists():
        return
    twin = plan.folder.parent / f"{twin_of}-{plan.seed}"
    if not (twin / "done.json").exists() or plan.settings.target.bytes is not None:
        return
    own, other = (method.variants[name].overrides for name in (plan.variant, twin_of))
    changed = {name for name in own if own[name] != other.get(name)}
    if changed_since(twin, plan.resolved.model_dump(exclude=changed), method):
        return
    for stage in twin.glob("*/done.json"):
        shutil.copytree(stage.parent, plan.folder / stage.parent.name, dirs_exist_ok=True)


def fail(plan: Plan, error: GanpressError, quiet: bool) -> None:
    """Write down that a variant cannot be run, or broke off."""
    write_json(make_folder(plan.folder) / "failed.json", {"error": str(error)})
    if not quiet:
        print(f"ablation: {plan.variant} seed {plan.seed} failed: {error}", file=sys.stderr)


def publish(run: Path) -> dict[str, Any]:
    """Write ablation.json of everything that is in the folder, and the pages made of it."""
    found = summary(run)
    write_json(run / "ablation.json", found)
    write_ablation(run)
    return found
