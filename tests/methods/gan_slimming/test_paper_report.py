"""The paper's tables from result files: ratios as the paper has them, names that claim nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganpress.errors import ConfigError
from ganpress.methods.gan_slimming.published import (
    PUBLISHED,
    distance_name,
    paper_tables,
    score_name,
)
from ganpress.report.pictures import whole_picture


def judged(protocol: str = "60 images", **metrics: float) -> dict[str, Any]:
    return {
        "metrics": {name.replace("_", "-"): value for name, value in metrics.items()},
        "protocol": {"reference": protocol, "features": "squeezenet, sha256 1234"},
        "count": 60,
    }


def write_run(
    root: Path,
    *,
    family: str = "cyclegan",
    scale: float = 1.0,
    teacher: dict[str, Any] | None = None,
    student: dict[str, Any] | None = None,
) -> Path:
    """A finished compression: 60 M MACs to 4 M, 40 MB to 2 MB."""
    root.mkdir(parents=True, exist_ok=True)
    before = {"macs": 6e7, "macs_outres": 8e7, "bytes": 4e7, "params": 1e7, "size": 256}
    after = {"macs": 4e6, "macs_outres": 5e6, "bytes": 2e6, "params": 5e5, "size": 256}
    ratios = {"macs": 15.0 * scale, "macs_outres": 16.0 * scale, "bytes": 20.0 * scale}
    model = {"family": family, "teacher": before, "student": after, "ratios": ratios}
    (root / "results.json").write_text(json.dumps({"model": model}))
    (root / "config.json").write_text(json.dumps({"procedure": "gs"}))
    for name, content in (("judged-teacher", teacher), ("judged-student", student)):
        if content is not None:
            (root / f"{name}.json").write_text(json.dumps(content))
    return root


def row_of(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_are_teacher_over_student_in_both_conventions(tmp_path: Path) -> None:
    text = paper_tables(write_run(tmp_path / "run"))
    assert row_of(text, "r_s, MACs (out-res")[1:] == ["16"]
    assert row_of(text, "r_s, MACs (true")[1:] == ["15"]
    assert row_of(text, "r_c")[1:] == ["20"]
    assert row_of(text, "r_f")[1:] == ["not measured"]
    assert "ganpress evaluate" in text


def test_r_f_is_the_ratio_of_distances_to_real_pictures_and_names_its_features(
    tmp_path: Path,
) -> None:
    run = write_run(
        tmp_path, teacher=judged(frechet_squeezenet=6.0), student=judged(frechet_squeezenet=8.0)
    )
    text = paper_tables(run)
    assert row_of(text, "r_f") == ["r_f, frechet-squeezenet (not FID)", "0.75"]
    assert "- reference: 60 images" in text and "- pictures: 60" in text


def test_only_inception_features_make_it_fid_and_is() -> None:
    assert distance_name("fid-tf1-uint8-9-vs-9-ab") == "FID (fid-tf1-uint8-9-vs-9-ab)"
    assert distance_name("frechet-inception-tf1@1a2b3c4d").endswith("(not FID)")
    assert distance_name("frechet-squeezenet-1.1-caffe").endswith("(not FID)")
    assert score_name("is-inception-tf1-uint8-9x9") == "IS (is-inception-tf1-uint8-9x9)"
    assert score_name("is-inception-tf1@1a2b3c4d").endswith("(not IS)")
    assert score_name("is-resnet56") == "is-resnet56 (not IS)"


def test_numbers_of_unlike_protocols_are_not_divided(tmp_path: Path) -> None:
    run = write_run(
        tmp_path,
        teacher=judged(frechet_squeezenet=6.0),
        student=judged("59 images", frechet_squeezenet=8.0),
    )
    with pytest.raises(ConfigError, match=r"not measured alike \(reference\)"):
        paper_tables(run)


def test_the_papers_own_numbers_stand_beside_and_are_marked(tmp_path: Path) -> None:
    text = paper_tables(write_run(tmp_path))
    ours, theirs = text.split(PUBLISHED)
    assert "4.66" not in ours
    assert row_of(theirs, "horse to zebra, r_s")[1:] == ["4.23", "3.91", "4.66", "4.81"]
    assert row_of(theirs, "summer to winter, r_c")[1:] == ["5.44", "4.00", "6.77", "38.10"]


def test_sngan_has_absolute_numbers_and_a_score(tmp_path: Path) -> None:
    run = write_run(
        tmp_path,
        family="sngan",
        teacher=judged(is_resnet56=8.0, frechet_tiny=2.0),
        student=judged(is_resnet56=7.6, frechet_tiny=4.0),
    )
    ours, theirs = paper_tables(run).split(PUBLISHED)
    assert row_of(ours, "original")[1:] == ["80", "40", "8"]
    assert row_of(ours, "gs |")[1:] == ["5", "2", "7.6"]
    assert row_of(ours, "is-resnet56 (not IS) |")[1:] == ["7.6"]
    assert row_of(ours, "is-resnet56 (not IS), teacher")[1:] == ["8"]
    assert row_of(theirs, "original")[1:] == ["1,602.75", "16.28", "8.27"]


def test_cartoongan_has_no_published_distance(tmp_path: Path) -> None:
    theirs = paper_tables(write_run(tmp_path, family="cartoongan")).split(PUBLISHED)[1]
    assert row_of(theirs, "r_s")[1:] == ["42", "47"] and row_of(theirs, "r_f")[1:] == ["–", "–"]


def test_an_ablation_gives_a_column_an_arm_with_spread_over_seeds(tmp_path: Path) -> None:
    for seed, far in ((0, 8.0), (1, 12.0)):
        write_run(
            tmp_path / f"gs-32-{seed}",
            scale=1.0 + 0.1 * seed,
            student=judged(frechet_squeezenet=far),
        )
    write_run(tmp_path / "gd-0", student=judged(frechet_squeezenet=24.0))
    teacher = judged(frechet_squeezenet=6.0)
    (tmp_path / "judged-teacher.json").write_text(json.dumps(teacher))
    variants = [
        {"variant": "gd", "runs": ["gd-0"]},
        {"variant": "gs-32", "runs": ["gs-32-0", "gs-32-1"]},
    ]
    (tmp_path / "ablation.json").write_text(json.dumps({"variants": variants}))
    text = paper_tables(tmp_path)
    assert row_of(text, " |")[1:] == ["gd", "gs-32"]
    assert row_of(text, "r_c")[1:] == ["20", "21 ± 1.4"]
    assert row_of(text, "r_f")[1:] == ["0.25", "0.625 ± 0.18"]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no results\.json"):
        paper_tables(tmp_path)
    (tmp_path / "ablation.json").write_text('{"variants": []}')
    with pytest.raises(ConfigError, match="No variant"):
        paper_tables(tmp_path)


def test_a_picture_of_nothing_but_noise_can_be_shown(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (520, 520, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert whole_picture(tmp_path / "noise.png", "noise", "noise").src.startswith("data:image/jpeg")
