"""SNGAN: the generator's wiring, its discriminator, files of other code, and its training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from ganpress.channels.silence import extract, silent
from ganpress.channels.take import Elastic, shrink, take
from ganpress.data import open_images
from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers.fitting import assemble, assemble_discriminator
from ganpress.formats.importers.sngan import discriminator_plan, plan, state_of
from ganpress.measures.cost import CostTable, measure
from ganpress.models.checkpoint import Model, full_model, load, save
from ganpress.models.families import family
from ganpress.models.families.base import draw_inputs
from ganpress.nn.axes import widths
from ganpress.nn.discriminators import build_discriminator
from ganpress.nn.layers import add_gates, read_inputs
from ganpress.quantisation.quantise import FakeQuantiser, fake_weight, quantise
from ganpress.run.run import Run
from ganpress.run.settings import checked
from ganpress.training.sngan import SNGANTraining, train_sngan

SNGAN = family("sngan")
TINY = {"stem": 5, "mid0": 7, "block0": 11, "mid1": 13, "block1": 3, "mid2": 17, "block2": 19}
both_kinds = pytest.mark.parametrize("classes", [0, 4], ids=["unconditional", "conditional"])
interop = pytest.mark.shared_interop


def tiny(classes: int = 0, **options: int) -> Model:
    """A tiny network whose scales, shifts and statistics are all different."""
    torch.manual_seed(0)
    given = SNGAN.resolve({"latent_dim": 6, "classes": classes, **options})
    net = SNGAN.build(TINY, **given).eval()
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            leaf = name.rsplit(".", 1)[-1]
            if leaf in ("gain", "running_var") or (leaf == "weight" and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5)
            elif leaf in ("bias", "shift", "running_mean"):
                tensor.normal_(0, 0.5)
    return Model(net, SNGAN, given)


def drawn(model: Model, n: int = 2, seed: int = 1) -> tuple[Tensor, ...]:
    return draw_inputs(model.net, n, 32, torch.Generator().manual_seed(seed))


def reference(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights by upstream's key, and inputs and outputs by name."""
    weights, rest = {}, {}
    with safe_open(Path(os.environ["GANPRESS_INTEROP"]) / f"{name}.safetensors", "pt") as file:
        for key in file.keys():  # noqa: SIM118
            part, _, name = key.partition("/")
            (weights if part == "weights" else rest)[name] = file.get_tensor(key).clone()
    return weights, rest


def test_the_full_network_costs_what_the_paper_says() -> None:
    with torch.device("meta"):
        plain, conditional = full_model("sngan"), full_model("sngan", classes=10)
    cost = measure(plain.net, 32)
    assert (cost.macs, cost.params) == (1_680_605_184, 4_276_739)
    assert measure(conditional.net, 32).macs == cost.macs


@both_kinds
def test_a_picture_has_eight_times_the_bottom_width(classes: int) -> None:
    model = tiny(classes, bottom_width=2)
    y = model(*drawn(model, 3))
    assert y.shape == (3, 3, 16, 16)
    assert y.abs().max() <= 1
    assert widths(model.net) == TINY


@both_kinds
def test_it_reads_what_it_draws(classes: int) -> None:
    model = tiny(classes)
    inputs = drawn(model, 5)
    assert model.net.reads == (("z", "y") if classes else ("z",))
    assert len(inputs) == len(model.net.reads)
    assert all(t.dtype == torch.float32 for t in inputs)
    assert inputs[0].shape == (5, 6)
    if classes:
        assert torch.equal(inputs[1].sum(1), torch.ones(5))


def test_the_class_changes_the_picture() -> None:
    model = tiny(4)
    z = torch.randn(1, 6).expand(4, -1)
    pictures = model(z, torch.eye(4))
    assert (pictures[1:] - pictures[:1]).abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_picture_without_its_class_is_refused(count: int) -> None:
    """Not made of one row of the norms of classes each, as many as there happen to be."""
    with pytest.raises(ConfigError, match=r"class of each picture: give y, \(n, 4\)"):
        tiny(4)(torch.randn(count, 6))


def test_training_with_classes_keeps_the_statistics_that_plain_batch_norm_keeps() -> None:
    model = tiny(4)
    norm = model.net.b5.train()
    plain = nn.BatchNorm2d(TINY["block2"])
    plain.load_state_dict(
        {k: v for k, v in norm.state_dict().items() if k not in ("gain", "shift")}
    )
    x = torch.randn(6, TINY["block2"], 4, 4)
    with torch.no_grad():
        norm.gain.fill_(1)
        norm.shift.zero_()
    assert torch.allclose(norm(x, torch.eye(4)[[0, 1, 2, 3, 0, 1]]), plain(x), atol=1e-5)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.allclose(getattr(norm, name), getattr(plain, name)), name


@both_kinds
def test_elastic_equals_the_small_network_in_picture_and_gradient(classes: int) -> None:
    model = tiny(classes)
    keep = {"stem": torch.tensor([0, 3]), "mid1": 4, "block1": 2, "block2": torch.tensor([1, 8, 9])}
    inputs = drawn(model)
    elastic = Elastic(model.net)(keep, *inputs)
    small = shrink(model.build, model.net, keep)
    assert torch.equal(elastic, small(*inputs))
    elastic.square().sum().backward()
    small(*inputs).square().sum().backward()
    grads = {n: p.grad for n, p in model.net.named_parameters()}
    for name, tensor in small.named_parameters():
        model.net.get_parameter(name).data = grads[name]
        assert torch.equal(take(model.net, keep)[name], tensor.grad), name


@both_kinds
def test_channels_without_weight_are_cut_without_changing_the_picture(classes: int) -> None:
    model = tiny(classes)
    inputs = drawn(model)
    with torch.no_grad():
        for block in model.net.blocks:
            block.b2.weight[1:3], block.b2.bias[1:3] = 0, -1.0  # silent: relu(bias) = 0
        model.net.b5.weight[4], model.net.b5.bias[4] = 0, -1.0
    before = model(*inputs)
    gone = silent(model.net)
    assert {g: k.tolist() for g, k in gone.items()} == {
        **{f"mid{i}": [1, 2] for i in range(3)},
        "block2": [4],
    }
    keep = {g: [i for i in range(TINY[g]) if i not in k] for g, k in gone.items()}
    keep = {g: torch.tensor(k) for g, k in keep.items()}
    after = shrink(model.build, model.net, keep)(*inputs)
    assert torch.allclose(before, after, atol=1e-6)


def test_gates_stand_for_the_blocks_outputs() -> None:
    model = tiny()
    inputs = drawn(model)
    before = model(*inputs)
    add_gates(model.net)
    assert torch.allclose(model(*inputs), before, atol=1e-5)
    with torch.no_grad():
        for layer in (model.net.blocks[0].c2, model.net.blocks[0].c_sc):
            layer.gate[3] = 0
        model.net.blocks[1].b1.shift[0, 3] = -100.0  # what the norm makes of 0 is not positive
        model.net.l1.gate[2] = 0  # 16 outputs of the linear layer
        model.net.blocks[0].b1.shift[0, 2] = -100.0
    cut = model(*inputs)
    gone = {"stem": [2], "block0": [3]}
    assert {g: k.tolist() for g, k in silent(model.net).items() if len(k)} == gone
    keep = {g: torch.tensor([i for i in range(TINY[g]) if i not in k]) for g, k in gone.items()}
    small = extract(model.build, model.net, keep, *inputs)
    assert small.l1.weight.shape == (4 * 16, 6)
    assert torch.allclose(small(*inputs), cut, atol=1e-5)


@both_kinds
def test_what_a_norm_of_classes_makes_of_a_cut_channel_is_absorbed_class_by_class(
    classes: int,
) -> None:
    """Behind zero padding the border differs, a good part of 8 x 8 pixels: the mean is what stays
    in the first block's norm."""
    model, heard = tiny(classes), {}
    add_gates(model.net)
    with torch.no_grad():
        model.net.l1.gate[[0, 2]] = 0

    def means(net: nn.Module, *inputs: Tensor) -> Tensor:
        norm = net.blocks[0].b2
        handle = norm.register_forward_hook(lambda m, i, o: heard.update(out=o.detach()))
        net(*inputs)
        handle.remove()
        assert heard["out"].shape[2:] == (8, 8)
        return heard["out"].mean((2, 3))

    z = drawn(model, n=classes or 2)[0]
    inputs = (z, torch.eye(classes)) if classes else (z,)
    before = means(model.net, *inputs)
    some = drawn(model, n=3)  # of the classes some, and not equally often
    small = extract(model.build, model.net, {"stem": torch.tensor([1, 3, 4])}, *some)
    assert torch.allclose(means(small, *inputs), before, atol=1e-5)


def test_the_linear_layer_is_quantised_and_stored_in_bytes(tmp_path: Path) -> None:
    model = tiny()
    inputs = drawn(model)
    whole = CostTable(model.net, 32)().bytes
    quantise(model.net, FakeQuantiser(per_channel=True))
    weight = model.net.l1.weight
    assert whole - CostTable(model.net, 32)().bytes > 3 * weight.numel()
    again = load(save(model, tmp_path / "m.safetensors"))
    assert torch.equal(again(*inputs), model(*inputs))
    stored = again.net.l1.weight  # what the file's integers stand for
    assert torch.equal(stored, fake_weight(weight, out_dim=0)) and not torch.equal(stored, weight)
    heard = read_inputs(model.net, {"l1": model.net.l1}, inputs, lambda z: z)
    assert torch.equal(heard["l1"], inputs[0])  # the code itself stays float, as a photo does


def test_it_saves_and_loads_with_its_discriminator(tmp_path: Path) -> None:
    model = tiny(4)
    inputs = drawn(model)
    again = load(save(model, tmp_path / "m.safetensors"), expect="sngan")
    assert torch.equal(again(*inputs), model(*inputs))


@interop
def test_upstreams_generator_makes_its_picture_and_goes_back_to_its_keys() -> None:
    weights, rest = reference("sngan_cifar_generator")
    model = assemble(plan(weights, source="x"), weights, source="x")
    known = {"latent_dim": 32, "bottom_width": 4, "classes": 0, "norm": "batch"}
    assert model.options == {**known, "out_channels": 3}
    assert (model(rest["z"]) - rest["y"]).abs().max() < 1e-5
    back = state_of(model)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@interop
def test_upstreams_discriminator_gives_its_logits() -> None:
    weights, rest = reference("sngan_cifar_discriminator")
    discriminator = assemble_discriminator(
        discriminator_plan(weights, source="x"), weights, source="x"
    )
    assert (discriminator.net(rest["x"]) - rest["logits"]).abs().max() < 2e-5
    known = {"width": 16, "classes": 0, "spectral_norm": True}
    assert discriminator.options == {**known, "inputs": 3}


def test_a_file_of_our_own_network_comes_back_at_other_widths() -> None:
    model = tiny(bottom_width=3)
    again = assemble(plan(state_of(model), source="x"), state_of(model), source="x")
    assert again.options == model.options
    assert again.widths == TINY
    assert torch.equal(again(*drawn(model)), model(*drawn(model)))


def test_a_discriminator_without_spectral_norm_is_read_too() -> None:
    net = build_discriminator("sngan", width=4, spectral_norm=False)
    discriminator = assemble_discriminator(
        discriminator_plan(net.state_dict(), source="x"), net.state_dict(), source="x"
    )
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(discriminator.net(x), net(x))


def test_files_that_do_not_fit_are_refused() -> None:
    state = state_of(tiny())
    with pytest.raises(CheckpointError, match=r"1 missing: block3\.c2\.bias"):
        damaged = {n: t for n, t in state.items() if n != "block3.c2.bias"}
        assemble(plan(damaged, source="x"), damaged, source="x")
    with pytest.raises(CheckpointError, match="no square maps"):
        plan({**state, "l1.weight": torch.zeros(15, 6)}, source="x")
    with pytest.raises(ConfigError, match="no config string"):
        plan(state, source="x", config="8_8")
    with pytest.raises(ConfigError, match="no classes"):
        state_of(tiny(4))
    with pytest.raises(CheckpointError, match="discriminator of SNGAN"):
        discriminator_plan(state, source="x")


def test_the_discriminator_projects_the_class() -> None:
    torch.manual_seed(0)
    net = build_discriminator("sngan", width=4, classes=3).eval()
    x = torch.rand(1, 3, 32, 32).expand(3, -1, -1, -1)
    logits = net(x, torch.eye(3)).detach()
    assert logits.shape == (3, 1)
    assert len({round(float(v), 6) for v in logits}) == 3


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Twelve pictures of 16 px in three classes, each of one colour."""
    pictures = np.zeros((12, 16, 16, 3), np.uint8)
    for i in range(12):
        pictures[i, :, :, i % 3] = 200 + i
    np.savez(tmp_path / "pack.npz", images=pictures, labels=np.arange(12) % 3)
    return tmp_path / "pack.npz"


def settings(**changed: Any) -> SNGANTraining:
    given: dict[str, Any] = {
        **{"steps": 4, "batch": 8, "d_steps": 2, "g_batch": 4, "width": 0.02, "ema": 0.9},
        **{"sample_every": 2, "discriminator": {"width": 4}, "data": {"size": 16, "workers": 0}},
        "options": {"bottom_width": 2, "latent_dim": 8, "classes": 3},
    }
    return checked(SNGANTraining, {**given, **changed})


def train(pack: Path, folder: Path, config: SNGANTraining) -> Model:
    torch.manual_seed(0)
    return train_sngan(Run(folder, quiet=True, log_every=1), open_images(pack), None, config)[""]


@pytest.mark.parametrize("classes", [0, 3])
def test_training_leaves_a_teacher_with_its_discriminator(
    pack: Path, tmp_path: Path, classes: int
) -> None:
    options = {"bottom_width": 2, "latent_dim": 8, "classes": classes}
    model = train(pack, tmp_path / "run", settings(options=options))
    assert not model.net.training
    assert model.discriminator is not None
    known = {"classes": classes, "width": 4, "spectral_norm": True}
    assert model.discriminator.options == {**known, "inputs": 3}
    again = load(save(model, tmp_path / "teacher.safetensors"))
    inputs = drawn(model, 3)
    assert torch.equal(again(*inputs), model(*inputs))
    log = [json.loads(line) for line in (tmp_path / "run/train/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [0, 1, 2, 3]
    assert log[0].keys() >= {"loss/g", "loss/d"}
    assert [line["lr/g"] for line in log] == pytest.approx([2e-4, 1.5e-4, 1e-4, 5e-5])
    with Image.open(tmp_path / "run/train/images/samples-0000003.png") as grid:
        assert grid.width == grid.height


def test_training_goes_on_bit_for_bit(pack: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "parts", quiet=True)
    images = open_images(pack)
    train_sngan(run, images, None, settings(steps=2, decay=0))
    first = train_sngan(run, images, None, settings(decay=0))[""]
    straight = train(pack, tmp_path / "straight", settings(decay=0))
    for name, tensor in straight.net.state_dict().items():
        assert torch.equal(tensor, first.net.state_dict()[name]), name


def test_settings_that_do_not_fit_are_refused(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be shared out to 3 updates"):
        settings(d_steps=3)
    with pytest.raises(ConfigError, match=r"of 16 px, but data.size is 32"):
        train(pack, tmp_path / "a", settings(data={"size": 32}))
    with pytest.raises(
        ConfigError, match=r"The photo '\w+' is of class 2, but options.classes is 2"
    ):
        two = {"bottom_width": 2, "classes": 2}
        train(pack, tmp_path / "b", settings(options=two))
    with pytest.raises(ConfigError, match="leave --other out"):
        images = open_images(pack)
        train_sngan(Run(tmp_path / "c", quiet=True), images, images, settings())
    plain = tmp_path / "plain.npz"
    np.savez(plain, images=np.load(pack)["images"])
    with pytest.raises(ConfigError, match="give a pack"):
        train(plain, tmp_path / "d", settings())
