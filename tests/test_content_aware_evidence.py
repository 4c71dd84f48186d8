"""The tables of `benchmarks.content_aware`, from runs' files that are written out here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.content_aware import faces, students
from benchmarks.content_aware.tables import closest_twin, keep, write_all

PATH = "ppl-w-few-net-unit-distance"
WHOLE, INSIDE = "net-unit-distance", "net-masked-unit-distance"


def numbers(inside: list[float], whole: float = 2.0) -> dict[str, Any]:
    """A variant's numbers as ablation.json has them, of as many seeds as values."""

    def one(*values: float) -> dict[str, Any]:
        return {
            "mean": float(np.mean(values)),
            "spread": float(np.ptp(values)),
            "values": [*values],
        }

    return {
        INSIDE: one(*inside), WHOLE: one(whole), "l1": one(0.1), "masked-l1": one(0.1),
        "ratio/macs": one(4.0), "training_steps": one(100.0), "training_seconds": one(240.0),
        f"real/{WHOLE}": one(9.0), "real/frechet-net": one(70.0),
    }  # fmt: skip


def write(runs: Path, folder: str, variants: dict[str, dict[str, Any]]) -> None:
    rows = [{"variant": name, "numbers": found} for name, found in variants.items()]
    path = runs / folder / "ablation.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"variants": rows, "judged_teacher": {"frechet-net": 50.0}}))


@pytest.fixture()
def runs(tmp_path: Path) -> Path:
    write(tmp_path, "quarter", {
        "content-aware": numbers([1.0, 1.1, 1.2]),
        "random": numbers([2.0, 2.1, 2.2]),
        "unmasked": numbers([1.1, 1.4, 0.9], whole=1.5),
        "stylekd": numbers([3.0]),
    })  # fmt: skip
    write(tmp_path, "quarter-slim", {"gs-32": numbers([0.5])})
    return tmp_path


def test_variants_of_all_methods_stand_in_one_table_in_order_of_the_distance_inside_the_mask(
    runs: Path, tmp_path: Path
) -> None:
    keep(runs, "quarter", tmp_path)
    found = json.loads((tmp_path / "content-aware-quarter.json").read_text())
    assert found["metrics"] == [WHOLE, INSIDE]
    order = [(row["method"], row["variant"]) for row in found["rows"]]
    assert order[0] == ("slim", "gs-32")
    assert [variant for _, variant in order[1:]] == [
        "content-aware", "unmasked", "random", "stylekd",
    ]  # fmt: skip
    against = {row["variant"]: row["against"] for row in found["rows"] if "against" in row}
    assert against["random"][INSIDE]["smaller by"] == pytest.approx(1.0)
    # Welch by hand: both standard errors are 0.1 / sqrt(3)
    assert against["random"][INSIDE]["units"] == pytest.approx(1.0 / (0.1 * (2 / 3) ** 0.5))
    assert against["random"][INSIDE]["clear"]
    assert not against["unmasked"][INSIDE]["clear"]
    assert against["unmasked"][WHOLE]["smaller by"] == pytest.approx(-0.5)
    assert "units" not in against["stylekd"][INSIDE]
    assert "content-aware" not in against


def test_the_page_says_what_is_clear_and_how_far_the_teacher_is(runs: Path, tmp_path: Path) -> None:
    write_all(tmp_path)
    assert "Nothing of it has been run yet." in (tmp_path / "content-aware.md").read_text()
    keep(runs, "quarter", tmp_path)
    keep(runs, "eleventh", tmp_path)
    write_all(tmp_path)
    page = (tmp_path / "content-aware.md").read_text()
    rows = {line.split(" | ")[1]: line for line in page.splitlines() if line.startswith("| ")}
    assert rows["random"].endswith("1 (12.2 units, clear) |")
    assert "clear" not in rows["unmasked"]
    assert rows["stylekd"].endswith("| 1.9 |")
    assert "The teacher's own distance to real pictures: 50." in page
    assert "## eleventh" not in page
    assert "Nothing of it" not in page
    assert not (tmp_path / "content-aware-eleventh.json").exists()


def test_the_twin_that_gets_more_seeds_is_the_nearest_one_inside_the_mask(runs: Path) -> None:
    assert closest_twin(runs / "quarter") == "unmasked"


def test_a_student_is_shown_with_what_its_commands_found(tmp_path: Path) -> None:
    folder = tmp_path / "students" / "teacher"
    files = {
        "distances.json": ["squeezenet"],
        "distance-squeezenet.json": {"metrics": {WHOLE: 0.25}, "yardsticks": {}, "protocol": {}},
        "paths.json": {
            "metrics": {PATH: 120.0}, "yardsticks": {f"{PATH}, the teacher": 7.0},
            "protocol": {},
        },
        "projection/results.json": {
            "mean": {"psnr": 25.0, "distance": 0.125},
            "photos": {"lfw-a.jpg": {"psnr": 26.0}, "lfw-b.jpg": {"psnr": 27.0}},
        },
        "morph/results.json": {"smoothness": {"morph-step-mean-60, ratio": 1.5}},
    }  # fmt: skip
    for name, what in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(what))
    keep(tmp_path, "students", tmp_path)
    write_all(tmp_path)
    page = (tmp_path / "content-aware.md").read_text()
    [row] = [line for line in page.splitlines() if line.startswith("| teacher ")]
    assert row == "| teacher | 0.25 | 120 | – | 26.5 | 0.125 | 1.5 | – |"
    assert students.figures(folder)[f"{PATH}, the teacher"] == 7.0


def test_some_pictures_of_a_pack_keep_their_bytes_names_and_the_classes(tmp_path: Path) -> None:
    whole = {
        "jpeg": np.arange(9, dtype=np.uint8), "offsets": np.array([0, 2, 5, 9]),
        "names": np.array(["a", "b", "c"]), "classes": np.array(["x", "y"]),
    }  # fmt: skip
    np.savez(tmp_path / "whole.npz", **whole)
    with np.load(tmp_path / "whole.npz") as pack:
        faces.save_some(tmp_path / "some.npz", pack, np.array([0, 2]))
    some = np.load(tmp_path / "some.npz")
    assert some["jpeg"].tolist() == [0, 1, 5, 6, 7, 8]
    assert some["offsets"].tolist() == [0, 2, 6]
    assert some["names"].tolist() == ["a", "c"]
    assert some["classes"].tolist() == ["x", "y"]
