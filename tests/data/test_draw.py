"""The drawn landscapes and their posters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganpress.data.drawn.draw import GROUNDS, TIMES, draw, plan, stylise, write_folder
from ganpress.errors import ConfigError, DiskFull


def test_the_same_seed_and_index_give_the_same_picture_and_others_do_not() -> None:
    first = draw(3, 5)
    assert np.array_equal(first, draw(3, 5))
    assert not np.array_equal(first, draw(3, 6))
    assert not np.array_equal(first, draw(4, 5))


def test_drawing_does_not_touch_numpys_global_random_state() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    stylise(draw(0, 0, 32))
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("size", [16, 33, 96, 200])
def test_pictures_and_posters_have_the_size_asked_for(size: int) -> None:
    picture = draw(0, 1, size)
    assert picture.shape == stylise(picture).shape == (size, size, 3)
    assert picture.dtype == stylise(picture).dtype == np.uint8


def test_a_scene_is_the_same_at_every_size() -> None:
    for index in range(6):
        small = draw(0, index, 64).astype(float)
        large = Image.fromarray(draw(0, index, 128)).resize((64, 64), Image.Resampling.BOX)
        other = draw(0, index + 6, 64).astype(float)
        same = np.abs(small - np.asarray(large, float)).mean()
        assert same < 14
        assert same < 0.5 * np.abs(small - other).mean()


def test_pictures_use_the_range_and_have_smooth_parts_edges_and_colour() -> None:
    many = np.stack([draw(1, index, 64) for index in range(40)]).astype(np.float32)
    assert many.min() < 25 and many.max() > 235
    steps = np.abs(np.diff(many, axis=2)).mean(axis=3)
    assert np.median(steps) < 6
    assert (steps > 40).mean() > 0.01
    assert (many.max(3) - many.min(3)).mean() > 30


def test_every_ground_and_time_of_day_comes_up_and_only_the_sea_has_boats() -> None:
    scenes = [plan(0, index) for index in range(300)]
    assert {scene.ground for scene in scenes} == set(GROUNDS)
    assert {scene.time for scene in scenes} == set(TIMES)
    assert all((scene.boats > 0) == (scene.ground == "sea") for scene in scenes)


def test_a_poster_is_deterministic_warmer_and_flatter_than_its_picture() -> None:
    pictures = np.stack([draw(2, index) for index in range(12)])
    posters = np.stack([stylise(picture) for picture in pictures])
    assert np.array_equal(posters[0], stylise(pictures[0]))
    red_over_blue = [(a[..., 0].astype(float) - a[..., 2]).mean() for a in (pictures, posters)]
    assert red_over_blue[1] > red_over_blue[0] + 10
    steps = [np.median(np.abs(np.diff(a.astype(float), axis=2))) for a in (pictures, posters)]
    assert steps[1] < steps[0]
    assert np.abs(pictures.astype(float) - posters).mean() > 15


def test_a_poster_is_a_local_function_of_the_picture() -> None:
    picture = draw(0, 2)
    changed = picture.copy()
    changed[:, :20] = 128
    differs = (stylise(picture) != stylise(changed)).any(axis=(0, 2))
    assert differs[:20].any() and not differs[30:].any()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((0, 0, 8), "16 pixels"), ((-1, 0, 32), "0 or more"), ((0, -1, 32), "0 or more")],
)
def test_sizes_and_seeds_that_cannot_be_drawn_are_refused(
    arguments: tuple[int, int, int], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        draw(*arguments)


def test_stylise_refuses_floats() -> None:
    with pytest.raises(ConfigError, match="uint8"):
        stylise(np.zeros((32, 32, 3), np.float32))  # type: ignore[arg-type]


def test_a_folder_holds_the_pictures_and_a_stylised_folder_their_pairs(tmp_path: Path) -> None:
    a = write_folder(tmp_path / "new" / "a", 3, seed=9, size=32)
    b = write_folder(tmp_path / "b", 3, seed=9, size=32, stylised=True)
    names = ["000000.png", "000001.png", "000002.png"]
    assert sorted(path.name for path in a.iterdir()) == names
    assert sorted(path.name for path in b.iterdir()) == names
    assert np.array_equal(np.asarray(Image.open(a / names[2])), draw(9, 2, 32))
    assert np.array_equal(np.asarray(Image.open(b / names[2])), stylise(draw(9, 2, 32)))


def test_a_full_disk_is_named_and_no_half_picture_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(DiskFull, match="0 of 2 pictures"):
        write_folder(tmp_path, 2, size=16)
    assert list(tmp_path.iterdir()) == []


def test_drawing_does_not_import_torch() -> None:
    code = "import sys, ganpress.data.drawn.draw; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
