"""The pictures that `ganpress compress` opens, by its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import run_cli
from nets import WIRINGS
from PIL import Image

from ganpress.data import Images, evaluation
from ganpress.methods import compress as module
from ganpress.models.checkpoint import save

SIDE = 32


def pixels(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


@pytest.mark.parametrize("whole", ["side by side", "two folders"])
def test_pairs_are_read_from_two_folders_or_from_halves_to_train_and_to_test(
    whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, seed in (("train", 1), ("test", 3)):
        for name, own in (("a", pixels(seed)), ("b", pixels(seed + 1))):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(own).save(tmp_path / part / name / "1.png")
        (tmp_path / part / "ab").mkdir()
        both = np.concatenate([pixels(seed), pixels(seed + 1)], 1)
        Image.fromarray(both).save(tmp_path / part / "ab" / "1.png")
    got: list[Images | None] = []

    def listen(teacher: Any, images: Images, *, test: Images | None, **rest: Any) -> None:
        got.extend([images, test])
        raise SystemExit(0)

    monkeypatch.setattr(module, "compress", listen)
    teacher = save(WIRINGS["pix2pix"].model(), tmp_path / "teacher.safetensors")
    line = ["compress", "slim", "--teacher", teacher, "--run", tmp_path / "run"]
    if whole == "side by side":
        line += ["--images", tmp_path / "train" / "ab", "--test", tmp_path / "test" / "ab"]
        line += ["--side-by-side", "AB"]
    else:
        line += ["--images", tmp_path / "train" / "a", "--pairs", tmp_path / "train" / "b"]
        line += ["--test", tmp_path / "test" / "a", "--test-pairs", tmp_path / "test" / "b"]
    assert run_cli(capsys, *line).code == 0
    for images, seed in zip(got, (1, 3), strict=True):
        assert images is not None and images.paired
        [batch] = evaluation(images, batch=1, size=SIDE)
        assert batch.y is not None
        for found, wanted in ((batch.x, pixels(seed)), (batch.y, pixels(seed + 1))):
            shown = ((found[0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
            assert np.array_equal(shown, wanted)
