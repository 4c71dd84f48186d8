"""Matching colours: the photo's statistics, the cartoon's tones, and nothing that is not finite."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest
import torch
from cli_runs import run_cli, teacher_file
from nets import WIRINGS, difference
from PIL import Image
from slim_runs import settings
from torch import Tensor

import ganpress
from ganpress.data import open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.errors import ConfigError, ExportError, ImagesError
from ganpress.measures.colour import STRONGEST, match_colour, to_ycbcr
from ganpress.methods import compress as compression
from ganpress.methods import finish as finishing
from ganpress.methods.finish import Shown
from ganpress.models.checkpoint import Model, save
from ganpress.run.run import Run


def pictures(seed: int, spread: float = 0.1, n: int = 2, size: int = 24) -> Tensor:
    """Muted pictures, each with a tint of its own, (n, 3, size, size) within [-1, 1]."""
    draw = torch.Generator().manual_seed(seed)
    tint = torch.rand(n, 3, 1, 1, generator=draw) * 0.4 - 0.2
    return (tint + spread * torch.randn(n, 3, size, size, generator=draw)).clamp(-1, 1)


def statistics(picture: Tensor) -> Tensor:
    std, mean = torch.std_mean(to_ycbcr(picture), (2, 3), correction=0)
    return torch.stack([mean, std])


def test_luminance_and_chroma_are_those_of_bt_601() -> None:
    bars = torch.tensor([[1, 1, 1], [-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).float()
    y, blue, red = to_ycbcr(bars[:, :, None, None])[:, :, 0, 0].unbind(1)
    assert y.tolist() == pytest.approx([1, -1, 2 * 0.299 - 1, 2 * 0.587 - 1, 2 * 0.114 - 1])
    assert blue.tolist() == pytest.approx([0, 0, -0.299 / 0.886, -0.587 / 0.886, 1], abs=1e-6)
    assert red.tolist() == pytest.approx([0, 0, 1, -0.587 / 0.701, -0.114 / 0.701], abs=1e-6)


def test_a_matched_picture_has_the_chroma_of_its_photo_and_its_own_luminance() -> None:
    made, photo = pictures(1), pictures(2, spread=0.15)
    out = match_colour(made, photo)
    found, was, wanted = statistics(out), statistics(made), statistics(photo)
    assert difference(found[:, :, 1:], wanted[:, :, 1:]) < 1e-5
    assert difference(was[:, :, 1:], wanted[:, :, 1:]) > 0.02
    assert difference(to_ycbcr(out)[:, :1], to_ycbcr(made)[:, :1]) < 1e-6


def test_luminance_is_matched_where_asked() -> None:
    made, photo = pictures(1), pictures(2, spread=0.15)
    out = match_colour(made, photo, luminance=True)
    assert difference(statistics(out), statistics(photo)) < 1e-5
    assert difference(to_ycbcr(out)[:, :1], to_ycbcr(made)[:, :1]) > 0.02


def test_each_picture_is_matched_to_its_own_photo_of_any_size() -> None:
    made, photo = pictures(1), pictures(2, size=31)
    both = match_colour(made, photo)
    for i in range(2):
        assert difference(both[i : i + 1], match_colour(made[i : i + 1], photo[i : i + 1])) < 1e-6
    assert both.shape == made.shape


@pytest.mark.parametrize("luminance", [False, True])
def test_equal_pictures_stay_as_they_are(luminance: bool) -> None:
    made = pictures(3, spread=0.6)
    assert difference(match_colour(made, made, luminance=luminance), made) < 1e-5


@pytest.mark.parametrize("luminance", [False, True])
def test_pictures_of_one_colour_take_the_photos_mean_and_nothing_is_nan(luminance: bool) -> None:
    flat, photo = torch.full((2, 3, 8, 8), 0.1), pictures(2)
    flat[:, 1] = -0.2
    out = match_colour(flat, photo, luminance=luminance)
    first = 0 if luminance else 1
    assert difference(statistics(out)[0, :, first:], statistics(photo)[0, :, first:]) < 1e-5
    assert statistics(out)[1].max() < 1e-5
    back = match_colour(photo, flat, luminance=luminance)
    assert statistics(back)[1, :, first:].max() < 1e-5
    for a in (-1.0, 0.0, 1.0):
        grey = torch.full((1, 3, 4, 4), a)
        assert match_colour(grey, photo[:1], luminance=luminance).isfinite().all()


def test_rounding_in_a_picture_that_is_almost_grey_is_not_blown_up() -> None:
    made = pictures(1, spread=0.0) + 1e-3 * pictures(4, spread=0.5)
    out = match_colour(made, pictures(2, spread=0.3))
    was, found = statistics(made)[1, :, 1:], statistics(out)[1, :, 1:]
    assert (found <= STRONGEST * was + 1e-6).all()


def test_colours_that_cannot_be_shown_lose_chroma_not_luminance() -> None:
    made = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    photo = torch.where(pictures(5, spread=1.0) > 0, 1.0, -1.0)
    out = match_colour(made, photo)
    assert out.abs().max() <= 1
    assert (out.abs().amax(1) > 1 - 1e-5).any()  # the limit was met
    assert difference(to_ycbcr(out)[:, :1], to_ycbcr(made)[:, :1]) < 1e-5


def test_half_precision_comes_back_as_it_went_in() -> None:
    made = pictures(1).bfloat16()
    assert match_colour(made, pictures(2)).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 3, 8, 8), (3, 8, 8)])
def test_what_is_no_photo_of_each_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImagesError, match="as many photos, got"):
        ganpress.match_colour(torch.zeros(2, 3, 8, 8), torch.zeros(shape))


def read(path: Path) -> Tensor:
    with Image.open(path) as image:
        data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        flat = data.view(image.height, image.width, 3).permute(2, 0, 1)[None]
    return flat.float() / 127.5 - 1


def test_samples_of_a_run_can_have_the_colours_of_their_photos(tmp_path: Path) -> None:
    photos = open_images(write_folder(tmp_path / "photos", 2, size=40))
    model: Model = WIRINGS["cartoongan"].model()
    for how in (False, True):
        folder = tmp_path / str(how)
        shown = Shown.of(model, photos, None, match_colours=how)
        finishing.write_samples(folder, model, model, shown, 32)
    a, b = tmp_path / "False", tmp_path / "True"
    assert (a / "00000_photo.png").read_bytes() == (b / "00000_photo.png").read_bytes()
    photo, made = read(b / "00000_photo.png"), read(a / "00000_student.png")
    assert difference(read(b / "00000_student.png"), match_colour(made, photo)) < 4 / 127.5
    assert difference(read(b / "00000_student.png"), made) > 0.1


def test_a_generator_that_reads_no_photo_is_refused_before_it_trains(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no photo whose colours could be matched"):
        ganpress.compress(WIRINGS["sngan"].model(), None, run=tmp_path / "r", match_colours=True)
    assert not (tmp_path / "r").exists()


def test_the_command_matches_colours_and_the_report_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "photos", 2, size=40)
    asked = {}
    monkeypatch.setattr(compression, "compress", lambda *_, **how: asked.update(how))
    monkeypatch.setattr("ganpress.cli.compression.print_run", lambda _: None)
    teacher = teacher_file(tmp_path / "t.safetensors")
    line = ["compress", "slim", "-t", teacher, "--images", tmp_path / "photos", "--run"]
    assert run_cli(capsys, *line, tmp_path / "r", "--match-colours").code == 0
    assert asked["match_colours"] is True
    assert run_cli(capsys, *line, tmp_path / "r").code == 0
    assert asked["match_colours"] is False


@pytest.mark.parametrize("matched", [True, False])
def test_the_report_says_whose_colours_it_shows(
    matched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "compare_costs", lambda *_, **__: {"student": {}})
    monkeypatch.setattr(finishing, "export", refuse)
    photos = open_images(write_folder(tmp_path / "photos", 2, size=40))
    model, config = WIRINGS["cartoongan"].model(), settings()
    run = Run(tmp_path / "run", quiet=True, config=config.model_dump())
    save(model, run.root / "student.safetensors")
    shown = Shown.of(model, photos, None, match_colours=matched)
    finishing.finish(run, model, model, config, shown, weights=None)
    page = (run.root / "report.html").read_text()
    assert ("have colours as the photo's" in unescape(page)) == matched


def refuse(*_: object, **__: object) -> None:
    raise ExportError("not in this test")
