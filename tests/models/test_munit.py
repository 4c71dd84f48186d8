"""MUNIT: upstream's outputs and costs, cutting, the files of two domains, and training."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import difference, randomise
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ganpress.channels.take import Build, Elastic, shrink
from ganpress.data import Images, open_images
from ganpress.errors import CheckpointError, ConfigError, Interrupted
from ganpress.formats.importers import munit, read_foreign
from ganpress.formats.importers.fitting import assemble, assemble_discriminator
from ganpress.measures.cost import CostTable, measure
from ganpress.models.checkpoint import Model
from ganpress.models.families import family
from ganpress.models.families.munit import MUNIT, ByReference, MunitGenerator
from ganpress.nn.axes import axes, widths
from ganpress.nn.discriminators import build_discriminator
from ganpress.run.run import Run, Stage
from ganpress.run.settings import checked
from ganpress.training.munit import MunitTraining, train_munit

SMALL = "16_16_16_24_56_16_40_40_32_24"
TINY = {
    **{"stem": 3, "down1": 5, "trunk": 7, "res0": 11, "res1": 2, "dec0": 13, "dec1": 3},
    **{"up1": 6, "up2": 4, "style0": 2, "style1": 3, "style2": 5, "style3": 4, "style4": 6},
    **{"mlp0": 9, "mlp1": 8},
}
separable_too = pytest.mark.parametrize("separable", [False, True], ids=["full", "separable"])


def tiny(*, separable: bool = False, seed: int = 0, **changed: int) -> MunitGenerator:
    torch.manual_seed(seed)
    net = MUNIT.build({**TINY, **changed}, res=2, separable=separable).eval()
    assert isinstance(net, MunitGenerator)
    return randomise(net)  # type: ignore[return-value]


def tiny_model(*, separable: bool = False, seed: int = 0) -> Model:
    options = MUNIT.resolve({"res": 2, "separable": separable})
    return Model(tiny(separable=separable, seed=seed), MUNIT, options)


def build(separable: bool) -> Build:
    return lambda widths: MUNIT.build(widths, res=2, separable=separable)


def example(n: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, 3, 32, 32, generator=generator) * 2 - 1
    return x, torch.randn(n, 8, generator=generator)


# --- upstream's numbers --------------------------------------------------------------------------


@pytest.mark.shared_interop
def test_upstreams_codes_and_pictures_are_reproduced() -> None:
    path = Path(os.environ["GANPRESS_INTEROP"]) / "munit_generator.safetensors"
    file = {name: tensor.clone() for name, tensor in load_file(path).items()}
    state = {n.removeprefix("weights/"): t for n, t in file.items() if n.startswith("weights/")}
    model = assemble(munit.plan(state, source="x", config=None), state, source="x")
    net, x, style = model.net, file["input/x"], file["input/style"]
    assert isinstance(net, MunitGenerator)
    content, own = net.encode_content(x), net.encode_style(x)
    assert difference(content, file["output/content"]) < 5e-5
    assert difference(own, file["output/style"]) < 1e-5
    assert difference(net.mlp(style.flatten(1)), file["output/adain_params"]) < 1e-5
    assert difference(net.decode(content, own), file["output/recon"]) < 5e-5
    assert difference(model(x, style), file["output/translated"]) < 5e-5
    back = munit.state_of(model)
    assert back.keys() == state.keys()
    assert all(torch.equal(t, state[n]) for n, t in back.items() if "running" not in n)


def test_the_full_network_costs_what_the_paper_says() -> None:
    with torch.device("meta"):
        net = family("munit").build()
    assert isinstance(net, MunitGenerator)
    assert measure(net).params / 1e6 == pytest.approx(15.026, abs=5e-4)
    assert measure(net).macs / 1e9 == pytest.approx(71.03, abs=5e-3)
    assert measure(ByReference(net)).macs / 1e9 == pytest.approx(77.28, abs=5e-3)


def test_gan_compressions_student_costs_what_its_paper_says() -> None:
    with torch.device("meta"):
        net = family("munit").build(munit.widths_of_config(SMALL), separable=True)
    assert isinstance(net, MunitGenerator)
    linear = sum(m.weight.numel() for m in net.mlp if isinstance(m, nn.Linear))  # they count it
    assert measure(net).params / 1e6 == pytest.approx(1.10, abs=5e-3)
    assert (measure(net).macs + linear) / 1e9 == pytest.approx(2.096, abs=5e-4)
    assert (measure(ByReference(net)).macs + linear) / 1e9 == pytest.approx(2.603, abs=5e-4)


# --- the network ---------------------------------------------------------------------------------


@separable_too
def test_groups_come_in_the_familys_order(separable: bool) -> None:
    net = tiny(separable=separable)
    assert widths(net) == TINY
    assert list(widths(net)) == list(MUNIT.full(MUNIT.resolve({"res": 2})))


def test_a_style_may_come_with_or_without_pixels() -> None:
    net, (x, style) = tiny(), example()
    assert torch.equal(net(x, style), net(x, style[:, :, None, None]))
    assert [t.shape for t in net.draw(3, (32, 48))] == [(3, 3, 32, 48), (3, 8)]


def test_the_style_of_a_picture_can_be_taken_over() -> None:
    net, (x, style) = tiny(), example()
    reference = x.flip(0)
    by_reference = ByReference(net)
    assert torch.equal(by_reference(x, reference), net(x, net.encode_style(reference)))
    one = by_reference(x, reference[:1])
    assert difference(one, net(x, net.encode_style(reference[:1]).expand(2, -1, -1, -1))) == 0
    assert difference(one, net(x, style)) > 1e-2


def test_a_network_without_a_style_encoder_says_so() -> None:
    net = MUNIT.build({"stem": 2}, style_encoder=False)
    assert isinstance(net, MunitGenerator)
    assert not any(group.startswith("style") for group in widths(net))
    with pytest.raises(RuntimeError, match="no style encoder"):
        net.encode_style(example()[0])


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 2 and 0"):
        MUNIT.build(res=0)


@separable_too
def test_channels_that_nothing_reads_can_be_cut_but_before_the_layer_norms(separable: bool) -> None:
    net, inputs = tiny(separable=separable), example()
    keep = {g: torch.arange(w)[w // 3 :] for g, w in TINY.items() if not g.startswith("up")}
    with torch.no_grad():
        for name, dims in axes(net).items():
            readers = dims[1] if len(dims) > 1 else None
            for axis in readers or ():
                if axis.group in keep:
                    net.get_parameter(name)[:, : axis.width // 3] = 0
    small = shrink(build(separable), net, keep)
    assert difference(small(*inputs), net(*inputs)) < 1e-5
    codes = net.encode_style(inputs[0]), small.encode_style(inputs[0])  # type: ignore[operator]
    assert difference(*codes) < 1e-5


@separable_too
def test_elastic_widths_equal_the_rebuilt_network(separable: bool) -> None:
    net, inputs = tiny(separable=separable), example()
    counts = {g: max(1, w // 2) for g, w in TINY.items()} | {"dec1": 0, "res0": 0}
    small = shrink(build(separable), net, counts)
    y = Elastic(net)(counts, *inputs)
    assert torch.equal(y, small(*inputs))
    y.sum().backward()
    small(*inputs).sum().backward()
    found, want = net.content[0].conv.weight.grad, small.content[0].conv.weight.grad  # type: ignore
    assert torch.equal(found[: counts["stem"]], want)
    table = CostTable(net, 32)
    assert table(counts) == CostTable(small, 32)()


@pytest.mark.parametrize("group", ["dec0", "res1"])
def test_an_emptied_block_keeps_what_its_norm_leaves_of_a_constant(group: str) -> None:
    net, inputs = tiny(), example()
    block = net.decoder.blocks[0] if group == "dec0" else net.content[4]
    with torch.no_grad():
        for parameter in block.get_submodule("conv2").parameters():
            parameter.zero_()
    small = shrink(build(False), net, {group: 0})
    assert difference(small(*inputs), net(*inputs)) < 1e-5


# --- files ---------------------------------------------------------------------------------------


def two_domains(path: Path) -> tuple[Model, Model]:
    a, b = tiny_model(seed=1), tiny_model(seed=2)
    torch.save({"a": munit.state_of(a), "b": munit.state_of(b)}, path)
    return a, b


@pytest.mark.parametrize("direction", [None, "a2b", "b2a"])
def test_a_file_of_two_domains_gives_the_translator_asked_for(
    direction: str | None, tmp_path: Path
) -> None:
    a, b = two_domains(tmp_path / "gen.pt")
    source, target = (b.net, a.net) if direction == "b2a" else (a.net, b.net)
    state = read_foreign(tmp_path / "gen.pt")
    options = {"direction": direction} if direction else {}
    made = munit.plan(state, source="gen.pt", config=None, **options)
    model = assemble(made, state, source="gen.pt")
    x, style = example()
    want = target.decode(source.encode_content(x), style)  # type: ignore[operator]
    assert torch.equal(model(x, style), want)
    got = model.net.encode_style(x)  # type: ignore[operator]
    assert torch.equal(got, target.encode_style(x))  # type: ignore[operator]


def test_other_files_with_two_sets_of_weights_are_still_refused(tmp_path: Path) -> None:
    torch.save({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="several sets of weights"):
        read_foreign(tmp_path / "x.pt")


def test_a_separable_students_file_is_read_and_written() -> None:
    model = tiny_model(separable=True)
    state = munit.state_of(model)
    assert "enc_content.model.3.model.0.model.1.conv.conv.2.weight" in state
    assert not any("running" in name for name in state)
    back = assemble(munit.plan(state, source="x", config=None), state, source="x")
    assert back.widths == model.widths
    assert back.options == model.options
    assert torch.equal(back(*example()), model(*example()))


def test_a_student_without_a_style_encoder_is_read() -> None:
    state = munit.state_of(tiny_model(separable=True))
    state = {n: t for n, t in state.items() if not n.startswith("enc_style.")}
    model = assemble(munit.plan(state, source="x", config=None), state, source="x")
    assert model.options["style_encoder"] is False


def test_a_config_must_be_that_of_the_file() -> None:
    config = "2_3_4_2_3_1_2_5_3_4"
    options = MUNIT.resolve({"separable": True})
    small = Model(MUNIT.build(munit.widths_of_config(config), **options).eval(), MUNIT, options)
    state = munit.state_of(small)
    munit.plan(state, source="x", config=config)
    with pytest.raises(ConfigError, match="up2 4 in the file, 5 in the config"):
        munit.plan(state, source="x", config="2_3_4_2_3_1_2_5_3_5")
    with pytest.raises(ConfigError, match="10 numbers"):
        munit.plan(state, source="x", config="1_2_3")
    with pytest.raises(ConfigError, match="full convolutions"):
        munit.plan(munit.state_of(tiny_model()), source="x", config=config)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"direction": "up"}, "direction is one of a2b, b2a"),
        ({"direction": "a2b"}, "holds one network"),
        ({"norm": "batch"}, "takes no 'norm'"),
    ],
)
def test_options_that_do_not_apply_are_refused(options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        munit.plan(munit.state_of(tiny_model()), source="x", config=None, **options)


@pytest.mark.parametrize(
    "name",
    [
        "mlp.model.1.fc.weight",
        "enc_content.model.3.model.0.model.0.conv.weight",
        "enc_content.model.0.conv.weight",
        "dec.model.2.norm.gamma",
    ],
)
def test_a_missing_tensor_is_named(name: str) -> None:
    state = munit.state_of(tiny_model())
    del state[name]
    with pytest.raises(CheckpointError, match=name):
        assemble(munit.plan(state, source="x", config=None), state, source="x")


def test_an_emptied_block_cannot_be_written_in_upstreams_layout() -> None:
    model = tiny_model()
    model.net = shrink(build(False), model.net, {"dec1": 0})
    with pytest.raises(CheckpointError, match="'dec1' has no channels"):
        munit.state_of(model)


@pytest.mark.parametrize("both", [False, True])
def test_a_discriminators_file_is_read(both: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"inputs": 3, "width": 4, "layers": 3, "scales": 2}
    nets = [build_discriminator("munit", **options) for _ in "ab"]
    states = {d: net.state_dict() for d, net in zip("ab", nets, strict=True)}
    torch.save(states if both else states["b"], tmp_path / "dis.pt")
    state = read_foreign(tmp_path / "dis.pt")
    plan = munit.discriminator_plan(state, source="dis.pt")
    assert (plan.kind, plan.options) == ("munit", options)
    if not both:
        discriminator = assemble_discriminator(plan, state, source="dis.pt")
        maps = discriminator.net(example()[0])
        assert [m.shape[1:] for m in maps] == [(1, 4, 4), (1, 2, 2)]
        assert all(torch.equal(m, w) for m, w in zip(maps, nets[1](example()[0]), strict=True))


# --- training ------------------------------------------------------------------------------------


def pictures(folder: Path, seed: int) -> Images:
    folder.mkdir()
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 20, 24, 3), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return open_images(folder)


def settings(**changed: object) -> MunitTraining:
    values = {
        **{"steps": 3, "batch": 2, "width": 0.05, "sample_every": 2, "options": {"res": 1}},
        **{"discriminator_width": 4, "discriminator_layers": 2, "discriminator_scales": 2},
        "data": {"size": 16, "workers": 0},
    }
    return checked(MunitTraining, values | changed)


def trained(tmp_path: Path, name: str, **changed: object) -> dict[str, Model]:
    a, b = tmp_path / "a", tmp_path / "b"
    first = open_images(a) if a.exists() else pictures(a, 1)
    second = open_images(b) if b.exists() else pictures(b, 2)
    return train_munit(Run(tmp_path / name, quiet=True), first, second, settings(**changed))


def states(models: dict[str, Model]) -> dict[str, Tensor]:
    return {f"{d}.{n}": t for d, m in models.items() for n, t in m.net.state_dict().items()}


def test_training_gives_a_translator_each_way(tmp_path: Path) -> None:
    models = trained(tmp_path, "run", ema=0.5, weights={"cycle": 10.0})
    assert models.keys() == {"A2B", "B2A"}
    for model in models.values():
        assert model(*example()).shape == (2, 3, 32, 32)
        assert model.discriminator is not None
        assert model.discriminator.kind == "munit"
    there, back = states(models), states({"A2B": models["B2A"]})
    shared = [n for n in there if n.startswith("A2B")]
    assert not any(torch.equal(there[n], back[n]) for n in shared if n.endswith("conv.weight"))
    assert (tmp_path / "run" / "train" / "images" / "a-ab-b-ba-0000002.png").exists()


def test_a_batch_in_parts_trains_as_a_whole_one(tmp_path: Path) -> None:
    whole = states(trained(tmp_path, "whole", steps=1))
    parts = states(trained(tmp_path, "parts", steps=1, accumulate=2))
    assert max(difference(whole[n], parts[n]) for n in whole) < 1e-3  # Adam's first step is lr


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = states(trained(tmp_path, "whole", ema=0.5))
    write, steps = Stage.log, list[int]()

    def log(self: Stage, step: int, /, **values: float | Tensor) -> None:
        write(self, step, **values)
        steps.append(step)
        if steps == [0, 1]:
            os.kill(os.getpid(), 2)

    monkeypatch.setattr(Stage, "log", log)
    with pytest.raises(Interrupted):
        trained(tmp_path, "run", ema=0.5)
    again = states(trained(tmp_path, "run", ema=0.5))
    assert steps == [0, 1, 2]
    assert all(torch.equal(whole[n], again[n]) for n in whole)


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="second"):
        train_munit(Run(tmp_path / "r"), pictures(tmp_path / "a", 1), None, settings())
    with pytest.raises(ConfigError, match="multiple of 4"):
        settings(data={"size": 18})
    with pytest.raises(ConfigError, match="at least 64 pixels"):
        settings(discriminator_layers=4, discriminator_scales=3)
    with pytest.raises(ConfigError, match="style encoders"):
        trained(tmp_path, "s", options={"style_encoder": False})
