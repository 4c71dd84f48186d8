"""The wiring that a student starts in: its teacher's, or one that integer runtimes run fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ganpress.models.checkpoint import Model
from ganpress.models.forms import integer_form, integer_options, remarks
from ganpress.training.shared_settings import MethodSettings
from ganpress.types import Inputs, Options


def in_form(model: Model, settings: MethodSettings, calibration: Iterable[Inputs] = ()) -> Model:
    """The model in the wiring of ``student.form``; the model itself where that is its own.

    Args: calibration: what BatchNorms that are new read their statistics from, batch by batch.
    Raises: ConfigError as of `integer_form`.
    """
    s = settings.student
    return model if s.form == "as-teacher" else integer_form(model, calibration, up=s.doubling)


def options_in_form(family: str, options: Options, settings: MethodSettings) -> dict[str, Any]:
    """The options of a network in the wiring of ``student.form``."""
    s = settings.student
    if s.form == "as-teacher":
        return dict(options)
    return integer_options(family, options, up=s.doubling)


def with_scales(options: Options) -> dict[str, Any]:
    """The options of the same network, where its InstanceNorms can have scales and shifts, with
    both."""
    scaled = dict(options)
    if "affine" in scaled and scaled.get("norm", "instance") == "instance":
        scaled["affine"] = True
    return scaled


def form_remarks(model: Model, settings: MethodSettings) -> list[str]:
    """What ``student.form`` changes in the student of this teacher, and what is lost by it."""
    s = settings.student
    if s.form == "as-teacher":
        return []
    lines = remarks(model.family.name, model.options, up=s.doubling)
    return [f"student.form={s.form}: {line}" for line in lines]


def foreign_options(student: Options, teacher: Model, settings: MethodSettings) -> list[str]:
    """Options of a student that are neither its teacher's nor those of ``student.form``."""
    formed = options_in_form(teacher.family.name, teacher.options, settings)
    return [
        name
        for name, value in teacher.options.items()
        if name != "affine" and student[name] not in (value, formed[name])  # pruning makes affine
    ]
