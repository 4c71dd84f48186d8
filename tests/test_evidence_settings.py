"""The settings that GAN Compression's evidence is made with: their targets can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.once_for_all.parts import FURTHER, STUDENTS, TABLES, Rows

from ganpress.data import open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.methods import METHODS
from ganpress.methods.base import Given
from ganpress.methods.gan_slimming.targets import check_target
from ganpress.methods.once_for_all.requests import check_budget, space_of
from ganpress.models.checkpoint import Model, full_model, load
from ganpress.run.settings import read_config

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "benchmarks" / "once_for_all").glob("*.toml"))


def teacher_of(name: str) -> Model:
    """The network that the settings of this name compress."""
    if name == "hayao":
        return full_model("cartoongan")
    if name == "monet":
        return load(ROOT / "zoo" / "cyclegan-monet.safetensors")
    return load(ROOT / "zoo" / f"pix2pix-{name}.safetensors")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_target_of_evidence_can_be_reached(file: Path, tmp_path: Path) -> None:
    name, slim, _ = file.stem.partition("-slim")
    teacher = teacher_of(name)
    photos = write_folder(tmp_path / "photos", 2, size=32)
    pairs = photos if teacher.family.name == "pix2pix" else None
    method = METHODS["slim" if slim else "once-for-all"]
    given = Given(teacher, open_images(photos, pairs=pairs))
    c = method.resolve(given, read_config(method.settings, file, []))
    if slim:
        check_target(teacher, c)
    else:
        check_budget(teacher, space_of(teacher, c), c)
    assert 0 < c.target.macs < 1


@pytest.mark.parametrize(
    ("part", "rows"),
    [(part, row) for of in (TABLES, FURTHER) for part, rows in of.items() for row in rows],
    ids=str,
)
def test_the_rows_of_a_table_name_variants_and_students_that_there_are(
    part: str, rows: Rows
) -> None:
    assert set(rows.variants.split(",")) <= set(METHODS[rows.method].variants)
    assert rows.student in STUDENTS
    name = f"{part}-slim" if rows.method == "slim" else part
    assert name in {file.stem for file in FILES}


@pytest.mark.parametrize("part", TABLES)
def test_a_table_has_both_methods_and_both_baselines_at_three_seeds_of_the_closest(
    part: str,
) -> None:
    rows = [(name, row.seeds) for row in TABLES[part] for name in row.variants.split(",")]
    assert {(name, "0,1,2") for name in ("shrinking", "uniform", "gs-32")} <= set(rows)
    assert {"fast", "no-taps"} <= {name for name, _ in rows}
