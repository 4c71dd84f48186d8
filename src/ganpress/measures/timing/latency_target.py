"""A target in milliseconds: how it is measured, what widths cost by it, whether it was met."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import torch

from ganpress.errors import ConfigError, ExportError
from ganpress.formats.exporters.form import Form
from ganpress.formats.exporters.graph import Runtime
from ganpress.formats.exporters.onnx import to_bytes
from ganpress.measures.cost import CostOf
from ganpress.measures.target import LATENCY, OF_LATENCY, TargetSettings
from ganpress.measures.timing import timer
from ganpress.measures.timing.cost_model import (
    ERROR_MOST,
    Fit,
    LatencyModel,
    fast_step,
    off,
    wired,
)
from ganpress.measures.timing.layer_table import LayerTable, kept_conditions, table_of
from ganpress.measures.timing.template import Template
from ganpress.measures.timing.timer import Conditions, conditions_here, usual_runtime
from ganpress.models.checkpoint import Model
from ganpress.quantisation.attach import quantiser_of_settings
from ganpress.quantisation.quantise import quantise
from ganpress.quantisation.settings import QuantiseSettings
from ganpress.run.progress import say
from ganpress.types.sizes import Size

TABLE = "latency-table.json"
"""The run's own copy of the times that its target hangs on."""


@dataclass(frozen=True)
class Kept:
    """Where a run keeps its table. Attributes: path: None: nowhere. quiet: no lines on stderr."""

    path: Path | None = None
    quiet: bool = False


_tables: dict[tuple[str, ...], LayerTable] = {}
_templates: dict[str, Template] = {}
_models: dict[str, LatencyModel] = {}
_said: set[str] = set()
_compared: set[tuple[Conditions, str]] = set()
"""Teachers, by their key in a table, that this process has timed."""


def check_alone(target: TargetSettings, *, wanted: bool) -> None:
    """Refuse settings of a latency where none is asked for. Raises: ConfigError."""
    given = [name for name in OF_LATENCY if getattr(target, name) is not None]
    if given and not wanted:
        raise ConfigError(
            f"target.{given[0]} says how a latency is measured, and none is asked for: give "
            f"target.{LATENCY}, or leave target.{given[0]} out."
        )


@timer.measuring()
def resolved_target(
    target: TargetSettings,
    bits: QuantiseSettings,
    teacher: Model,
    student: Model,
    kept: Kept = Kept(),
) -> TargetSettings:
    """The target with everything that its milliseconds hang on filled in.

    Measures what the user's cache and the run's own table lack: the teacher, how many channels the
    runtime rounds up to, the parts of the student's wiring, and whole networks to fit and check
    them on. Says so where the table is further off than it should be, and where the teacher is fast
    enough already.

    Args: student: the network that is narrowed, at its full widths, without quantisers.
    Raises: ConfigError for a size that the network does not make; MissingExtra.
    """
    conditions = _conditions(target, bits, kept)
    own = kept.path if kept.path and kept_conditions(kept.path) == conditions else None
    table = table_of(conditions, own, quiet=kept.quiet)
    size = teacher.resolve_size(target.size)
    here = {
        "runtime": conditions.runtime,
        "threads": conditions.threads,
        "precision": conditions.precision,
        "processor": conditions.processor,
        "size": size,
    }
    _tables[_key(target.model_copy(update=here))] = table
    key = f"teacher/{_digest(teacher.family.name, teacher.options, teacher.widths, size)}"
    of_before = table.shares(key) and (conditions, key) not in _compared
    teacher_ms = table.fact(key, lambda _: _teacher_ms(teacher, size, conditions))
    _compared.add((conditions, key))
    if of_before:
        _compare_with_now(teacher_ms, teacher, size, table, kept)
    found = target.model_copy(update={**here, "teacher_ms": teacher_ms})
    step = target.round or _step(student, found, bits)
    found = found.model_copy(update={"round": step})
    _warn(model_of(student, found, bits).fit, table, kept)
    if found.latency_ms is not None and found.latency_ms >= teacher_ms:
        _say_once(
            f"target.{LATENCY}={found.latency_ms:g}: the teacher takes {teacher_ms:.4g} ms already "
            f"({conditions.words}): nothing has to be cut for that.", kept
        )  # fmt: skip
    if away := timer.elsewhere(conditions):
        _say_once(
            f"This run's milliseconds are those of {conditions.words}, with which it began; {away}:"
            " its target stays, and the student is not timed here.", kept
        )  # fmt: skip
    return found


def _conditions(target: TargetSettings, bits: QuantiseSettings, kept: Kept) -> Conditions:
    """Those asked for; what is left open is as the run began, or as this machine has it."""
    began = kept_conditions(kept.path) if kept.path else None
    runtime = target.runtime or (began.runtime if began else usual_runtime())
    quantised = "int8" if bits.bits < 32 else "fp32"
    precision = target.precision or (began.precision if began else quantised)
    threads = target.threads or (began.threads if began else torch.get_num_threads())
    asked = (runtime, precision, threads)
    if began and asked == (began.runtime, began.precision, began.threads):
        return began
    return conditions_here(runtime, precision, threads)


def _teacher_ms(teacher: Model, size: Size, conditions: Conditions) -> float:
    """In floats, whatever the student has."""
    return _whole_ms(teacher, size, replace(conditions, precision="fp32"))


def _compare_with_now(
    then: float, teacher: Model, size: Size, table: LayerTable, kept: Kept
) -> None:
    """Say so where this machine is no longer as fast as when its table was measured."""
    now = _teacher_ms(teacher, size, table.conditions)
    if off(then, now) > ERROR_MOST:
        _say_once(
            f"The teacher takes {now:.4g} ms now, and {then:.4g} ms when this machine's latency "
            "table was measured: other programs run now, or ran then, or the processor has another "
            f"clock. The student will be as far off. Stop them, or remove {table.path}: everything "
            "is then timed anew.", kept
        )  # fmt: skip


def _whole_ms(model: Model, size: Size, conditions: Conditions) -> float:
    runtime = cast(Runtime, conditions.runtime)
    file = to_bytes(model, Form(size=size), runtime=runtime)
    [found] = timer.in_turns(timer.timer_for(conditions), [file])
    return found


def _step(student: Model, target: TargetSettings, bits: QuantiseSettings) -> int:
    return fast_step(_unfitted(student, target, bits, step=1))


def model_of(student: Model, target: TargetSettings, bits: QuantiseSettings) -> LatencyModel:
    """The fitted cost model of a wiring under a resolved target; one in a process.

    Args: student: at its full widths, without quantisers.
    """
    assert target.round is not None
    key = _digest(_key(target), _wiring(student, target, bits), student.widths, target.round)
    if key not in _models:
        model = _unfitted(student, target, bits, step=target.round)
        model.fitted()
        _models[key] = model
    return _models[key]


def _unfitted(
    student: Model, target: TargetSettings, bits: QuantiseSettings, *, step: int
) -> LatencyModel:
    key = _wiring(student, target, bits)
    if key not in _templates:
        wired_as, runtime = quantised(student, bits), cast(Runtime, target.runtime)
        _templates[key] = Template.of(wired_as, Form(size=_size(target)), runtime)
    return wired(_templates[key], student, _table(target), step=step)


def quantised(student: Model, bits: QuantiseSettings) -> Model:
    """The network with the quantisers of the settings, where they have any."""
    if bits.bits >= 32:
        return student
    return replace(student, net=quantise(copy.deepcopy(student.net), quantiser_of_settings(bits)))


def _size(target: TargetSettings) -> Size:
    assert target.size is not None
    return target.size


def _table(target: TargetSettings) -> LayerTable:
    return _tables[_key(target)]


def _key(target: TargetSettings) -> tuple[str, ...]:
    names = ("processor", "runtime", "precision", "threads")
    return tuple(str(getattr(target, name)) for name in names)


def _wiring(student: Model, target: TargetSettings, bits: QuantiseSettings) -> str:
    """A digest of what an export hangs on, but for the widths."""
    quantised = bits.model_dump() if bits.bits < 32 else None
    return _digest(
        student.family.name, student.options, quantised, _size(target), target.runtime
    )  # fmt: skip


def _digest(*what: Any) -> str:
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]


def _warn(fit: Fit, table: LayerTable, kept: Kept) -> None:
    if fit.error > ERROR_MOST:
        where = f"remove {table.path}, " if table.path else ""
        _say_once(
            f"The latency table is up to {100 * fit.error:.0f} % off whole networks that it was "
            f"not fitted to; {100 * ERROR_MOST:.0f} % is the aim. Where other programs were "
            f"running, stop them, {where}and start again in another run folder, since this one "
            "keeps its copy: everything is then timed anew.", kept
        )  # fmt: skip


def _say_once(line: str, kept: Kept) -> None:
    if line not in _said:
        _said.add(line)
        say(line, quiet=kept.quiet)


def latency_cost(student: Model, target: TargetSettings, bits: QuantiseSettings) -> CostOf:
    """Widths -> milliseconds. Args: as of `model_of`."""
    return model_of(student, target, bits)


def latency_share(student: Model, target: TargetSettings, bits: QuantiseSettings) -> CostOf:
    """Widths -> latency as a fraction of the teacher's. Args: as of `model_of`."""
    model, whole = model_of(student, target, bits), target.teacher_ms
    assert whole is not None
    return lambda widths: model(widths) / whole


def keep_table(target: TargetSettings, run: Path) -> None:
    """Write a run's own copy of its table, with which it goes on wherever that is."""
    if target.teacher_ms is not None:
        _table(target).keep(run / TABLE)


@timer.measuring()
def verified(student: Model, teacher: Model, target: TargetSettings) -> dict[str, Any]:
    """What was asked for, predicted and measured of a student, as results.json holds it. It is
    timed as the exporter writes it for the target's runtime and size. So is its teacher: that shows
    whether the machine has become slower or faster, or the table is off."""
    predicted = predicted_ms(student, target)
    found: dict[str, Any] = {
        "asked_ms": target.latency_ms,
        "predicted_ms": predicted and round(predicted, 3),
        "measured_ms": None,
        "teacher_ms": target.teacher_ms and round(target.teacher_ms, 3),
        "teacher_now_ms": None,
        "runtime": target.runtime,
        "version": _table(target).conditions.version,
        "precision": target.precision,
        "threads": target.threads,
        "batch": 1,
        "size": target.size,
        "processor": target.processor,
        "channels_round_to": target.round,
    }
    conditions = _table(target).conditions
    if away := timer.elsewhere(conditions):
        return {**found, "not measured": away}
    try:
        measured = _whole_ms(student, _size(target), conditions)
        now = _teacher_ms(teacher, _size(target), conditions)
    except ExportError as error:
        return {**found, "not measured": str(error)}
    found["measured_ms"], found["teacher_now_ms"] = round(measured, 3), round(now, 3)
    if predicted:
        found["prediction_off"] = round(off(predicted, measured), 4)
    if target.latency_ms is not None:
        found["target_off"] = round(measured / target.latency_ms - 1, 4)
    return found


def in_words(found: Mapping[str, Any]) -> str:
    """One line of what `verified` found."""
    asked = f"{found['asked_ms']:g} ms asked for, " if found["asked_ms"] else ""
    if found["measured_ms"] is None:
        made = f"not measured: {found['not measured']}"
    else:
        made = f"{found['measured_ms']:.4g} ms measured"
        if abs(found.get("target_off", 0.0)) > ERROR_MOST:
            made += f" ({100 * found['target_off']:+.0f} % of the target{_drift(found)})"
    predicted = f"{found['predicted_ms']:.4g} ms predicted, " if found["predicted_ms"] else ""
    threads = f"{found['threads']} thread{'s' if found['threads'] != 1 else ''}"
    how = f"{found['runtime']} {found['version']}, {found['precision']}, {threads}"
    return f"latency: {asked}{predicted}{made} ({how})"


def _drift(found: Mapping[str, Any]) -> str:
    """How much of that lies in the machine's speed, where it does."""
    then, now = found["teacher_ms"], found["teacher_now_ms"]
    if not then or off(then, now) < ERROR_MOST / 2:
        return ""
    more = "more" if now > then else "less"
    return f"; the teacher takes {100 * abs(now / then - 1):.0f} % {more} than for the table"


def predicted_ms(student: Model, target: TargetSettings) -> float | None:
    """By the model that its run used; None where this process has none."""
    for model in _models.values():
        same = model.family == student.family.name and model.options == dict(student.options)
        alike = model.size == target.size and model.step == target.round
        if same and alike and model.table is _table(target):
            return model(student.widths)
    return None
