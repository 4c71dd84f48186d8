"""Mixed styles, morphs, their smoothness, and the files they are shown in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import WIRINGS, each
from PIL import Image
from torch import Tensor

from ganpress.editing.animation import write_animation
from ganpress.editing.directions import find_directions
from ganpress.editing.latent_file import save_latent
from ganpress.editing.mixing import mix
from ganpress.editing.morphing import morph, smoothness
from ganpress.editing.pictures import Edited, beside_teacher, drawn_latents, edited
from ganpress.editing.results import Teacher, write_mix, write_morph
from ganpress.editing.settings import MorphSettings, ProjectSettings
from ganpress.editing.subjects import drawn_subjects
from ganpress.errors import CheckpointError, ConfigError
from ganpress.losses.lpips import PictureDistance
from ganpress.models.checkpoint import Model
from ganpress.run.files import read_json
from ganpress.run.settings import checked

LATENT = {n: WIRINGS[n] for n in ("stylegan2", "sngan", "sngan conditional")}


def stylegan2(seed: int = 0) -> Model:
    return WIRINGS["stylegan2"].model(seed)


class Mean:
    """The mean absolute difference."""

    name, protocol = "mean", "mean absolute difference"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().flatten(1).mean(1)


def mean() -> PictureDistance:
    return Mean()  # type: ignore[return-value]


def projected(model: Model, names: list[str]) -> list[Any]:
    """Latents of W+, as a projection leaves them."""
    net: Any = model.net
    drawn = drawn_latents(model, range(len(names)))
    draw = torch.Generator().manual_seed(1)
    row = lambda: torch.randn(net.styles, net.style_dim, generator=draw)  # noqa: E731
    return [
        replace(one, space="w+", row=row(), name=name, facts={"psnr": 20.0})
        for one, name in zip(drawn, names, strict=True)
    ]


def test_a_mixture_has_the_sources_styles_in_its_layers_alone() -> None:
    model = stylegan2()
    net: Any = model.net
    a, b = Edited(model, tuple(projected(model, ["x", "y", "z"]))), edited(model, ["5", "6"])
    found = mix(a, b, (1, 2))
    assert found.table.shape == (2, 3, 3, 16, 16)
    rows, noise = (a.rows("w+"), b.rows("w+")), b.rest(0)
    for i in range(2):
        for j in range(3):
            parts = [rows[1][i, :1], rows[0][j, 1:3], rows[1][i, 3:]]
            wanted = net.synthesis(torch.cat(parts)[None], *noise)[0]
            assert torch.allclose(found.table[i, j], wanted, atol=1e-5)
    crossover = mix(a, b, (0, 1)).table[0, 0]
    wanted = net.synthesis(torch.cat([rows[0][0, :2], rows[1][0, 2:]])[None], *noise)[0]
    assert torch.allclose(crossover, wanted, atol=1e-5)
    assert torch.equal(found.picture[0], torch.ones(3, 16, 16))
    assert torch.equal(found.picture[4], found.destinations[0])


def test_all_layers_give_the_source_and_noise_is_the_same_or_each_rows_own() -> None:
    model = stylegan2()
    a, b = edited(model, ["1"]), edited(model, ["2", "3"])
    last = model.net.styles - 1  # type: ignore[operator]
    whole = mix(a, b, (0, last))
    assert torch.allclose(whole.table[1, 0], whole.sources[0], atol=1e-5)
    own = mix(a, b, (0, 0), same_noise=False)
    assert torch.allclose(own.destinations[1], model(*inputs(b, 1))[0], atol=1e-5)
    assert not torch.allclose(own.destinations[1], whole.destinations[1], atol=1e-3)


def inputs(of: Edited, index: int) -> list[Tensor]:
    """What the network reads of a drawn latent."""
    return [of.latents[index].row[None], *of.rest(index)]


@pytest.mark.parametrize("layers", [(0, 6), (-1, 2), (3, 2), (9, 9)])
def test_a_range_of_layers_that_there_is_not_is_refused_with_the_range(
    layers: tuple[int, int],
) -> None:
    model = stylegan2()
    with pytest.raises(ConfigError, match="6 layers, 0 to 5: give a range such as 0-2"):
        mix(edited(model, ["1"]), edited(model, ["2"]), layers)


def test_styles_of_another_network_are_not_mixed_in() -> None:
    one, other = stylegan2(), stylegan2(seed=1)
    with pytest.raises(ConfigError, match=r"The source 'seed 1' is a latent of another network"):
        mix(edited(one, ["1"]), edited(other, ["2"]), (0, 2))


def test_seeds_beyond_what_torch_takes_are_refused_wherever_they_are_given() -> None:
    model, words = stylegan2(), rf"The seed is {2**63}: give a whole number from 0 to {2**63 - 1}"
    for draw in (
        lambda: edited(model, [str(2**63)]),
        lambda: drawn_subjects(model, [0, 2**63]),
        lambda: find_directions(model, samples=50, seed=2**63),
    ):
        with pytest.raises(ConfigError, match=words):
            draw()
    with pytest.raises(ConfigError, match="seed: Input should be less than or equal to"):
        checked(ProjectSettings, {"seed": 2**63})


def test_a_digit_that_is_no_number_is_no_seed() -> None:
    assert edited(stylegan2(), ["٣"]).latents[0].name == "seed 3"
    with pytest.raises(CheckpointError, match="²"):
        edited(stylegan2(), ["²"])


def test_styles_are_mixed_only_where_there_are_some() -> None:
    model = WIRINGS["sngan"].model()
    with pytest.raises(ConfigError, match="no mapping network"):
        mix(edited(model, ["1"]), edited(model, ["2"]), (0, 0))
    with pytest.raises(ConfigError, match="There is no source to mix"):
        mix(edited(stylegan2(), []), edited(stylegan2(), ["2"]), (0, 0))


@each(LATENT)
def test_a_morphs_ends_are_the_latents_own_pictures(wiring: Any) -> None:
    model = wiring.model()
    of = edited(model, ["1", "2", "3"])
    found = morph([of], frames=9)
    assert found.frames.shape[:2] == (1, 9)
    for index, frame in enumerate((0, 4, 8)):
        assert torch.allclose(found.frames[0, frame], model(*inputs(of, index))[0], atol=1e-4)
    assert found.space == "z"
    assert found.strip(3).shape[0] == 3


def test_styles_go_along_lines_and_noise_keeps_its_variance() -> None:
    model = stylegan2()
    net: Any = model.net
    a, b = projected(model, ["x", "y"])
    found = morph([Edited(model, (a, b))], frames=5)
    assert found.space == "w+"
    noise = []
    for name, x in a.rest.items():
        u, v = x.flatten().double(), b.rest[name].flatten().double()
        angle = torch.dot(u / u.norm(), v / v.norm()).arccos()
        between = (u / u.norm() + v / v.norm()) * (angle / 2).sin() / angle.sin()
        noise.append((between * (u.norm() + v.norm()) / 2).view_as(x).float())
    middle = net.synthesis((a.row + b.row)[None] / 2, *noise)[0]
    assert torch.allclose(found.frames[0, 2], middle, atol=1e-4)


def test_smoothness_is_of_neighbouring_frames_and_a_ratio_to_the_teachers() -> None:
    steps = torch.tensor([1.0, 2.0, 4.0, 1.0])
    student = torch.cat([torch.zeros(1), steps.cumsum(0)]).view(5, 1, 1, 1).expand(5, 3, 4, 4)
    found = smoothness(torch.stack([student * 0.5, student]), mean())
    assert found["morph-step-mean-5-mean"] == pytest.approx(2)
    assert found["morph-step-mean-5-mean, the teacher"] == pytest.approx(1)
    assert found["morph-step-mean-5-mean, ratio"] == pytest.approx(2)
    assert found["morph-step-p99-5-mean"] == pytest.approx(4 - 0.03 * 2)  # linear between 2 and 4
    alone = smoothness(student[None], mean())
    assert list(alone) == ["morph-step-mean-5-mean", "morph-step-p99-5-mean"]


def test_fewer_than_two_latents_or_too_few_frames_are_no_morph() -> None:
    model = stylegan2()
    with pytest.raises(ConfigError, match="at least two latents, not 1"):
        morph([edited(model, ["1"])])
    with pytest.raises(ConfigError, match="2 frames for 3 latents: give at least 3"):
        morph([edited(model, ["1", "2", "3"])], frames=2)
    with pytest.raises(ConfigError, match="cannot be taken as one of 'w'"):
        morph([Edited(model, tuple(projected(model, ["x", "y"])))], space="w")


def test_a_student_is_shown_below_its_teacher_on_the_same_draws() -> None:
    teacher, student = stylegan2(), stylegan2(seed=1)
    above, below = beside_teacher(edited(student, ["1", "2"]), teacher)
    assert above.model is teacher
    assert torch.equal(above.latents[1].row, below.latents[1].row)
    found = morph([above, below], frames=4, distance=mean())
    assert torch.allclose(found.frames[0, 0], teacher(*inputs(below, 0))[0], atol=1e-4)
    assert torch.allclose(found.frames[1, 0], student(*inputs(below, 0))[0], atol=1e-4)
    same = beside_teacher(edited(teacher, ["1", "2"]), stylegan2())
    ratio = morph(same, frames=4, distance=mean()).smoothness["morph-step-mean-4-mean, ratio"]
    assert ratio == pytest.approx(1)


def test_a_projection_is_shown_beside_the_teachers_own_projection_of_that_photo(
    tmp_path: Path,
) -> None:
    teacher, student = stylegan2(), stylegan2(seed=1)
    for one in projected(teacher, ["b", "a"]):
        save_latent(one, tmp_path / "latents" / f"{one.name}.safetensors")
    below = Edited(student, tuple(projected(student, ["a", "b"])))
    above, _ = beside_teacher(below, teacher, [tmp_path])
    assert [latent.name for latent in above.latents] == ["a", "b"]
    with pytest.raises(ConfigError, match="no projection of 'a' by the teacher"):
        beside_teacher(below, teacher)
    with pytest.raises(ConfigError, match="do not read the same inputs"):
        beside_teacher(edited(student, ["1"]), WIRINGS["sngan"].model())


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_an_animation_has_its_frames_and_seconds(ending: str, tmp_path: Path) -> None:
    frames = torch.rand(2, 10, 3, 16, 16) * 2 - 1
    path = write_animation(frames, tmp_path / f"a.{ending}", seconds=2.0)
    with Image.open(path) as film:
        assert film.n_frames == 10  # type: ignore[attr-defined]
        assert film.size == (16, 34)
        film.load()
        assert film.info["duration"] == 200
        assert film.info["loop"] == 0


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_an_animation_takes_its_seconds_where_its_frames_are_no_whole_steps(
    ending: str, tmp_path: Path
) -> None:
    """29 ms each: a GIF counts hundredths of a second."""
    frames = torch.rand(1, 100, 3, 8, 8) * 2 - 1
    path, durations = write_animation(frames, tmp_path / f"a.{ending}", seconds=2.9), []
    with Image.open(path) as film:
        for index in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(index)
            film.load()
            durations.append(film.info["duration"])
    assert sum(durations) == 2900
    assert max(durations) - min(durations) <= 10


def test_an_animation_of_another_kind_or_too_fast_is_refused(tmp_path: Path) -> None:
    frames = torch.zeros(1, 100, 3, 8, 8)
    with pytest.raises(ConfigError, match=r"end its name with .gif or .webp"):
        write_animation(frames, tmp_path / "a.mp4", seconds=1)
    with pytest.raises(ConfigError, match=r"10 ms each: a GIF shows at least 20 ms.*at most 50"):
        write_animation(frames, tmp_path / "a.gif", seconds=1)
    with pytest.raises(ConfigError, match=r"19\.9 ms each: a GIF shows at least 20 ms.*at most 99"):
        write_animation(frames, tmp_path / "a.gif", seconds=1.99)
    for ending, most in (("gif", 655), ("webp", 16777)):
        with pytest.raises(ConfigError, match=f"s each: a {ending.upper()} shows at most {most}"):
            write_animation(frames[:, :2], tmp_path / f"a.{ending}", seconds=1e6)
    assert not list(tmp_path.iterdir())


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_what_is_written_are_a_strip_an_animation_a_table_and_figures(tmp_path: Path) -> None:
    teacher, student = stylegan2(), stylegan2(seed=1)
    of = Teacher(teacher)
    how = MorphSettings(frames=6, seconds=1, distance="tiny")
    film = write_morph(student, ["1", "2"], tmp_path, how, teacher=of)
    assert size_of(tmp_path / "strip.png") == (6 * 18 - 2, 2 * 18 - 2)
    assert read_json(tmp_path / "results.json")["smoothness"] == film.figures
    assert set(film.figures) == {
        f"morph-step-{figure}-6-tiny-unit-distance{of}"
        for figure in ("mean", "p99")
        for of in ("", ", the teacher", ", ratio")
    }
    write_mix(student, ["1", "2"], ["3"], tmp_path, layers=(0, 2), teacher=of)
    assert size_of(tmp_path / "mix.png") == (3 * 18 - 2, 4 * 18 - 2)


@pytest.mark.parametrize("write", ["morph", "mix"])
def test_a_file_in_the_place_of_the_folder_is_refused_before_any_picture_is_made(
    write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("pictures were made")

    monkeypatch.setattr(f"ganpress.editing.results.{write}", work)
    taken = tmp_path / "taken.png"
    taken.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"taken.png cannot be made"):
        if write == "morph":
            write_morph(stylegan2(), ["1", "2"], taken)
        else:
            write_mix(stylegan2(), ["1"], ["2"], taken, layers=(0, 2))
    assert taken.read_bytes() == b"mine"
