"""Codes that are mixed, truncated and moved inside the network: the sums of `editing`, in one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exports import LEAST
from nets import Wiring
from torch import Tensor

from ganpress.editing.directions import find_directions
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.models.spaces import latent_of
from ganpress.web.editable import Editable, directions_of, editable, is_latent, latent_facts

SAMPLES = 200
LATENT = {
    "stylegan2": LEAST["stylegan2"],
    "sngan": Wiring("sngan", {"classes": 4}),
    "munit": LEAST["munit"],
}


@pytest.fixture(params=LATENT)
def edited(request: pytest.FixtureRequest) -> tuple[Model, Model, dict[str, Tensor]]:
    """A model, the same one editable, and inputs by name that change nothing yet."""
    model = LATENT[request.param].model()
    found = editable(model, find_directions(model, count=3, samples=SAMPLES))
    drawn = found.net.draw(1, LATENT[request.param].pixels, torch.Generator().manual_seed(3))  # type: ignore[operator]
    inputs = dict(zip(reads(found), drawn, strict=True))
    still = {"mix": 0.0, "psi": 1.0, "amounts": 0.0}
    inputs |= {n: torch.full_like(inputs[n], v) for n, v in still.items() if n in inputs}
    return model, found, inputs


def own(model: Model, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return tuple(inputs[name] for name in reads(model))


def test_without_edits_the_picture_is_the_networks_own(
    edited: tuple[Model, Model, dict[str, Tensor]],
) -> None:
    model, found, inputs = edited
    assert torch.equal(found(*inputs.values()), model(*own(model, inputs)))


def test_mixed_wholly_the_picture_is_that_of_the_other_code(
    edited: tuple[Model, Model, dict[str, Tensor]],
) -> None:
    model, found, inputs = edited
    at = latent_of(model.net).at  # type: ignore[union-attr]
    swapped = list(own(model, inputs))
    swapped[at] = inputs["other"]
    mixed = found(*(inputs | {"mix": torch.ones_like(inputs["mix"])}).values())
    assert torch.equal(mixed, model(*swapped))
    assert not torch.equal(mixed, model(*own(model, inputs)))


def test_an_amount_moves_the_code_by_that_many_deviations(
    edited: tuple[Model, Model, dict[str, Tensor]],
) -> None:
    model, found, inputs = edited
    directions = find_directions(model, count=3, samples=SAMPLES)
    code = latent_of(model.net)
    assert code is not None
    given = own(model, inputs)
    moved = code.of(given).flatten(1) + 1.5 * directions.deviations[1] * directions.vectors[1]
    with torch.no_grad():
        wanted = code.run(moved, given)
    amounts = torch.tensor([0.0, 1.5, 0.0])
    torch.testing.assert_close(found(*(inputs | {"amounts": amounts}).values()), wanted)


def style(**options: Any) -> tuple[Model, Model, dict[str, Tensor]]:
    model = LATENT["stylegan2"].model()
    directions = find_directions(model, count=2, samples=SAMPLES, **options)
    found = editable(model, directions)
    drawn = found.net.draw(1, 8, torch.Generator().manual_seed(5))  # type: ignore[operator]
    inputs = dict(zip(reads(found), drawn, strict=True))
    return model, found, inputs | {"amounts": torch.zeros(2), "psi": torch.ones(1)}


def test_layers_mix_each_by_its_own_number() -> None:
    model, found, inputs = style()
    net: Any = model.net
    noise = own(model, inputs)[1:]
    with torch.no_grad():
        mixed = net.mix(net.mapping(inputs["z"]), net.mapping(inputs["other"]), 2)
        wanted = net.synthesis(mixed, *noise)
    mix = (torch.arange(net.styles) >= 2).float()
    torch.testing.assert_close(found(*(inputs | {"mix": mix}).values()), wanted)


def test_psi_moves_styles_towards_the_mean_of_the_directions() -> None:
    model, found, inputs = style()
    net: Any = model.net
    mean = find_directions(model, count=2, samples=SAMPLES).mean
    with torch.no_grad():
        w = net.truncate(net.mapping(inputs["z"]), mean, 0.3)
        wanted = net.synthesis(w, *own(model, inputs)[1:])
    given = inputs | {"mix": torch.zeros_like(inputs["mix"]), "psi": torch.tensor([0.3])}
    torch.testing.assert_close(found(*given.values()), wanted)


def test_directions_of_some_layers_leave_the_others() -> None:
    _, found, _ = style(layers=(1, 2))
    moves = found.net.moves  # type: ignore[union-attr]
    assert moves[:, 1:3].abs().sum() > 0
    assert moves[:, :1].abs().sum() == moves[:, 3:].abs().sum() == 0


def test_psi_is_read_only_where_styles_are_mapped() -> None:
    names = {name: reads(editable(w.model(), directions_of([w.model()], samples=SAMPLES)[0]))
             for name, w in LATENT.items()}  # fmt: skip
    assert names["stylegan2"][-4:] == ("other", "mix", "psi", "amounts")
    assert names["sngan"] == ("z", "y", "other", "mix", "amounts")
    assert names["munit"] == ("image", "style", "other", "mix", "amounts")


def test_a_students_directions_are_its_teachers_carried_over() -> None:
    """Of a student with the teacher's mapping they are the same; of another the linear map is
    undone: both networks' codes move by as many deviations."""
    teacher = LATENT["stylegan2"].model()
    student = LATENT["stylegan2"].model()
    other = LATENT["stylegan2"].model(seed=1)
    given, same, fitted = directions_of([teacher, student, other], samples=2000)
    assert torch.equal(given.vectors, same.vectors)
    assert fitted.vectors.shape == given.vectors.shape
    assert fitted.network != given.network
    assert (fitted.deviations > 0).any()


def test_networks_of_different_codes_have_their_own_directions() -> None:
    one, two = LATENT["stylegan2"].model(), LATENT["sngan"].model()
    found = directions_of([one, two], samples=SAMPLES)
    assert [d.family for d in found] == ["stylegan2", "sngan"]


def test_the_page_is_told_what_can_be_edited() -> None:
    model = LATENT["sngan"].model()
    directions = directions_of([model], samples=SAMPLES)[0]
    facts = latent_facts(model, directions)
    assert {k: facts[k] for k in ("name", "input", "dim", "layers", "classes")} == {
        "name": "z", "input": "z", "dim": 6, "layers": 1, "classes": 4,
    }  # fmt: skip
    assert [d["name"] for d in facts["directions"]] == ["1", "2", "3", "4", "5", "6"]
    assert facts["directions"][0]["deviation"] == pytest.approx(float(directions.deviations[0]))
    assert latent_facts(model, None)["directions"] == []


def test_a_network_of_few_directions_has_those_that_there_are() -> None:
    found = directions_of([LATENT["munit"].model()], samples=SAMPLES)[0]
    assert 0 < len(found) < 8


def test_only_networks_with_a_code_are_latent() -> None:
    assert [is_latent(w.model()) for w in (LEAST["pix2pix"], LEAST["gaugan"])] == [False, False]
    assert isinstance(style()[1].net, Editable)
