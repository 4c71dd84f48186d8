"""Sliders of edit directions, from networks to the page, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ganpress.editing.directions import Directions, find_directions
from ganpress.editing.sliders import SliderSettings, alone, side_by_side, write_sliders
from ganpress.editing.subjects import Subject, drawn_subjects, stacked
from ganpress.editing.transfer import transfer
from ganpress.errors import ConfigError
from ganpress.methods.compress import check_teacher
from ganpress.models.checkpoint import Model, fingerprint, load
from ganpress.models.inputs import from_noise
from ganpress.report import write_report
from ganpress.report.page import write_slider_page
from ganpress.report.reading import read_run
from ganpress.report.sliders import FOLDER

SEEDS = (0, 1, 2, 3)
COUNT = 6
"""Directions with a slider, where none are given."""
_STUDENT = "student.safetensors"


def make_sliders(
    model: Model,
    *,
    page: Path | None = None,
    run: Path | None = None,
    student: Model | None = None,
    directions: Directions | None = None,
    subjects: Sequence[Subject] = (),
    settings: SliderSettings | None = None,
    features: str = "tiny",
    weights: Path | None = None,
) -> Path:
    """Pictures that sliders move along edit directions: a page of their own, or a part of a run's
    report.

    Args:
        model: the generator; with a student its teacher.
        page: the HTML file to write. It opens from disk and asks no other file or host.
        run: a run's folder: its student is shown beside the model, the frames are kept in its
            `editing/`, and its report is written again.
        student: to show beside its teacher, the directions being transferred to it.
        directions: the model's; None: its first `COUNT` principal components.
        subjects: what is shown (`drawn_subjects`); none: those of `SEEDS`.
        features, weights: the feature network by which teacher's and student's changes are
            compared.
    Returns: the page, or the run's report.
    Raises: ConfigError, CheckpointError, ImagesError, WeightsError, DiskFull.
    """
    if (page is None) == (run is None):
        raise ConfigError("Give one of the two: a page to write (-o), or a run (--run).")
    files = {}
    if run is not None and (own := _student_of(run, model, student)) is not None:
        student, files = own, {_STUDENT: run / _STUDENT}
    settings = settings or SliderSettings()
    chosen = directions or find_directions(model, count=COUNT)
    shown_on = list(subjects) or drawn_subjects(model, SEEDS)
    moved = None
    if student is not None:
        draws = None if from_noise(model) else stacked(shown_on)
        moved = transfer(chosen, model, student, draws=draws, features=features, weights=weights)
        shown = side_by_side(model, student, moved, shown_on, settings.truncation)
    else:
        shown = alone(model, chosen, shown_on, settings.truncation)
    if run is not None:
        write_sliders(run / FOLDER, shown, shown_on, settings, moved=moved, files=files)
        return write_report(run)
    assert page is not None
    with TemporaryDirectory() as folder:
        write_sliders(Path(folder), shown, shown_on, settings, moved=moved)
        return write_slider_page(Path(folder), page)


def _student_of(run: Path, teacher: Model, given: Model | None) -> Model | None:
    """The run's own student, None where it has none. Raises ConfigError for a folder that is no
    run, a run of another teacher, and another student."""
    read_run(run)
    if not (run / _STUDENT).is_file():
        return None
    check_teacher(run, fingerprint(teacher.net))
    own = load(run / _STUDENT)
    if given is not None and fingerprint(given.net) != fingerprint(own.net):
        raise ConfigError(
            f"The student is not that of the run in {run}: leave it out, or write a page of its "
            "own (-o PAGE)."
        )
    return own
