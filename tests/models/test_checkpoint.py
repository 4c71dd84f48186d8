"""A checkpoint knows itself, and says exactly what is wrong with one that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import (
    WIRINGS,
    Wiring,
    difference,
    every_family,
    every_vanishing_wiring,
    every_wiring,
    photos,
    random_indices,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ganpress.channels.take import shrink
from ganpress.errors import CheckpointError, ConfigError
from ganpress.models.checkpoint import (
    Model,
    fingerprint,
    full_model,
    load,
    save,
)
from ganpress.models.discriminator import Discriminator
from ganpress.models.discriminator_file import load_discriminator, save_discriminator
from ganpress.nn.layers import convolutions
from ganpress.quantisation.quantise import (
    FakeQuantiser,
    calibrate,
    learn_ranges,
    quantise,
    quantiser_of,
    ranges_of,
)

SMALL = WIRINGS["cyclegan affine"]


def card_of(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["ganpress"])


def rewrite(path: Path, *, card: object = None, **tensors: Tensor | None) -> Path:
    """Write a saved model again with another card or other tensors (None: without it)."""
    state = {**load_file(path), **{n.replace("__", "."): t for n, t in tensors.items()}}
    written = card_of(path) if card is None else card
    save_file(
        {n: t for n, t in state.items() if t is not None},
        path,
        metadata={"ganpress": json.dumps(written)},
    )
    return path


# --- round trips ---------------------------------------------------------------------------------


@every_wiring
def test_a_model_comes_back_bit_for_bit(wiring: Wiring, tmp_path: Path) -> None:
    model, x = wiring.model(), wiring.inputs()
    back = load(save(model, tmp_path / "model.safetensors"))
    assert back.card() == model.card()
    assert back.provenance == {"source": "test"}
    assert fingerprint(back.net) == fingerprint(model.net)
    assert torch.equal(back(*x), model(*x))
    assert not back.net.training
    assert all(p.requires_grad and not p.is_meta for p in back.net.parameters())


@every_wiring
def test_a_cut_model_comes_back_with_its_widths(wiring: Wiring, tmp_path: Path) -> None:
    model, x = wiring.model(), wiring.inputs()
    model.net = shrink(model.build, model.net, random_indices(model.net, 3))
    back = load(save(model, tmp_path / "model.safetensors"))
    assert back.widths == model.widths != wiring.widths
    assert torch.equal(back(*x), model(*x))


@every_vanishing_wiring
def test_a_model_with_an_emptied_block_comes_back(wiring: Wiring, tmp_path: Path) -> None:
    model, x = wiring.model(), wiring.inputs()
    keep = {wiring.vanishing[-1]: 0, "trunk": 5}
    model.net = shrink(model.build, model.net, keep)
    back = load(save(model, tmp_path / "model.safetensors"))
    assert back.widths == {**wiring.widths, **keep}
    assert torch.equal(back(*x), model(*x))


def test_a_model_with_gates_comes_back(tmp_path: Path) -> None:
    model, x = WIRINGS["cartoongan"].model(), (photos(),)
    model.net = WIRINGS["cartoongan"].net(gates=True)
    back = load(save(model, tmp_path / "model.safetensors"))
    assert torch.equal(back(*x), model(*x))


@every_wiring
def test_half_precision_halves_the_file_and_comes_back_as_float(
    wiring: Wiring, tmp_path: Path
) -> None:
    model, x = wiring.model(), wiring.inputs()
    whole = save(model, tmp_path / "whole.safetensors")
    half = save(model, tmp_path / "half.safetensors", half=True)
    header = 8 + int.from_bytes(half.read_bytes()[:8], "little")
    assert half.stat().st_size - header < 0.51 * (whole.stat().st_size - header)
    back = load(half)
    floating = [t for t in back.net.state_dict().values() if t.is_floating_point()]
    assert {t.dtype for t in floating} == {torch.float32}
    for name, tensor in back.net.state_dict().items():
        expected = model.net.state_dict()[name]
        rounded = expected.half().float() if expected.is_floating_point() else expected
        assert torch.equal(tensor, rounded), name
    assert (back(*x) - model(*x)).abs().mean() <= 0.005
    assert difference(back(*x), model(*x)) <= 0.1


@every_family
@pytest.mark.parametrize("per_channel", [False, True], ids=["per-tensor", "per-channel"])
def test_a_quantised_model_is_stored_as_int8_and_comes_back_equal(
    wiring: Wiring, per_channel: bool, tmp_path: Path
) -> None:
    model, x = wiring.model(), wiring.inputs()
    quantise(model.net, FakeQuantiser(bits=8, per_channel=per_channel))
    calibrate(model.net, wiring.net(), *x)
    path = save(model, tmp_path / "int8.safetensors")
    half = save(model, tmp_path / "half.safetensors", half=True, trainable=True)
    stored = load_file(path)
    for name in convolutions(model.net):
        assert stored[f"{name}.weight"].dtype == torch.int8, name
        assert stored[f"{name}.weight"].abs().max() <= 127
    assert path.stat().st_size < half.stat().st_size
    back = load(path)
    assert ranges_of(back.net) == ranges_of(model.net)
    assert quantiser_of(back.net) == quantiser_of(model.net)
    assert torch.equal(back(*x), model(*x))
    again = load(save(back, tmp_path / "again.safetensors"))
    assert fingerprint(again.net) == fingerprint(back.net)


def test_a_quantised_model_can_keep_its_float_weights_for_training(tmp_path: Path) -> None:
    model = SMALL.model()
    quantise(model.net, FakeQuantiser(bits=4, levels="gs2020", trunk="clamped"))
    back = load(save(model, tmp_path / "model.safetensors", trainable=True))
    assert fingerprint(back.net) == fingerprint(model.net)
    assert quantiser_of(back.net) == quantiser_of(model.net)
    assert torch.equal(back(photos()), model(photos()))


@every_wiring
def test_learned_ranges_are_kept_for_training_and_final_in_a_finished_file(
    wiring: Wiring, tmp_path: Path
) -> None:
    model, x = wiring.model(), wiring.inputs()
    learn_ranges(calibrate(quantise(model.net, FakeQuantiser()), wiring.net(), *x))
    learned = [p for n, p in model.net.named_parameters() if n.endswith(".range")]
    for p in learned:
        p.data.mul_(0.9)
    training = load(save(model, tmp_path / "training.safetensors", trainable=True, half=True))
    assert [p for n, p in training.net.named_parameters() if n.endswith(".range")] == learned
    finished = load(save(model, tmp_path / "finished.safetensors"))
    assert not [n for n, _ in finished.net.named_parameters() if n.endswith(".range")]
    assert ranges_of(training.net) == ranges_of(finished.net) == ranges_of(model.net)
    assert torch.equal(finished(*x), model(*x))
    assert finished.card() == model.card()


@every_wiring
def test_widths_never_leak_into_the_numbers(wiring: Wiring, tmp_path: Path) -> None:
    """What a file says of a network is all there is: nothing is recomputed from the full widths."""
    model, x = wiring.model(), wiring.inputs()
    model.net = shrink(model.build, model.net, random_indices(model.net, 8))
    rebuilt = model.build(model.widths).eval()
    rebuilt.load_state_dict(model.net.state_dict())
    assert torch.equal(rebuilt(*x), model(*x))


def test_the_card_says_all_that_is_needed(tmp_path: Path) -> None:
    model = SMALL.model()
    card = card_of(save(model, tmp_path / "model.safetensors"))
    assert card["family"] == "cyclegan"
    assert card["widths"] == SMALL.widths
    assert card["options"]["affine"] is True
    assert card["quantiser"] is None
    assert card["provenance"] == {"source": "test"}


def test_a_model_is_called_without_gradients_in_eval_mode_and_left_as_it_was() -> None:
    model = WIRINGS["cyclegan batch"].model()
    model.net.train()
    before = fingerprint(model.net)
    assert not model(photos()).requires_grad
    assert model.net.training
    assert fingerprint(model.net) == before


def test_a_full_model_has_the_papers_widths() -> None:
    with torch.device("meta"):
        model = full_model("cyclegan", blocks=6)
    assert model.widths["trunk"] == 256
    assert "block5" in model.widths
    assert "block6" not in model.widths
    with pytest.raises(ConfigError, match=r"did you mean 'cyclegan'"):
        full_model("cycelgan")


def test_a_fingerprint_changes_with_any_bit() -> None:
    net = SMALL.net()
    before = fingerprint(net)
    assert fingerprint(SMALL.net()) == before
    with torch.no_grad():
        net.out.conv.bias[1] += 1e-6
    assert fingerprint(net) != before


# --- discriminators ------------------------------------------------------------------------------

USUAL = {
    "patch": "least-squares",  # CycleGAN, section 4; CartoonGAN's and pix2pix's say another
    "munit": "least-squares",
    "spade": "hinge",
    "sngan": "hinge",
    "stylegan2": "logistic",
}
ONE_EACH = {w.name: w for w in reversed(WIRINGS.values())}
every_discriminator = pytest.mark.parametrize("wiring", ONE_EACH.values(), ids=ONE_EACH.keys())


def flat(told: object) -> list[Tensor]:
    """The tensors in a discriminator's answer, which may be lists of lists."""
    return [told] if isinstance(told, Tensor) else [t for part in told for t in flat(part)]  # type: ignore[attr-defined]


def trained(wiring: Wiring) -> Model:
    """A model whose discriminator has seen pictures: its estimates and statistics have moved."""
    model = wiring.model()
    model.discriminator = wiring.discriminator()
    for _ in range(2):
        model.discriminator.net.train()(*wiring.shown())
    return model


@every_discriminator
@pytest.mark.parametrize("half", [False, True], ids=["whole", "half"])
def test_a_discriminator_comes_back_with_its_generator(
    wiring: Wiring, half: bool, tmp_path: Path
) -> None:
    model = trained(wiring)
    path = save(model, tmp_path / "model.safetensors", half=half)
    back = load(path)
    assert back.discriminator is not None
    assert card_of(path)["discriminator"] == {
        "kind": model.discriminator.kind,
        "options": model.discriminator.options,
        "objective": USUAL[model.discriminator.kind],
        "pooled": False,
        "r1": 0.0,
        "r1_every": 16,
    }
    assert (back.discriminator.kind, back.discriminator.options) == (
        model.discriminator.kind,
        model.discriminator.options,
    )
    theirs = back.discriminator.net.state_dict()
    for name, tensor in model.discriminator.net.state_dict().items():
        rounded = tensor.half().float() if half and tensor.is_floating_point() else tensor
        assert torch.equal(theirs[name], rounded), name
        assert theirs[name].dtype == tensor.dtype, name
    if not half:
        told = flat(back.discriminator.net.eval()(*wiring.shown()))
        for a, b in zip(told, flat(model.discriminator.net.eval()(*wiring.shown())), strict=True):
            assert torch.equal(a, b)
        assert fingerprint(back.net) == fingerprint(model.net)


@every_discriminator
def test_a_discriminator_that_comes_back_can_be_trained_on(wiring: Wiring, tmp_path: Path) -> None:
    model = trained(wiring)
    back = load(save(model, tmp_path / "model.safetensors"))
    for discriminator in (model.discriminator, back.discriminator):
        assert discriminator is not None
        net = discriminator.net.train()
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(2):
            optimiser.zero_grad()
            sum(t.square().mean() for t in flat(net(*wiring.shown()))).backward()
            optimiser.step()
    assert fingerprint(model.discriminator.net) == fingerprint(back.discriminator.net)


def test_a_discriminator_with_values_that_are_not_finite_is_neither_saved_nor_read(
    tmp_path: Path,
) -> None:
    model = trained(WIRINGS["gaugan"])
    path = save(model, tmp_path / "model.safetensors")
    name = next(
        n for n, t in model.discriminator.net.state_dict().items() if n.endswith("original")
    )
    stored = f"discriminator::{name}"
    rewrite(path, **{stored: torch.full_like(load_file(path)[stored], torch.nan)})
    with pytest.raises(CheckpointError, match=rf"\(its discriminator\).*1 not finite: {name}"):
        load(path)
    with torch.no_grad():
        model.discriminator.net.get_parameter(name).fill_(torch.inf)
    with pytest.raises(CheckpointError, match=rf"not saved, discriminator::{name}.*not finite"):
        save(model, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "patsh"}, "did you mean 'patch'"),
        ({"options": {"wide": 3}}, "wide"),
        ({"options": {"width": 5}}, r"its discriminator\).*of the wrong shape"),
        ({"options": None}, "student"),
        ({"kind": None}, "student"),
        ({"objective": "hinje"}, "no objective 'hinje' \\(did you mean 'hinge'"),
        ({"objectives": "hinge"}, "objectives"),
    ],
)
def test_a_card_that_describes_another_discriminator_is_refused(
    saved: Path, change: dict[str, Any], told: str
) -> None:
    save(trained(SMALL), saved)
    card = card_of(saved)
    rewrite(saved, card={**card, "discriminator": {**card["discriminator"], **change}})
    with pytest.raises(CheckpointError, match=told):
        load(saved)


def test_a_discriminators_tensors_without_a_word_on_the_card_are_ignored(saved: Path) -> None:
    save(trained(SMALL), saved)
    rewrite(saved, card={**card_of(saved), "discriminator": None})
    assert load(saved).discriminator is None


def test_what_a_discriminator_was_trained_under_comes_back(tmp_path: Path) -> None:
    model = WIRINGS["cyclegan affine"].model()
    own = WIRINGS["cyclegan affine"].discriminator()
    said = {"objective": "cross-entropy", "pooled": True, "r1": 0.3, "r1_every": 5}
    model.discriminator = Discriminator(own.net, own.kind, own.options, **said)
    path = save(model, tmp_path / "model.safetensors")
    card = card_of(path)
    assert {name: card["discriminator"][name] for name in said} == said
    back = load(path).discriminator
    assert back is not None
    assert (back.objective, back.pooled, back.r1, back.r1_every) == ("cross-entropy", True, 0.3, 5)
    alone = load_discriminator(save_discriminator(back, tmp_path / "alone.safetensors"))
    assert alone.card() == card["discriminator"]


def test_an_objective_that_does_not_exist_is_refused_with_the_nearest_name() -> None:
    own = WIRINGS["gaugan"].discriminator()
    with pytest.raises(ConfigError) as raised:
        Discriminator(own.net, own.kind, own.options, objective="least-square")
    told = str(raised.value)
    assert "no objective 'least-square' (did you mean 'least-squares'?)" in told
    for name in ("cross-entropy", "least-squares", "hinge", "logistic"):
        assert name in told.split("Objectives:")[1]


# --- files of format 1 ----------------------------------------------------------------------------


def format_1(path: Path, model: Model, recipe: object = None) -> Path:
    """A model as the first version wrote it, by hand: its discriminator is called a critic, and the
    card says of it how it was built only."""
    own, state = model.discriminator, dict(model.net.state_dict())
    card: dict[str, Any] = {
        "format": 1,
        "family": model.family.name,
        "options": model.options,
        "widths": model.widths,
        "quantiser": None,
        "ranges": {},
        "critic": None,
        "provenance": {
            "source": "ganpress train",
            **({} if recipe is None else {"recipe": recipe}),
        },
    }
    if own is not None:
        card["critic"] = {"kind": own.kind, "options": own.options}
        state |= {f"critic::{name}": tensor for name, tensor in own.net.state_dict().items()}
    state = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    save_file(state, path, metadata={"ganpress": json.dumps(card)})
    return path


@pytest.mark.parametrize(
    ("name", "recipe", "objective", "r1", "every"),
    [
        ("pix2pix", {"train": "pix2pix", "objective": "vanilla"}, "cross-entropy", 0, 16),
        ("pix2pix", {"train": "pix2pix", "objective": "lsgan"}, "least-squares", 0, 16),
        ("gaugan", {"train": "gaugan"}, "hinge", 0, 16),
        ("munit", {"train": "munit"}, "least-squares", 0, 16),
        ("sngan", {"train": "sngan", "n_critic": 1}, "hinge", 0, 16),
        ("stylegan2", {"train": "stylegan2", "r1": 0.5, "r1_every": 8}, "logistic", 0.5, 8),
        ("cyclegan affine", {"train": "cyclegan"}, "least-squares", 0, 16),
        ("cyclegan affine", "recipes/train_demo_teacher.py", "least-squares", 0, 16),
        ("cyclegan affine", None, "least-squares", 0, 16),
    ],
)
def test_a_file_of_format_1_is_read_as_its_recipe_says_and_written_as_format_2(
    name: str, recipe: object, objective: str, r1: float, every: int, tmp_path: Path
) -> None:
    model = trained(WIRINGS[name])
    back = load(format_1(tmp_path / "old.safetensors", model, recipe))
    own = back.discriminator
    assert own is not None and model.discriminator is not None
    assert (own.objective, own.r1, own.r1_every, own.pooled) == (objective, r1, every, False)
    assert fingerprint(back.net) == fingerprint(model.net)
    assert fingerprint(own.net) == fingerprint(model.discriminator.net)
    path = save(back, tmp_path / "new.safetensors")
    card = card_of(path)
    assert card["format"] == 2
    assert "critic" not in card
    assert card["discriminator"] == {
        "kind": model.discriminator.kind,
        "options": model.discriminator.options,
        "objective": objective,
        "pooled": False,
        "r1": r1,
        "r1_every": every,
    }
    assert card["provenance"].get("recipe") == recipe
    stored = load_file(path)
    assert not any(n.startswith("critic::") for n in stored)
    for n, tensor in model.discriminator.net.state_dict().items():
        assert torch.equal(stored[f"discriminator::{n}"], tensor), n
    again = load(path)
    assert again.card() == card
    assert fingerprint(again.discriminator.net) == fingerprint(model.discriminator.net)


def test_a_file_of_format_1_without_a_discriminator_is_read_and_written_as_format_2(
    tmp_path: Path,
) -> None:
    model = SMALL.model()
    back = load(format_1(tmp_path / "old.safetensors", model))
    assert back.discriminator is None
    assert fingerprint(back.net) == fingerprint(model.net)
    card = card_of(save(back, tmp_path / "new.safetensors"))
    assert (card["format"], card["discriminator"], "critic" in card) == (2, None, False)


def test_a_discriminator_alone_of_format_1_is_read(tmp_path: Path) -> None:
    own = WIRINGS["stylegan2"].discriminator()
    state = {n: t.contiguous().clone() for n, t in own.net.state_dict().items()}
    card = {"format": 1, "critic": {"kind": own.kind, "options": own.options}}
    path = tmp_path / "critic.safetensors"
    save_file(state, path, metadata={"ganpress": json.dumps(card)})
    back = load_discriminator(path)
    assert (back.kind, back.options, back.objective) == (own.kind, own.options, "logistic")
    assert fingerprint(back.net) == fingerprint(own.net)
    with pytest.raises(CheckpointError, match="a discriminator without its generator"):
        load(path)


# --- files that cannot be used -------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(SMALL.model(), tmp_path / "student.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        CheckpointError, match=r"student\.safetensors is .*Copy or download it again"
    ):
        load(saved)


def test_a_file_that_is_no_safetensors_is_refused_with_the_way_to_import(tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"latest_net_G\.pth.*ganpress import"):
        load(path)


def test_a_missing_file_is_refused_with_the_nearest_name(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"did you mean 'student\.safetensors'"):
        load(saved.with_name("studnet.safetensors"))
    with pytest.raises(CheckpointError, match=r"no model file"):
        load(saved.parent / "nowhere" / "student.safetensors")


def test_a_folder_is_refused_as_one_and_never_taken_for_a_misspelling(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder.*Give .*student\.safetensors\.$"):
        load(saved.parent)
    (saved.parent / "photos").mkdir()
    (saved.parent / "link").symlink_to(saved.parent / "gone")
    for name in ("photos", "link"):
        with pytest.raises(CheckpointError) as caught:
            load(saved.parent / name)
        assert "did you mean" not in str(caught.value)


def test_a_file_without_a_card_is_refused(saved: Path) -> None:
    save_file({"weight": torch.zeros(3)}, saved)
    with pytest.raises(CheckpointError, match=r"not a ganpress model.*ganpress import auto"):
        load(saved)


@pytest.mark.parametrize("card", [[], {}, "text", 3, None])
def test_a_card_that_is_no_card_is_refused(saved: Path, card: object) -> None:
    save_file(load_file(saved), saved, metadata={"ganpress": json.dumps(card)})
    with pytest.raises(CheckpointError, match=r"not a whole ganpress model \(.* card .*copy it"):
        load(saved)
    save_file(load_file(saved), saved, metadata={"ganpress": "{not json"})
    with pytest.raises(CheckpointError, match=r"not a whole ganpress model"):
        load(saved)


def test_another_format_is_refused(saved: Path) -> None:
    rewrite(saved, card={**card_of(saved), "format": 7})
    with pytest.raises(CheckpointError, match=r"format 7.*reads 2.*update ganpress"):
        load(saved)


def test_a_model_of_another_family_than_expected_is_refused(saved: Path) -> None:
    assert load(saved, expect="cyclegan").family.name == "cyclegan"
    with pytest.raises(CheckpointError, match=r"'cyclegan' generator, but 'cartoongan' is needed"):
        load(saved, expect="cartoongan")


def test_an_unknown_family_is_refused_with_the_nearest_name(saved: Path) -> None:
    rewrite(saved, card={**card_of(saved), "family": "cartoongen"})
    with pytest.raises(CheckpointError, match=r"'cartoongen'.*did you mean 'cartoongan'"):
        load(saved)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"widths": {"stem": 0}}, "at least 1"),
        ({"widths": {"stme": 4}}, "did you mean 'stem'"),
        ({"widths": None}, "student"),
        ({"widths": [3, 4]}, "student"),
        ({"widths": {"stem": "many"}}, "student"),
        ({"options": {"afine": True}}, "did you mean 'affine'"),
        ({"options": {"blocks": "nine"}}, "student"),
        ({"quantiser": {"bits": 99}}, "2 to 8 bits"),
        ({"quantiser": {"bats": 8}}, "bats"),
        ({"provenance": 3}, "student"),
    ],
)
def test_a_card_that_describes_no_network_is_refused(
    saved: Path, change: dict[str, Any], told: str
) -> None:
    rewrite(saved, card={**card_of(saved), **change})
    with pytest.raises(CheckpointError, match=told):
        load(saved)


@pytest.mark.parametrize("missing", ["options", "widths"])
def test_a_card_with_a_line_missing_is_refused(saved: Path, missing: str) -> None:
    rewrite(saved, card={k: v for k, v in card_of(saved).items() if k != missing})
    with pytest.raises(CheckpointError, match=missing):
        load(saved)


def test_every_tensor_that_does_not_fit_is_named(saved: Path) -> None:
    rewrite(
        saved,
        stem__conv__weight=torch.zeros(5, 4, 7, 7),
        out__conv__bias=None,
        surprise=torch.zeros(2),
        up1__conv__bias=torch.full((17,), torch.nan),
    )
    with pytest.raises(CheckpointError) as raised:
        load(saved)
    told = str(raised.value)
    assert str(saved) in told
    assert "1 missing: out.conv.bias." in told
    assert "1 left over: surprise." in told
    assert "stem.conv.weight: file (5, 4, 7, 7), network (5, 3, 7, 7)" in told
    assert "1 not finite: up1.conv.bias." in told


def test_of_many_tensors_the_first_ten_are_named(saved: Path) -> None:
    rewrite(saved, card={**card_of(saved), "widths": {**SMALL.widths, "trunk": 10}})
    with pytest.raises(CheckpointError, match=r"of the wrong shape.* and \d+ more\.") as raised:
        load(saved)
    assert str(raised.value).count("network (") == 10


def test_widths_of_the_card_that_are_not_the_files_are_refused(saved: Path) -> None:
    rewrite(saved, card={**card_of(saved), "widths": {**SMALL.widths, "up2": 18}})
    with pytest.raises(CheckpointError, match=r"out\.conv\.weight: file \(3, 19, 7, 7\), network"):
        load(saved)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_not_saved(tmp_path: Path, bad: float) -> None:
    model = SMALL.model()
    with torch.no_grad():
        model.net.up1.conv.weight[0, 0, 0, 0] = bad
    path = tmp_path / "model.safetensors"
    for how in ({}, {"half": True}, {"trainable": True}):
        with pytest.raises(CheckpointError, match=r"not saved, up1\.conv\.weight.*not finite"):
            save(model, path, **how)
    assert not path.exists()


def test_values_beyond_half_precision_are_not_saved_in_it(tmp_path: Path) -> None:
    model = SMALL.model()
    with torch.no_grad():
        model.net.out.conv.bias[0] = 1e6
    with pytest.raises(CheckpointError, match=r"out\.conv\.bias has values beyond half precision"):
        save(model, tmp_path / "model.safetensors", half=True)
    assert load(save(model, tmp_path / "model.safetensors")).net.out.conv.bias[0] == 1e6


def test_a_failed_save_leaves_the_file_that_was_there(saved: Path) -> None:
    before = saved.read_bytes()
    model = SMALL.model()
    with torch.no_grad():
        model.net.out.conv.bias[0] = torch.nan
    with pytest.raises(CheckpointError):
        save(model, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
