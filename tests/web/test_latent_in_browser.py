"""The sliders of latent codes, in a browser: the numbers that the models are given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from chromium import Browser, browser
from nets import FIRST, WIRINGS, Wiring
from page_harness import given, harness_in, served, start
from thin import thinned

from ganpress.editing import find_directions
from ganpress.models.checkpoint import Model
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import reads
from ganpress.web.editable import editable, latent_facts

pytestmark = pytest.mark.chromium

LATENT = {n: w for n, w in WIRINGS.items() if n in ("stylegan2", "sngan conditional", "munit")}
each_latent = pytest.mark.parametrize(
    "wiring", thinned(LATENT.values(), FIRST["stylegan2"].__eq__), ids=LATENT.keys()
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Over a second: it starts a browser, once for all of these."""
    folder = harness_in(tmp_path_factory.mktemp("harness"))
    with browser() as opened, served(folder) as url:
        opened.open(url)
        opened.wait_for("globalThis.start !== undefined")
        yield opened


def edited(wiring: Wiring) -> tuple[Model, dict[str, Any]]:
    """The network with its sums inside, and its entry."""
    model = wiring.model()
    directions = find_directions(model, count=3, samples=64)
    inside = editable(model, directions)
    drawn = draw_inputs(inside.net, 1, wiring.pixels)
    inputs = {n: {"dims": list(x.shape)} for n, x in zip(reads(inside), drawn, strict=True)}
    side = [wiring.pixels] * 2
    facts = latent_facts(model, directions)
    return inside, {"size": side, "range": [-1, 1], "inputs": inputs, "latent": facts}


def plain(wiring: Wiring) -> dict[str, Any]:
    """The entry of the network as `ganpress export` writes it, without edits."""
    model = wiring.model()
    drawn = draw_inputs(model.net, 1, wiring.pixels)
    inputs = {n: {"dims": list(x.shape)} for n, x in zip(reads(model), drawn, strict=True)}
    return {
        "size": [32, 32],
        "range": [-1, 1],
        "inputs": inputs,
        "latent": latent_facts(model, None),
    }


def put(page: Browser, selector: str, value: float | str) -> None:
    """As a hand would, into a field or slider."""
    page.run(
        f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.value = {json.dumps(value)};
            e.dispatchEvent(new Event(e.matches("select") ? "change" : "input")); }})()"""
    )


def draws(count: int, seed: int) -> np.ndarray[Any, Any]:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)).numpy()


@pytest.mark.parametrize("count", thinned([1, 7, 15, 16, 40, 129], (7, 40).__contains__))
def test_a_seed_gives_the_numbers_that_torch_draws_from_it(page: Browser, count: int) -> None:
    for seed in (0, 5, 2**32 - 1):
        torchs = torch.Generator().manual_seed(seed)
        sizes = (count, 3, 20)  # one after the other, from one generator
        want = torch.cat([torch.randn(n, generator=torchs) for n in sizes])
        script = f"""(() => {{ const g = new seeds.TorchGenerator({seed});
            return {list(sizes)}.flatMap((n) => [...g.normal(n)]); }})()"""
        assert page.run(script) == pytest.approx(want.numpy(), abs=3e-6)


@each_latent
def test_untouched_controls_give_what_the_network_draws_of_seed_0(
    page: Browser, wiring: Wiring
) -> None:
    inside, entry = edited(wiring)
    start(page, "latent", entry)
    draw = torch.Generator().manual_seed(0)
    drawn = dict(zip(reads(inside), draw_inputs(inside.net, 1, 16, draw), strict=True))
    for name in reads(inside):
        if name == "image":  # another module gives it
            assert not page.run("'image' in given.at(-1).feeds")
            continue
        seen = given(page, name)
        assert seen.shape == drawn[name].shape
        if name.startswith(("z", "noise")):
            assert seen == pytest.approx(drawn[name].numpy(), abs=3e-6)
        elif name == "y":
            assert seen.tolist() == [[1, 0, 0, 0]]
        elif name in ("mix", "amounts", "psi"):
            assert (seen == float(name == "psi")).all()


def test_seeds_choose_the_codes_and_a_wrong_one_changes_nothing(page: Browser) -> None:
    start(page, "latent", edited(FIRST["stylegan2"])[1])
    put(page, "#latent-seed", 7)
    put(page, "#latent-other", 9)
    assert given(page, "z")[0] == pytest.approx(draws(8, 7), abs=3e-6)
    assert given(page, "other")[0] == pytest.approx(draws(8, 9), abs=3e-6)
    for wrong in ("", "1.5", "-3", "4294967296"):
        put(page, "#latent-seed", wrong)
        assert given(page, "z")[0] == pytest.approx(draws(8, 7), abs=3e-6)
        assert page.run("document.querySelector('#latent-seed').ariaInvalid") == "true"
    page.click(".latent-part button")
    seed = int(page.run("document.querySelector('#latent-seed').value"))
    assert given(page, "z")[0] == pytest.approx(draws(8, seed), abs=3e-6)
    noise = given(page, "noise_0")
    page.run("[...document.querySelectorAll('button')].find((b) => b.textContent === 'Other noise').click()")  # fmt: skip # noqa: E501
    assert (given(page, "noise_0") != noise).any()
    assert given(page, "z")[0] == pytest.approx(draws(8, seed), abs=3e-6)


def test_mixing_is_by_layers_or_by_a_bit_of_all(page: Browser) -> None:
    entry = edited(FIRST["stylegan2"])[1]
    start(page, "latent", entry)
    layers = entry["latent"]["layers"]
    said = "document.querySelector('output[for=latent-mix]').textContent"
    page.run("document.querySelector('#latent-mix').focus()")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert given(page, "mix").tolist() == [0] * (layers - 2) + [1, 1]
    assert page.run(said) == f"last 2 of {layers}"
    put(page, "#latent-mixing", "coarse")
    assert given(page, "mix").tolist() == [1, 1] + [0] * (layers - 2)
    assert page.run(said) == f"first 2 of {layers}"
    page.run("document.querySelector('#latent-mix').focus()")
    page.press("End")
    assert given(page, "mix").tolist() == [1] * layers and page.run(said) == "all layers"
    put(page, "#latent-mixing", "blend")
    put(page, "#latent-mix", 0)
    put(page, "#latent-mix", 1 / layers)
    assert given(page, "mix") == pytest.approx(np.full(layers, 1 / layers))


def test_directions_and_truncation_move_alone_and_together(page: Browser) -> None:
    entry = edited(FIRST["stylegan2"])[1]
    start(page, "latent", entry)
    page.run("document.querySelector('#latent-direction-1').focus()")
    page.press("ArrowRight")
    assert given(page, "amounts") == pytest.approx([0, 0.1, 0])
    page.press("Home")
    put(page, "#latent-direction-2", 1.5)
    assert given(page, "amounts") == pytest.approx([0, -3, 1.5])
    text = "document.querySelector('output[for=latent-direction-1]').textContent"
    assert page.run(text) == "\u22123.0 σ"
    put(page, "#latent-psi", 0.5)
    assert given(page, "psi").tolist() == [0.5]
    assert given(page, "amounts") == pytest.approx([0, -3, 1.5])
    page.run("[...document.querySelectorAll('button')].find((b) => b.textContent === 'All to 0').click()")  # fmt: skip # noqa: E501
    assert given(page, "amounts").tolist() == [0, 0, 0] and page.run(text) == "0.0 σ"
    names = [part["ratio"] for part in entry["latent"]["directions"]]
    small = page.run("document.querySelector('[id=latent-direction-0] + small').textContent")
    assert small == f"{100 * names[0]:.1f} % of the variance"


def test_single_numbers_stay_as_they_were_set_until_they_are_put_back(page: Browser) -> None:
    start(page, "latent", edited(FIRST["stylegan2"])[1])
    page.click("summary")
    page.wait_for("document.querySelector('#latent-number-2') !== null")
    shown = float(page.run("document.querySelector('#latent-number-2').value"))
    assert shown == pytest.approx(draws(8, 0)[2], abs=0.026)
    put(page, "#latent-number-2", -2.5)
    put(page, "#latent-seed", 4)
    want = draws(8, 4)
    want[2] = -2.5
    assert given(page, "z")[0] == pytest.approx(want, abs=3e-6)
    for k in (1, 2):  # the sliders, too, are those of the new seed, and the one that was set
        now = float(page.run(f"document.querySelector('#latent-number-{k}').value"))
        assert now == pytest.approx(want[k], abs=0.026)
    page.click("details button")
    assert given(page, "z")[0] == pytest.approx(draws(8, 4), abs=3e-6)


def test_a_class_is_chosen_as_one_hot(page: Browser) -> None:
    start(page, "latent", edited(WIRINGS["sngan conditional"])[1])
    put(page, "#latent-class", "2")
    assert given(page, "y").tolist() == [[0, 0, 1, 0]]


@each_latent
def test_a_plain_exported_file_is_fed_without_edits(page: Browser, wiring: Wiring) -> None:
    entry = plain(wiring)
    start(page, "latent", entry)
    name, dim = entry["latent"]["input"], entry["latent"]["dim"]
    assert given(page, name).ravel() == pytest.approx(draws(dim, 0), abs=3e-6)
    assert page.run("document.querySelectorAll('#latent-psi, #latent-direction-0').length") == 0
    put(page, "#latent-mix", 0.25)  # mixed here: as standard normal as its parts
    want = (0.75 * draws(dim, 0) + 0.25 * draws(dim, 1)) / np.hypot(0.75, 0.25)
    assert given(page, name).ravel() == pytest.approx(want, abs=3e-6)


def test_every_control_has_a_name_and_a_phone_has_room(page: Browser) -> None:
    page.ask(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=740,
        deviceScaleFactor=1,
        mobile=True,
    )
    start(page, "latent", edited(FIRST["stylegan2"])[1])
    page.click("summary")
    assert page.run("document.documentElement.scrollWidth") <= 360
    tree = page.ask("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "spinbutton", "combobox"}  # <details> has a summary
    named = [
        (node["role"]["value"], node.get("name", {}).get("value"))
        for node in tree
        if not node.get("ignored") and node["role"]["value"] in roles
    ]
    assert {role for role, _ in named} >= {"slider", "spinbutton", "combobox", "button"}
    assert [role for role, name in named if not name] == []
    assert page.complaints == []
