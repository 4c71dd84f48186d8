"""Edit directions against numpy's SVD and an eigen-decomposition written out; moved, stored, and
refused on another network."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import FIRST, WIRINGS, Wiring
from safetensors.torch import save_file
from torch import Tensor

from ganpress.editing.direction_file import load_directions, save_directions
from ganpress.editing.directions import Directions, find_directions, move
from ganpress.editing.latents import latent_space
from ganpress.errors import CheckpointError, ConfigError
from ganpress.models import components
from ganpress.models.checkpoint import Model, load, save
from ganpress.nn.layers import add_gates

LATENT = {"stylegan2": "w", "sngan": "z", "munit": "style"}
EDITED = {n: w for n, w in WIRINGS.items() if w.name in LATENT}
every_edited = pytest.mark.parametrize("wiring", EDITED.values(), ids=EDITED.keys())
STYLEGAN2 = WIRINGS["stylegan2"]


def signed(vectors: Any) -> Any:
    """Rows with their largest entry positive."""
    return np.stack([v * np.sign(v[np.abs(v).argmax()]) for v in vectors])


def found(wiring: Wiring = STYLEGAN2, kind: str = "pca", **more: Any) -> Directions:
    return find_directions(wiring.model(), kind, **{"count": 3, "samples": 200, **more})


def test_the_worked_examples_of_the_formulas_hold() -> None:
    assert doctest.testmod(components) == doctest.TestResults(failed=0, attempted=4)


# --- found ----------------------------------------------------------------------------------------


def test_principal_components_of_w_are_the_right_singular_vectors_of_the_centred_codes() -> None:
    model = STYLEGAN2.model()
    directions = find_directions(model, count=8, samples=300, seed=5)
    net: Any = model.net
    w = net.mapping(torch.randn(300, 8, generator=torch.Generator().manual_seed(5)))
    w = w.detach().double().numpy()
    _, singular, rows = np.linalg.svd(w - w.mean(0), full_matrices=False)
    np.testing.assert_allclose(directions.vectors, signed(rows), atol=1e-6)
    np.testing.assert_allclose(directions.deviations, singular / 299**0.5, rtol=1e-5)
    np.testing.assert_allclose(directions.ratios, singular**2 / (singular**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(directions.mean, w.mean(0), atol=1e-6)


@pytest.mark.parametrize("name", ["sngan", "sngan conditional", "munit"])
def test_without_a_mapping_network_z_is_regressed_on_the_components_of_the_first_layers_outputs(
    name: str,
) -> None:
    model = WIRINGS[name].model()
    net: Any = model.net
    directions = find_directions(model, count=4, samples=300, seed=5)
    z = torch.randn(300, len(directions.mean), generator=torch.Generator().manual_seed(5))
    y = (net.mlp[0] if name == "munit" else net.l1)(z).detach().double().numpy()
    z_ = z.double().numpy() - z.double().numpy().mean(0)
    _, singular, rows = np.linalg.svd(y - y.mean(0), full_matrices=False)
    x = (y - y.mean(0)) @ rows[:4].T
    u = np.linalg.lstsq(x, z_, rcond=None)[0]
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    np.testing.assert_allclose(directions.vectors, signed(u), atol=1e-5)
    np.testing.assert_allclose(
        directions.ratios, singular[:4] ** 2 / (singular**2).sum(), rtol=1e-4
    )
    np.testing.assert_allclose(directions.deviations, (z_ @ u.T).std(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("layers", [None, (0, 0), (1, 3), (5, 5)])
def test_weight_factorisation_of_w_is_the_eigen_decomposition_of_the_stacked_style_weights(
    layers: tuple[int, int] | None,
) -> None:
    model = STYLEGAN2.model()
    state = {n: t.double().numpy() for n, t in model.net.state_dict().items()}
    names = [f"layers.{i}.modulated.affine.weight" for i in range(5)]
    names.append("to_rgb.2.modulated.affine.weight")
    first, last = layers or (0, 5)
    a = np.concatenate([state[name] for name in names[first : last + 1]]) / 8**0.5
    values, vectors = np.linalg.eig(a.T @ a)
    order = np.argsort(-values)[:3]
    directions = find_directions(model, "sefa", count=3, layers=layers, samples=200)
    np.testing.assert_allclose(directions.vectors, signed(vectors.T[order]), atol=1e-5)
    np.testing.assert_allclose(directions.ratios, values[order] / values.sum(), rtol=1e-4)
    assert directions.layers == (first, last)


def test_weight_factorisation_of_z_is_that_of_the_first_layer() -> None:
    model = WIRINGS["sngan"].model()
    a = model.net.state_dict()["l1.weight"].double().numpy()
    _, _, rows = np.linalg.svd(a, full_matrices=False)
    np.testing.assert_allclose(
        find_directions(model, "sefa", count=6).vectors, signed(rows), atol=1e-5
    )


def test_styles_that_a_gate_has_silenced_have_no_say_in_the_factorisation() -> None:
    model = STYLEGAN2.model()
    add_gates(model.net)
    net: Any = model.net
    with torch.no_grad():
        for layer in (*(styled.modulated for styled in net.layers), net.to_rgb[-1].modulated):
            layer.affine.gate.zero_()
        net.layers[2].modulated.affine.gate[4] = -3.0
    row = net.layers[2].modulated.affine.weight[4].detach().numpy()
    directions = find_directions(model, "sefa", count=1)
    np.testing.assert_allclose(
        directions.vectors[0], signed([row])[0] / np.linalg.norm(row), atol=1e-6
    )
    with pytest.raises(ConfigError, match=r"count is 2, .* give --count 1"):
        find_directions(model, "sefa", count=2)


@every_edited
@pytest.mark.parametrize("kind", ["pca", "sefa"])
def test_directions_are_unit_vectors_signed_by_their_largest_entry_and_the_same_each_time(
    wiring: Wiring, kind: str
) -> None:
    one, again = found(wiring, kind), found(wiring, kind)
    assert one.space == LATENT[wiring.name] and len(one) == 3
    assert torch.equal(one.vectors, again.vectors) and one.found == again.found
    torch.testing.assert_close(one.vectors.norm(dim=1), torch.ones(3))
    assert (one.vectors.gather(1, one.vectors.abs().argmax(1, keepdim=True)) > 0).all()
    assert (one.ratios.diff() <= 0).all() and float(one.ratios.sum()) < 1 + 1e-6


# --- moved ----------------------------------------------------------------------------------------


@every_edited
def test_strength_0_changes_no_bit_of_the_picture(wiring: Wiring) -> None:
    model, directions = wiring.model(), found(wiring)
    space, inputs = latent_space(model), wiring.inputs(3)
    codes = space.codes(inputs)
    assert torch.equal(space.pictures(move(codes, directions, 1, 0.0), inputs), model(*inputs))
    moved = space.pictures(move(codes, directions, 1, 2.0), inputs)
    assert (moved - model(*inputs)).flatten(1).abs().amax(1).gt(1e-3).all()


def test_a_strength_is_in_standard_deviations_of_the_codes() -> None:
    directions = found()
    w = torch.randn(2, 8)
    moved = move(w, directions, 2, torch.tensor([1.0, -2.0]))
    step = directions.deviations[2] * directions.vectors[2]
    torch.testing.assert_close(moved, torch.stack([w[0] + step, w[1] - 2 * step]))


def test_a_range_of_layers_moves_those_alone() -> None:
    directions = found(layers=(2, 4))
    w = torch.randn(2, 8)
    moved = move(w, directions, 0, 1.0)
    assert moved.shape == (2, 6, 8)
    changed = (moved - w[:, None]).abs().amax((0, 2)) > 0
    assert changed.tolist() == [False, False, True, True, True, False]
    plus = w[:, None].repeat(1, 6, 1)
    assert torch.equal(move(plus, directions, 0, 1.0), moved)
    assert torch.equal(plus, w[:, None].repeat(1, 6, 1))  # the given ones stay
    every = move(w, directions, 0, 1.0, layers=(0, 5))
    assert torch.equal(every, move(w, found(), 0, 1.0))


def test_many_strengths_of_one_code_are_as_many_codes() -> None:
    directions = found(layers=(0, 1))
    steps = torch.tensor([-1.0, 0.0, 1.0])
    for codes in (torch.randn(1, 8), torch.randn(1, 6, 8)):
        moved = move(codes, directions, 0, steps)
        each = torch.cat([move(codes, directions, 0, float(s)) for s in steps])
        assert torch.equal(moved, each)


def test_layer_codes_and_one_code_for_all_make_the_same_picture() -> None:
    model = STYLEGAN2.model()
    space, inputs = latent_space(model), STYLEGAN2.inputs(2)
    w = space.codes(inputs)
    plain = space.pictures(w, inputs)
    assert torch.equal(space.pictures(w[:, None].repeat(1, 6, 1), inputs), plain)


@pytest.mark.parametrize(
    ("which", "codes", "layers", "message"),
    [
        (3, torch.zeros(1, 8), None, "no direction 3: there are 0 to 2"),
        (-1, torch.zeros(1, 8), None, "no direction -1"),
        (0, torch.zeros(1, 7), None, r"move codes \(n, 8\) or \(n, 6, 8\), not \(1, 7\)"),
        (0, torch.zeros(8), None, r"not \(8,\)"),
        (0, torch.zeros(1, 5, 8), None, r"not \(1, 5, 8\)"),
        (0, torch.zeros(1, 8), (0, 6), "The layers are 0-6, .* 6 layers, 0 to 5: .* 0-2"),
        (0, torch.zeros(1, 8), (3, 2), "The layers are 3-2"),
    ],
)
def test_a_move_that_cannot_be_made_says_why(
    which: int, codes: Tensor, layers: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        move(codes, found(), which, 1.0, layers)


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wiring", [w for n, w in FIRST.items() if n not in LATENT], ids=lambda w: w.name
)
def test_a_family_without_a_latent_code_is_refused_with_what_it_reads(wiring: Wiring) -> None:
    model = wiring.model()
    reads = " and ".join(wiring.ghost.reads)
    with pytest.raises(ConfigError, match=f"'{wiring.name}' .* reads {reads} alone. .* stylegan2"):
        find_directions(model)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kind": "pcs"}, r"no directions 'pcs' \(did you mean 'pca'\?\). Choose pca or sefa"),
        ({"count": 0}, "count is 0, .* 1 to 8 directions here: give --count 1"),
        ({"count": 9}, "count is 9, .* give --count 8"),
        ({"count": 4, "samples": 3}, "count is 4, but of 3 samples .* 1 to 2 .* give --count 2"),
        ({"samples": 1}, "samples is 1"),
        ({"layers": (0, 6)}, "The layers are 0-6, .* 0 to 5"),
    ],
)
def test_settings_of_directions_that_cannot_be_are_refused(
    more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        found(**more)


def test_a_layer_range_of_a_network_read_by_one_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match="read by one layer, 0: give a range such as 0-0"):
        found(WIRINGS["sngan"], layers=(0, 1))
    assert found(WIRINGS["sngan"], layers=(0, 0)).layers == (0, 0)


def test_directions_come_back_from_their_file(tmp_path: Path) -> None:
    model = STYLEGAN2.model()
    directions = find_directions(model, "sefa", count=3, layers=(1, 3), samples=50, file="a.pt")
    again = load_directions(save_directions(directions, tmp_path / "new" / "d.safetensors"), model)
    for name, value in vars(directions).items():
        other = getattr(again, name)
        assert torch.equal(value, other) if isinstance(value, Tensor) else value == other, name


def test_directions_of_another_network_are_refused_with_how_to_transfer_them(
    tmp_path: Path,
) -> None:
    path = save_directions(replace(found(), found={"model": "t.safetensors"}), tmp_path / "d")
    same = STYLEGAN2.model()
    with torch.no_grad():
        same.net.const.add_(1.0)
    advice = f"ganpress edit directions MODEL --from {path} --teacher t.safetensors -o NEW"
    with pytest.raises(ConfigError, match=r"another network .* makes the same codes") as caught:
        load_directions(path, same)
    assert advice in str(caught.value)
    with pytest.raises(ConfigError, match=r"whose codes are not this one's, .* fitted") as caught:
        load_directions(path, STYLEGAN2.model(seed=1))
    assert advice in str(caught.value)
    with pytest.raises(ConfigError, match="codes 'w' mean nothing here: find this network's own"):
        load_directions(path, WIRINGS["sngan"].model())
    assert len(load_directions(path)) == 3


def test_a_network_stored_in_half_precision_keeps_its_directions(tmp_path: Path) -> None:
    model = load(save(STYLEGAN2.model(), tmp_path / "m.safetensors", half=True))
    path = save_directions(find_directions(model, samples=50, count=2), tmp_path / "d.safetensors")
    assert len(load_directions(path, load(tmp_path / "m.safetensors"))) == 2


def broken(tmp_path: Path, **changed: Any) -> Path:
    """A file of directions with other tensors, or another card."""
    directions = found()
    names = ("vectors", "deviations", "ratios", "mean")
    tensors = {n: changed.get(n, getattr(directions, n)).contiguous().clone() for n in names}
    facts = {n: v for n, v in vars(directions).items() if n not in names}
    card = {"format": 1, **facts, **{k: v for k, v in changed.items() if k not in names}}
    card = {k: v for k, v in card.items() if v != "missing"}
    save_file(tensors, tmp_path / "d", metadata={"ganpress-directions": json.dumps(card)})
    return tmp_path / "d"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, "has format 2, this version reads 1: update"),
        ({"format": "missing"}, r"not edit directions .*Give the file that"),
        ({"kind": "missing"}, "does not describe its directions .*'kind'"),
        ({"layers": [1]}, "does not describe its directions"),
        ({"mean": torch.zeros(7)}, "does not describe its directions .*shapes"),
        ({"vectors": torch.zeros(3)}, "does not describe its directions .*shapes"),
        ({"ratios": torch.tensor([0.1, float("nan"), 0.1])}, "ratios has values that are not fini"),
    ],
)
def test_a_broken_file_of_directions_is_refused(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_directions(broken(tmp_path, **changed))
    assert load_directions(broken(tmp_path)).kind == "pca"


def test_a_model_a_folder_and_a_missing_file_are_no_directions(tmp_path: Path) -> None:
    model: Model = STYLEGAN2.model()
    path = save(model, tmp_path / "m.safetensors")
    with pytest.raises(
        CheckpointError, match=r"a ganpress model.*, not edit directions.* Give the"
    ):
        load_directions(path)
    save_directions(found(), tmp_path / "directions.safetensors")
    with pytest.raises(CheckpointError, match=r"a folder, .* Give .*directions\.safetensors"):
        load_directions(tmp_path)
    with pytest.raises(CheckpointError, match=r"did you mean 'directions\.safetensors'"):
        load_directions(tmp_path / "direction.safetensors")


def test_directions_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    bad = replace(found(), mean=torch.full((8,), float("inf")))
    with pytest.raises(CheckpointError, match="mean has values that are not finite"):
        save_directions(bad, tmp_path / "d")
    assert not (tmp_path / "d").exists()
