"""Projection: what it minimises, what it finds, and how it stops and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import FIRST, WIRINGS, each
from PIL import Image
from stops import stopping_after
from thin import thinned
from torch import Tensor

from ganpress.data import Images, evaluation, open_images
from ganpress.data.drawn.draw import write_folder
from ganpress.editing.latent_file import load_latent
from ganpress.editing.objective import Objective, noise_autocorrelation, normalised
from ganpress.editing.projection import project
from ganpress.editing.settings import ProjectSettings
from ganpress.errors import ConfigError, Interrupted
from ganpress.losses.picture_distance import load_distance
from ganpress.measures.comparison import eight_bit
from ganpress.measures.metrics.psnr import psnr
from ganpress.models.checkpoint import Model
from ganpress.run.files import make_folder, read_json


def settings(**changed: Any) -> ProjectSettings:
    return ProjectSettings(**{"distance": "tiny", "iterations": 6, "samples": 50, **changed})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("photos"), 3, seed=4, size=40)


@pytest.fixture(scope="module")
def photos(folder: Path) -> Images:
    return open_images(folder)


def stylegan2() -> Model:
    return WIRINGS["stylegan2"].model()


def pixels(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1


def test_the_autocorrelation_is_that_of_neighbours_at_every_scale() -> None:
    draw = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 1, side, side, generator=draw) for side in (4, 16, 32)]
    wanted = np.zeros(2)
    for row in range(2):
        for x in (m[row, 0].double().numpy() for m in maps):
            while True:
                wanted[row] += (x * np.roll(x, 1, 1)).mean() ** 2
                wanted[row] += (x * np.roll(x, 1, 0)).mean() ** 2
                if len(x) <= 8:
                    break
                x = x.reshape(len(x) // 2, 2, len(x) // 2, 2).mean((1, 3))
    assert noise_autocorrelation(maps).tolist() == pytest.approx(wanted.tolist(), rel=1e-4)
    same = torch.ones(1, 1, 16, 16)
    assert noise_autocorrelation([same]).item() == pytest.approx(4)  # two scales, two directions


def test_maps_are_normalised_each_by_itself() -> None:
    x = 3 + 5 * torch.randn(3, 1, 8, 8)
    found = normalised(x)
    assert torch.allclose(found.mean((2, 3)), torch.zeros(3, 1), atol=1e-6)
    assert torch.allclose(found.square().mean((2, 3)), torch.ones(3, 1), atol=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_terms_for_each_photo(photos: Images) -> None:
    model, distance = stylegan2(), load_distance("tiny")
    net: Any = model.net
    x = next(evaluation(photos, batch=2, size=16)).x
    s = settings(pixel=2.0, perceptual=3.0, noise=7.0)
    of = Objective(model, x, distance, s, start=torch.randn(net.styles, net.style_dim))
    rows = of.first_rows([torch.Generator().manual_seed(i) for i in (1, 2)])
    made = net.synthesis(of.codes(rows), *of.rest(rows))
    wanted = 2 * (made - x).square().flatten(1).mean(1) + 3 * distance(made, x)
    wanted = wanted + 7 * noise_autocorrelation(of.rest(rows))
    assert torch.allclose(of.losses(rows), wanted, rtol=1e-5)
    jitter = torch.randn_like(of.codes(rows))
    assert not torch.allclose(of.losses(rows, jitter=jitter), wanted, rtol=1e-2)


def test_psnr_is_its_formula_and_has_an_end() -> None:
    a, b = (torch.rand(4, 3, 5, 5) * 2 - 1 for _ in range(2))
    in_bytes = ((a - b).numpy() * 127.5).astype(np.float64)
    wanted = 20 * np.log10(255 / np.sqrt((in_bytes**2).mean((1, 2, 3))))
    assert psnr(a, b).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)
    assert psnr(a, a).tolist() == [100] * 4


@pytest.mark.parametrize(
    ("space", "optimiser"), thinned([("w", "adam"), ("w+", "lbfgs"), ("w+", "adam")], 2)
)
def test_pictures_of_the_network_itself_are_found_again(
    space: str, optimiser: str, tmp_path: Path
) -> None:
    model = stylegan2()
    net: Any = model.net
    z, *noise = net.draw(2, 16, torch.Generator().manual_seed(8))
    made = eight_bit(model(z, *noise))
    for i, picture in enumerate(made):
        grey = ((picture + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)
        Image.fromarray(grey.numpy()).save(tmp_path / f"{i}.png")
    asked = settings(space=space, optimiser=optimiser, iterations=40, noise=0.0)
    start = eight_bit(model(torch.zeros(2, 8), *noise))
    found = project(model, open_images(tmp_path), tmp_path / "run", settings=asked, quiet=True)
    assert found.mean["psnr"] > float(psnr(start, made).mean()) + 3
    assert found.mean["tiny-unit-distance"] < float(load_distance("tiny")(start, made).mean())


def test_a_latent_makes_the_picture_beside_it_and_its_figures(
    photos: Images, tmp_path: Path
) -> None:
    model = stylegan2()
    net: Any = model.net
    found = project(model, photos, tmp_path, settings=settings(batch=2), quiet=True)
    assert [path.name for path in found.latents] == [f"{n[:-4]}.safetensors" for n in photos.names]
    truth = torch.cat([b.x for b in evaluation(photos, batch=1, size=16)])
    for path, name, photo in zip(found.latents, photos.names, truth, strict=True):
        latent = load_latent(path, model)
        made = eight_bit(net.synthesis(latent.row[None], *latent.rest.values()).detach())
        assert (made - pixels(tmp_path / "pictures" / f"{path.stem}.png")).abs().max() < 0.01
        assert found.photos[name]["psnr"] == pytest.approx(psnr(made, photo[None]).item(), abs=0.01)
        assert latent.name == name
    results = read_json(tmp_path / "results.json")
    assert results["photos"] == dict(found.photos)
    assert "8-bit" in results["protocol"]["psnr"]
    assert "no learned weights" in results["protocol"]["tiny-unit-distance"]
    assert pixels(tmp_path / "sheet.png").shape == (1, 3, 2 * 18 - 2, 3 * 18 - 2)


@pytest.mark.parametrize("optimiser", thinned(["lbfgs", "adam"], 1))
def test_a_photos_latent_does_not_depend_on_the_photos_beside_it(
    photos: Images, optimiser: str, tmp_path: Path
) -> None:
    found = []
    for batch in (1, 3):
        asked = settings(batch=batch, optimiser=optimiser)
        run = project(stylegan2(), photos, tmp_path / str(batch), settings=asked, quiet=True)
        found.append([load_latent(path).row for path in run.latents])
    assert len(found[0]) == len(photos)
    for one, together in zip(*found, strict=True):
        assert torch.allclose(one, together, atol=1e-3)


@pytest.mark.parametrize(("optimiser", "stop"), thinned([("lbfgs", 6), ("adam", 9)], 1))
def test_a_stopped_projection_goes_on_bit_for_bit(
    photos: Images, optimiser: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(batch=2, optimiser=optimiser)
    whole = project(stylegan2(), photos, tmp_path / "whole", settings=asked, quiet=True)
    with stopping_after(stop, monkeypatch), pytest.raises(Interrupted):
        project(stylegan2(), photos, tmp_path / "two", settings=asked, quiet=True)
    assert len(list((tmp_path / "two" / "latents").iterdir())) == 2  # the first batch's
    parts = project(stylegan2(), photos, tmp_path / "two", settings=asked, quiet=True)
    for a, b in zip(whole.latents, parts.latents, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_a_finished_projection_is_only_read(
    photos: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project(stylegan2(), photos, tmp_path, settings=settings(), quiet=True)
    monkeypatch.setattr(Objective, "losses", None)
    assert project(stylegan2(), photos, tmp_path, settings=settings(), quiet=True) == first
    for changed in (settings(space="w"), settings(iterations=9)):
        with pytest.raises(ConfigError, match="other settings"):
            project(stylegan2(), photos, tmp_path, settings=changed, quiet=True)
    with pytest.raises(ConfigError, match="other settings:\n  network"):
        other = WIRINGS["stylegan2"].model(seed=1)
        project(other, photos, tmp_path, settings=settings(), quiet=True)


def test_small_photos_are_enlarged_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "xy":
        Image.new("RGB", (12, 30)).save(make_folder(tmp_path / "small") / f"{name}.png")
    large = write_folder(tmp_path / "large", 1, size=40)
    small = open_images(tmp_path / "small")
    project(stylegan2(), small, tmp_path / "a", settings=settings(iterations=1))
    assert "x.png and 1 more: smaller than the network's 16 pixels" in capsys.readouterr().err
    project(stylegan2(), open_images(large), tmp_path / "b", settings=settings(iterations=1))
    assert "smaller than" not in capsys.readouterr().err


@each({n: WIRINGS[n] for n in ("sngan", "sngan conditional")})
def test_a_generator_without_styles_is_projected_into_z(
    wiring: Any, photos: Images, tmp_path: Path
) -> None:
    model, label = wiring.model(), 2 if wiring.options.get("classes") else None
    before = {n: t.clone() for n, t in model.net.state_dict().items()}
    asked = settings(space="z", label=label)
    found = project(model, photos.some([0]), tmp_path, settings=asked, quiet=True)
    latent = load_latent(found.latents[0], model)
    made = eight_bit(model(latent.row[None], *latent.rest.values()))
    assert (made - pixels(next((tmp_path / "pictures").iterdir()))).abs().max() < 0.01
    assert all(torch.equal(before[n], t) for n, t in model.net.state_dict().items())
    with pytest.raises(ConfigError, match="no mapping network"):
        project(model, photos, tmp_path / "b", settings=settings(), quiet=True)


def test_classes_are_asked_for_where_there_are_some_and_refused_elsewhere(
    photos: Images, tmp_path: Path
) -> None:
    several = WIRINGS["sngan conditional"].model()
    for label, why in ((None, "0 to 3"), (4, "The class is 4")):
        with pytest.raises(ConfigError, match=why):
            project(several, photos, tmp_path, settings=settings(space="z", label=label))
    with pytest.raises(ConfigError, match="has no classes"):
        project(stylegan2(), photos, tmp_path, settings=settings(label=0))
    assert not list(tmp_path.iterdir())


@each({n: w for n, w in FIRST.items() if n not in ("stylegan2", "sngan")})
def test_generators_of_pictures_are_refused_with_the_reason(
    wiring: Any, photos: Images, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="not of a latent code: nothing can be projected"):
        project(wiring.model(), photos, tmp_path, settings=settings())
