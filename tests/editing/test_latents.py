"""Latent files: what they hold, and what is refused of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import WIRINGS, each
from safetensors.torch import save_file

from ganpress import editing
from ganpress.editing.latent_file import Latent, latents_at, load_latent, save_latent
from ganpress.editing.names import file_stems
from ganpress.editing.pictures import Edited, drawn_latents
from ganpress.errors import CheckpointError, ConfigError
from ganpress.models.checkpoint import Model, save
from ganpress.models.spaces import check_space, in_space, spaces_of

LATENT = {n: WIRINGS[n] for n in ("stylegan2", "sngan", "sngan conditional")}


def stylegan2(seed: int = 0) -> Model:
    return WIRINGS["stylegan2"].model(seed)


def in_plus(model: Model, seed: int = 0) -> Latent:
    """A latent of W+ whose styles all differ."""
    one = drawn_latents(model, [seed])[0]
    net: Any = model.net
    row = torch.randn(net.styles, net.style_dim, generator=torch.Generator().manual_seed(seed))
    return replace(one, space="w+", row=row, name=f"photo {seed}")


@each(LATENT)
def test_a_latent_comes_back_from_its_file(wiring: Any, tmp_path: Path) -> None:
    model = wiring.model()
    one = replace(drawn_latents(model, [5])[0], facts={"psnr": 21.5})
    found = load_latent(save_latent(one, tmp_path / "a.safetensors"), model)
    assert torch.equal(found.row, one.row)
    assert found.rest.keys() == one.rest.keys()
    assert all(torch.equal(found.rest[name], x) for name, x in one.rest.items())
    assert (found.space, found.name, found.facts) == ("z", "seed 5", {"psnr": 21.5})


def test_a_latent_of_another_network_is_refused(tmp_path: Path) -> None:
    path = save_latent(in_plus(stylegan2()), tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=r"a.safetensors is a latent of another network"):
        load_latent(path, stylegan2(seed=1))
    with pytest.raises(ConfigError, match="'photo 0' is a latent of another network"):
        Edited(stylegan2(seed=1), (in_plus(stylegan2()),))


def test_files_that_are_no_latents_say_what_they_are(tmp_path: Path) -> None:
    model = stylegan2()
    with pytest.raises(CheckpointError, match=r"ganpress model.*, not a latent code"):
        load_latent(save(model, tmp_path / "model.safetensors"))
    save_file({"latent": torch.zeros(3)}, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="not a latent code"):
        load_latent(tmp_path / "plain.safetensors")
    whole = save_latent(in_plus(model), tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"half\.safetensors"):
        load_latent(tmp_path / "half.safetensors")
    with pytest.raises(CheckpointError, match=r"did you mean 'a.safetensors'"):
        load_latent(tmp_path / "b.safetensors")
    with pytest.raises(ConfigError, match="has no latents"):
        latents_at([make(tmp_path / "empty")], model)


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_latent_that_is_not_whole_says_what_is_missing(tmp_path: Path) -> None:
    model, whole = stylegan2(), in_plus(stylegan2())
    short = replace(whole, rest={n: x for n, x in whole.rest.items() if n != "noise_1"})
    for wrong, name in ((replace(whole, row=whole.row[1:]), "latent"), (short, "noise_1")):
        path = save_latent(wrong, tmp_path / "a.safetensors")
        with pytest.raises(CheckpointError, match=f"'{name}' should be"):
            load_latent(path, model)
    with pytest.raises(CheckpointError, match="not finite"):
        save_latent(replace(whole, row=whole.row * torch.nan), tmp_path / "a.safetensors")


def test_a_code_of_a_smaller_space_is_the_same_picture_in_a_larger_one() -> None:
    net: Any = stylegan2().net
    z, *noise = net.draw(2, 16, torch.Generator().manual_seed(0))
    w, plus = (in_space(net, z, "z", space) for space in ("w", "w+"))
    assert plus.shape == (2, net.styles, net.style_dim)
    pictures = net(z, *noise), net.synthesis(w, *noise), net.synthesis(plus, *noise)
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2])


def test_styles_that_differ_are_refused_where_one_is_wanted() -> None:
    rows = Edited(stylegan2(), (in_plus(stylegan2()), drawn_latents(stylegan2(), [1])[0]))
    assert rows.largest_space == "w+"
    assert rows.rows("w+").shape[0] == 2
    with pytest.raises(ConfigError, match=r"'photo 0': A latent of 'w\+' cannot be taken as .*'w'"):
        rows.rows("w")


@each(WIRINGS)
def test_only_generators_that_read_noise_have_latent_spaces(wiring: Any) -> None:
    model = wiring.model()
    wanted = {"stylegan2": ("z", "w", "w+"), "sngan": ("z",)}.get(wiring.name, ())
    assert spaces_of(model) == wanted
    if not wanted:
        with pytest.raises(ConfigError, match="nothing can be projected, mixed or morphed"):
            check_space(model, "w+")


def test_a_space_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'w\+'"):
        check_space(stylegan2(), "w++")
    with pytest.raises(ConfigError, match="no mapping network"):
        check_space(WIRINGS["sngan"].model(), "w+")


def test_names_of_files_are_short_and_differ() -> None:
    names = ["a/x.png", "b/x.jpg", "c/y.tar.png", "00012", "b/x.png", ".png"]
    assert file_stems(names) == ["a-x", "b-x", "y.tar", "00012", "b-x-2", "png"]


def test_the_rooms_names_are_those_of_their_homes() -> None:
    assert sorted(editing._HOME) == sorted(editing.__all__) == list(editing.__all__)
    for name in editing.__all__:
        assert (getattr(editing, name).__doc__ or "").strip()
    with pytest.raises(AttributeError, match="no attribute 'projekt'"):
        _ = editing.projekt  # type: ignore[attr-defined]
