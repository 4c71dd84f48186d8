"""The recipe of the authors' released code, and what the defaults change in it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ganpress.methods.gan_slimming.extract import floors_of
from ganpress.methods.gan_slimming.joint import rate_factors
from ganpress.methods.gan_slimming.settings import SlimConfig, resolve
from ganpress.methods.gan_slimming.targets import prunable
from ganpress.models.checkpoint import full_model
from ganpress.run.recipes import recipes
from ganpress.run.settings import describe, read_config

FILE = recipes(["slim"])["gs2020"]
RECIPE = read_config(SlimConfig, FILE)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def differences() -> dict[str, tuple[Any, Any]]:
    """Settings in which the resolved defaults and the resolved recipe differ."""
    ours, theirs = (flat(resolve(c).model_dump()) for c in (SlimConfig(), RECIPE))
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def listed() -> list[str]:
    return re.findall(r"^ +- ``([a-z_.]+)``", SlimConfig.__doc__ or "", flags=re.MULTILINE)


def test_each_departure_of_the_defaults_is_listed_and_each_listed_one_is_a_difference() -> None:
    assert sorted(listed()) == sorted(differences())
    assert len(set(listed())) == len(listed()) >= 8


def test_what_the_list_says_of_each_departure_is_so() -> None:
    text = re.sub(r"(\d) (\d{3})", r"\1\2", re.sub(r"\s+", " ", SlimConfig.__doc__ or ""))
    said = dict(re.findall(r"- ``([a-z_.]+)``: (.*?)\.(?= - | What)", text))
    words = {True: "true", False: "false"}
    for name, pair in differences().items():
        for value in pair:
            shown = words[value] if isinstance(value, bool) else str(value)
            verb = "keeps" if name == "trunk" and value == "keep" else shown
            assert re.search(rf"\b{verb}\b", said[name]), (name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", 20.0),
        ("discriminator.real", "teacher"),
        ("discriminator.pooled", True),
        ("discriminator.pool", 50),
        ("discriminator.lr", 1e-5),
        ("distance.content", 1.0),
        ("distance.style", 1e5),
        ("sparsify.lr", 1e-5),
        ("sparsify.scale_lr", 0.1),
        ("sparsify.weight_decay", 1e-3),
        ("sparsify.batch", 8),
        ("sparsify.size", 256),
        ("sparsify.rounds", 1),
        ("sparsify.steps", 200 * (1067 // 8)),
        ("finetune.steps", 200 * (1067 // 16)),
        ("finetune.lr", 1e-4),
        ("finetune.ema", 0.0),
        ("quantise.p", 4.0),
        ("quantise.ranges", "fixed"),
    ],
)
def test_the_recipe_has_the_numbers_of_the_released_code(name: str, value: object) -> None:
    assert flat(resolve(RECIPE).model_dump())[name] == value


def test_the_shrink_of_a_scale_over_the_whole_loop_is_the_released_code_s() -> None:
    s = RECIPE.sparsify
    lrs = [s.scale_lr * rate_factors(s.schedule, i / 200)[1] for i in range(200)]
    assert 133 * s.rho * sum(lrs) == pytest.approx(13.4, abs=0.1)  # methods.md 1.1


def test_the_recipe_prunes_the_13_widths_of_the_released_code_and_nothing_else() -> None:
    teacher = full_model("cyclegan", blocks=9)
    groups = prunable(teacher, RECIPE)
    assert [teacher.widths[g] for g in groups] == [64, 128] + [256] * 9 + [128, 64]
    floors = floors_of(teacher, RECIPE)
    assert [floors[g] for g in groups] == [1, 1] + [0] * 9 + [1, 1]


def test_the_recipe_names_every_setting_that_it_can_depart_in() -> None:
    text = FILE.read_text()
    for name, default, _ in describe(SlimConfig):
        group, _, leaf = name.rpartition(".")
        if group in ("discriminator", "sparsify", "finetune", "quantise") and default is not None:
            assert re.search(rf"^{leaf} =", text, flags=re.MULTILINE) or leaf in UNUSED, name


UNUSED = {"width", "layers", "ranking", "cost_exponent", "ramp_fraction"} | {
    "validate_every",
    "holdout_images",
}
"""Of a fresh discriminator, of a target, of a choice of the best."""
