"""More steps for a finished run, where they are asked for by name: the same folder and settings.

The last state of the stage is kept when it finishes (networks, optimisers, averages, pools), so
that the loop goes on from there as after a stop. Schedules follow the share of the new number of
steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganpress.errors import ConfigError
from ganpress.run.card import differences, machine_facts, now_utc
from ganpress.run.files import as_json, read_json, write_json

HOW = "more steps of a finished run are asked for by --extend"


def extend_run(
    root: Path,
    config: Mapping[str, Any],
    longer: Mapping[str, str],
    usual: Mapping[str, Any] | None = None,
) -> None:
    """Let a finished run go on for more steps: its config.json gets them, its done.json and those
    of the stages go, and its card says so. An extension that was interrupted just goes on.

    Args:
        longer: settings that count the steps of a stage after which no other trains -> that stage.
        usual: the defaults, which settings had that the run did not know yet.
    Raises: ConfigError where the run has not finished, more than steps is asked for, or the state
        to go on from is not there; nothing is changed then.
    """
    path = root / "config.json"
    was, now = read_json(path), as_json(config)
    more = raised(was, now, longer)
    rest = differences(_without(was, more), _without(now, more), as_json(dict(usual or {})))
    if rest:
        names = ", ".join(longer) or "none of this one"
        raise ConfigError(
            f"--extend gives the run in {root} more steps, with the same settings for the rest. "
            f"Settings that may be raised: {names}. These differ:\n  " + "\n  ".join(rest)
        )
    if more and not (root / "done.json").exists():
        raise ConfigError(
            f"The run in {root} has not finished, so it cannot be extended: finish it with its own "
            f"settings ({_listed(more, 0)}) first."
        )
    for key in more:
        _check_state(root, key, longer[key], _value(was, key))
    if more:
        _note(root, more)
        write_json(path, now)
    for key, stage in longer.items():
        _reopen(root, stage, _value(now, key))


def raised(
    was: Mapping[str, Any], now: Mapping[str, Any], longer: Mapping[str, str]
) -> dict[str, tuple[int, int]]:
    """The settings of ``longer`` that are larger now, by their dotted names: (before, now)."""
    pairs = {key: (_value(was, key), _value(now, key)) for key in longer}
    return {
        key: (before, after)
        for key, (before, after) in pairs.items()
        if isinstance(before, int) and isinstance(after, int) and after > before
    }


def _check_state(root: Path, key: str, stage: str, steps: int) -> None:
    """Refuse a stage that its minutes ended, or whose last state is gone."""
    done = root / stage / "done.json"
    taken = read_json(done).get("steps") if done.exists() else None
    if isinstance(taken, int) and taken < steps:
        raise ConfigError(
            f"Stage '{stage}' in {root} was ended by its minutes, after {taken} of {steps} steps: "
            f"more {key} would not make it longer. Start another run from its result (--from)."
        )
    if not (root / stage / "state.pt").exists():
        raise ConfigError(
            f"{root / stage / 'state.pt'} is missing, the state that stage '{stage}' would go on "
            "from. Start another run from its result (--from)."
        )


def _note(root: Path, more: Mapping[str, tuple[int, int]]) -> None:
    """Add to the card which steps were added, when and where."""
    card = read_json(root / "card.json")
    added = {key: {"from": before, "to": after} for key, (before, after) in more.items()}
    if any(entry["steps"] == added for entry in card.get("extended", [])):
        return  # by a call that was killed before the next line
    entry = {"steps": added, "at": now_utc(), **machine_facts()}
    write_json(root / "card.json", {**card, "extended": [*card.get("extended", []), entry]})


def _reopen(root: Path, stage: str, steps: int) -> None:
    """Take back that the run and the stage are done, where this is of fewer steps than asked."""
    done = root / stage / "done.json"
    if done.exists() and read_json(done).get("steps", 0) < steps:
        (root / "done.json").unlink(missing_ok=True)
        done.unlink()


def is_reopened(root: Path, stages: Mapping[str, str]) -> bool:
    """Whether a stage goes on that had finished before: it has a state, and is not done."""
    return any(
        (root / s / "state.pt").exists() and not (root / s / "done.json").exists()
        for s in stages.values()
    )


def _value(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _without(config: Mapping[str, Any], keys: Mapping[str, object], prefix: str = "") -> Any:
    """The same without these dotted names."""
    return {
        name: _without(value, keys, f"{prefix}{name}.") if isinstance(value, dict) else value
        for name, value in config.items()
        if f"{prefix}{name}" not in keys
    }


def _listed(more: Mapping[str, tuple[int, int]], which: int) -> str:
    return ", ".join(f"{key}={pair[which]}" for key, pair in more.items())
