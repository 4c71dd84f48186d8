"""A teacher's directions on its student: the same where the codes are, else fitted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import WIRINGS, Wiring, random_indices
from torch import Tensor

from ganpress.channels.take import shrink
from ganpress.editing import transfer as transfers
from ganpress.editing.directions import Directions, find_directions, move
from ganpress.editing.latents import latent_space
from ganpress.editing.transfer import CodeMap, fit_map, least_squares, mapped, transfer
from ganpress.errors import ConfigError
from ganpress.losses.features import load_features
from ganpress.models.checkpoint import Model, fingerprint
from ganpress.types import Inputs

EDITED = {n: WIRINGS[n] for n in ("stylegan2", "sngan", "sngan conditional", "munit")}
every_edited = pytest.mark.parametrize("wiring", EDITED.values(), ids=EDITED.keys())
STYLEGAN2 = WIRINGS["stylegan2"]
ORDER = torch.tensor([3, 0, 7, 5, 1, 6, 2, 4])
SCALE = torch.tensor([0.5, 2.0, 1.0, 3.0, 0.25, 1.5, 1.0, 0.7])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def draws(wiring: Wiring, n: int = 4) -> Inputs:
    return wiring.inputs(n, seed=7)


def cut(wiring: Wiring) -> Model:
    """A student with fewer channels, the rest of the weights as they were."""
    model = wiring.model()
    small = shrink(wiring.build, model.net, random_indices(model.net, 3)).eval()
    return Model(small, model.family, model.options)


@torch.no_grad()
def turned(model: Model) -> Model:
    """The same pictures by another W: its coordinates in another order, and scaled."""
    net: Any = model.net
    last = net.mlp[-1]
    last.weight.copy_(last.weight[ORDER] * SCALE[:, None])
    last.bias.copy_(last.bias[ORDER] * SCALE)
    for layer in (*net.layers, *net.to_rgb):
        affine = layer.modulated.affine
        affine.weight.copy_(affine.weight[:, ORDER] / SCALE)
    return model


def of(model: Model, kind: str = "pca", **more: Any) -> Directions:
    return find_directions(model, kind, **{"count": 3, "samples": 200, **more})


# --- the same codes -------------------------------------------------------------------------------


@every_edited
def test_a_student_with_the_teachers_codes_has_its_directions_unchanged(wiring: Wiring) -> None:
    teacher, student = wiring.model(), cut(wiring)
    directions = of(teacher)
    found = transfer(directions, teacher, student, draws=draws(wiring))
    assert found.map.inherited and found.map.residual == 0 and found.map.pairs == 0
    for name in ("vectors", "deviations", "ratios", "mean"):
        assert torch.equal(getattr(found.directions, name), getattr(directions, name)), name
    assert found.directions.network == fingerprint(student.net) != directions.network
    assert found.directions.found["map"] == "inherited"
    assert found.directions.found["from"] == directions.network
    codes = torch.randn(2, len(directions.mean))
    assert torch.equal(found.map(codes), codes)


@every_edited
def test_the_teacher_itself_agrees_with_all_its_edits(wiring: Wiring) -> None:
    model = wiring.model()
    found = transfer(of(model), model, model, draws=draws(wiring)).agreement
    torch.testing.assert_close(found.pixels, torch.ones(3))
    torch.testing.assert_close(found.features, torch.ones(3))


def test_one_changed_number_of_the_mapping_network_is_not_inherited() -> None:
    teacher, student = STYLEGAN2.model(), STYLEGAN2.model()
    for change in ("weight", "bias"):
        net: Any = student.net
        with torch.no_grad():
            getattr(net.mlp[0], change).view(-1)[3] += 1e-3
        assert not fit_map(latent_space(teacher), latent_space(student), samples=50).inherited
        student = STYLEGAN2.model()
    assert fit_map(latent_space(teacher), latent_space(student), samples=50).inherited


def test_the_same_weights_at_another_learning_rate_make_other_codes() -> None:
    teacher, student = STYLEGAN2.model(), Wiring("stylegan2", {"lr_mlp": 0.02}).model()
    student.net.load_state_dict(teacher.net.state_dict())
    z = torch.ones(1, 8)
    one, other = latent_space(teacher), latent_space(student)
    assert not torch.equal(one.model.net.mapping(z), other.model.net.mapping(z))  # type: ignore[operator]
    assert one.fingerprint() != other.fingerprint()


# --- other codes ----------------------------------------------------------------------------------


def test_least_squares_recovers_a_rotation_and_an_offset() -> None:
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    x = torch.randn(50, 8, dtype=torch.float64) + 3
    matrix, offset = least_squares(x, x @ turn + 2)
    torch.testing.assert_close(matrix, turn)
    torch.testing.assert_close(offset, torch.full((8,), 2.0, dtype=torch.float64))


def test_least_squares_is_the_normal_equations_where_it_is_not_exact() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(40, 5).double(), torch.randn(40, 3).double()
    ones = torch.cat([x, torch.ones(40, 1)], 1)
    whole = torch.linalg.inv(ones.T @ ones) @ ones.T @ y
    matrix, offset = least_squares(x, y)
    torch.testing.assert_close(torch.cat([matrix, offset[None]]), whole)


def test_directions_are_recovered_in_a_turned_and_scaled_w() -> None:
    teacher, student = STYLEGAN2.model(), turned(STYLEGAN2.model())
    inputs = draws(STYLEGAN2)
    torch.testing.assert_close(teacher(*inputs), student(*inputs), atol=1e-4, rtol=1e-4)
    directions = of(teacher)
    found = transfer(directions, teacher, student, draws=inputs, samples=400)
    assert not found.map.inherited and found.map.residual < 1e-8 and found.map.pairs == 400
    expected = directions.vectors[:, ORDER] * SCALE
    lengths = expected.norm(dim=1)
    torch.testing.assert_close(
        found.directions.vectors, expected / lengths[:, None], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(found.directions.deviations, directions.deviations * lengths)
    torch.testing.assert_close(
        found.directions.mean, directions.mean[ORDER] * SCALE, atol=1e-4, rtol=0
    )
    assert float(found.agreement.pixels.min()) > 0.999
    assert float(found.agreement.features.min()) > 0.999
    codes = latent_space(teacher).codes(inputs)
    torch.testing.assert_close(
        found.map(codes), latent_space(student).codes(inputs), atol=1e-4, rtol=0
    )
    one = move(codes, directions, 1, 2.0)
    other = move(found.map(codes), found.directions, 1, 2.0)
    torch.testing.assert_close(found.map(one), other, atol=1e-4, rtol=0)


def test_the_residual_is_measured_on_other_draws_than_the_fit() -> None:
    teacher, student = latent_space(STYLEGAN2.model()), latent_space(STYLEGAN2.model(seed=1))
    found = fit_map(teacher, student, samples=12, seed=4)
    z = torch.randn(18, 8, generator=torch.Generator().manual_seed(4))
    x, y = (net.mapping(z).detach().double() for net in (teacher.model.net, student.model.net))
    ones = torch.cat([x, torch.ones(18, 1)], 1)
    map_ = torch.linalg.pinv(ones[:12]) @ y[:12]
    left = (y[12:] - ones[12:] @ map_).square().sum()
    expected = left / (y[12:] - y[12:].mean(0)).square().sum()
    assert found.residual == pytest.approx(float(expected), rel=1e-6) and found.residual > 0.5


def test_a_poor_map_is_warned_about_with_its_residual() -> None:
    teacher, student = STYLEGAN2.model(), STYLEGAN2.model(seed=1)
    directions = of(teacher)
    bad = CodeMap(torch.eye(8), torch.zeros(8), False, 0.61, 100)
    with pytest.warns(UserWarning, match="leaves 61% of their variance. Its own"):
        mapped(directions, bad, student)


def test_a_direction_that_the_student_has_not_is_left_out_and_named() -> None:
    teacher, student = STYLEGAN2.model(), STYLEGAN2.model(seed=1)
    directions = replace(of(teacher), vectors=torch.eye(8)[:3])
    flat = CodeMap(
        torch.diag(torch.tensor([2.0, 0, 0.5, 1, 1, 1, 1, 1])), torch.zeros(8), False, 0.1, 9
    )
    with pytest.warns(UserWarning, match="no direction 2: left out"):
        kept, moved = mapped(directions, flat, student)
    assert kept == [0, 2] and len(moved) == 2
    assert torch.equal(moved.vectors, torch.eye(8)[[0, 2]])
    torch.testing.assert_close(
        moved.deviations, directions.deviations[[0, 2]] * torch.tensor([2.0, 0.5])
    )
    assert torch.equal(moved.ratios, directions.ratios[[0, 2]])
    nothing = CodeMap(torch.zeros(8, 8), torch.zeros(8), False, 0.1, 9)
    with pytest.raises(ConfigError, match="None of the directions changes"):
        mapped(directions, nothing, student)


def test_teacher_and_student_keep_the_same_directions_where_one_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, student = STYLEGAN2.model(), STYLEGAN2.model(seed=1)
    directions = replace(of(teacher), vectors=torch.eye(8)[:3])
    flat = CodeMap(torch.diag(1 - torch.eye(8)[1]), torch.zeros(8), False, 0.1, 9)
    monkeypatch.setattr(transfers, "fit_map", lambda *_, **__: flat)
    with pytest.warns(UserWarning, match="no direction 2"):
        found = transfer(directions, teacher, student, draws=draws(STYLEGAN2, 2))
    assert torch.equal(found.teacher.vectors, directions.vectors[[0, 2]])
    assert torch.equal(found.directions.vectors, found.teacher.vectors)
    assert len(found.agreement.pixels) == len(found.agreement.features) == 2


# --- how well -------------------------------------------------------------------------------------


def test_the_agreement_is_the_mean_cosine_of_the_changes_of_pictures_and_of_features() -> None:
    teacher, student = STYLEGAN2.model(), cut(STYLEGAN2)
    inputs, directions = draws(STYLEGAN2, 3), of(teacher)
    found = transfer(directions, teacher, student, draws=inputs, strength=1.5).agreement
    net = load_features("tiny")
    step = 1.5 * directions.deviations[:, None] * directions.vectors

    def changes(model: Model, look: Any) -> list[Tensor]:
        net_: Any = model.net
        w = net_.mapping(inputs[0])
        before = look(net_.synthesis(w, *inputs[1:]))
        return [(look(net_.synthesis(w + s, *inputs[1:])) - before).flatten(1) for s in step]

    looks = {"pixels": lambda x: x, "features": lambda x: net(x)[net.taps[-1]]}
    for name, look in looks.items():
        with torch.no_grad():
            pairs = zip(changes(teacher, look), changes(student, look), strict=True)
            expected = [float(F.cosine_similarity(a, b).mean()) for a, b in pairs]
        assert getattr(found, name).tolist() == pytest.approx(expected, abs=1e-4), name
    assert found.network == "tiny" and found.pictures == 3 and found.strength == 1.5
    assert max(expected) < 0.999  # a cut network is another


def test_pictures_too_small_for_the_feature_network_are_enlarged() -> None:
    small = Wiring("stylegan2", {"size": 8})
    model = small.model()
    found = transfer(of(model), model, model, draws=small.inputs(2))
    torch.testing.assert_close(found.agreement.features, torch.ones(3))


# --- refused --------------------------------------------------------------------------------------


def test_directions_of_neither_network_and_students_of_other_teachers_are_refused() -> None:
    teacher, other = STYLEGAN2.model(), STYLEGAN2.model(seed=1)
    with pytest.raises(ConfigError, match="directions are of another network"):
        transfer(of(teacher), other, teacher)
    for stranger in (WIRINGS["sngan"].model(), Wiring("stylegan2", {"size": 32}).model()):
        with pytest.raises(ConfigError, match="from a teacher to its own student"):
            transfer(of(teacher), teacher, stranger)
    with pytest.raises(ConfigError, match="no latent code"):
        transfer(of(teacher), teacher, WIRINGS["pix2pix"].model())
    with pytest.raises(ConfigError, match="3 channels in and 1 out"):
        transfer(of(teacher), teacher, Wiring("stylegan2", {"out_channels": 1}).model())


def test_too_few_samples_for_a_map_are_refused_with_a_number_that_will_do() -> None:
    teacher, student = STYLEGAN2.model(), STYLEGAN2.model(seed=1)
    with pytest.raises(ConfigError, match=r"samples is 8: .* 8 numbers .* 80 would do"):
        fit_map(latent_space(teacher), latent_space(student), samples=8)
    assert fit_map(latent_space(teacher), latent_space(student), samples=80).pairs == 80


def test_a_translator_needs_photos_for_the_agreement() -> None:
    model = WIRINGS["munit"].model()
    with pytest.raises(ConfigError, match="reads images: give them"):
        transfer(of(model), model, model)
