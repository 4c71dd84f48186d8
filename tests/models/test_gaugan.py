"""SPADE: the papers' sizes, upstream's pictures, label maps, its discriminator and its training."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from ganpress.channels.silence import extract, survivors
from ganpress.channels.take import Elastic, shrink
from ganpress.data import Batch, Images, open_images
from ganpress.errors import CheckpointError, ConfigError, GanpressError, ImagesError
from ganpress.formats.importers import spade
from ganpress.formats.importers.fitting import assemble, assemble_discriminator
from ganpress.measures.cost import measure
from ganpress.models.checkpoint import Model, load, save
from ganpress.models.families import FAMILIES
from ganpress.models.families.base import draw_inputs
from ganpress.models.families.gaugan import semantics
from ganpress.nn.axes import widths
from ganpress.nn.discriminators import build_discriminator
from ganpress.nn.layers import add_gates, convolutions
from ganpress.nn.spade import add_spectral_norm, plain_state
from ganpress.run.recipes import recipes
from ganpress.run.run import Run
from ganpress.run.settings import read_config
from ganpress.training import kit
from ganpress.training.gaugan import GauGANTraining, train_gaugan
from ganpress.types.sizes import height_width

GAUGAN = FAMILIES["gaugan"]
CITY = {"upsampling": "more"}
STUFF = {"labels": 182, "dontcare": True}
TINY: dict[str, Any] = {"labels": 4, "edges": False}


def ngf(n: int) -> dict[str, int]:
    return {g: w * n // 64 for g, w in GAUGAN.full(GAUGAN.resolve({})).items()}


def tiny(seed: int = 0, **options: Any) -> nn.Module:
    """Distinct small widths, weights that keep variance, statistics that are not 0 and 1."""
    torch.manual_seed(seed)
    chosen = {**TINY, **options}
    groups = GAUGAN.full(GAUGAN.resolve(chosen))
    net = GAUGAN.build({g: 3 + i % 5 for i, g in enumerate(groups)}, **chosen)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.5)
    return net.eval()


def largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


@pytest.mark.parametrize(
    ("options", "chosen", "size", "params", "macs"),
    [
        (CITY, {}, (256, 512), 93.048e6, 281.28e9),
        ({**CITY, "separable": True}, {}, (256, 512), 70.681e6, 118.60e9),
        ({**CITY, "separable": True}, ngf(48), (256, 512), 39.975e6, 71.06e9),
        (STUFF, {}, (256, 256), 97.481e6, 191.14e9),
    ],
)
def test_the_full_networks_have_the_papers_size(
    options: dict[str, Any], chosen: dict[str, int], size: tuple[int, int], params: float,
    macs: float,
) -> None:  # fmt: skip
    with torch.device("meta"):
        net = GAUGAN.build(chosen, **options).eval()
    found = [0]

    def count(layer: nn.Module, _: tuple[Tensor], out: Tensor) -> None:
        found[0] += layer.weight.numel() * out.shape[-1] * out.shape[-2]

    for layer in convolutions(net).values():
        layer.register_forward_hook(count)
    assert net(draw_inputs(net, 1, size)[0].to("meta")).shape == (1, 3, *size)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(params, rel=1e-5)
    assert found[0] == pytest.approx(macs, rel=1e-4)


@pytest.mark.parametrize(
    ("config", "options", "params"),
    [
        ("32_40_40_32_40_24_32_24", CITY, 21.0e6),
        ("32_32_32_48_32_24_24_32", CITY, 20.2e6),
        ("40_32_32_40_32_40_24_24", STUFF, 26.0e6),
    ],
)
def test_the_published_students_have_their_size(
    config: str, options: dict[str, Any], params: float
) -> None:
    with torch.device("meta"):
        net = GAUGAN.build(spade.widths_of(config), separable=True, **options)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(params, abs=0.05e6)


@pytest.mark.shared_interop
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("spade_generator", 2e-5),
        ("spade_generator_small", 2e-5),
        ("gancompression_mobile_spade", 2e-5),
        ("gancompression_spade", 5e-5),
    ],
)
def test_an_imported_generator_makes_upstreams_picture_and_goes_back(
    name: str, tolerance: float
) -> None:
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "input": {}, "output": {}}
    with safe_open(Path(os.environ["GANPRESS_INTEROP"]) / f"{name}.safetensors", "pt") as file:
        for key in file.keys():  # noqa: SIM118
            part, _, rest = key.partition("/")
            parts[part][rest] = file.get_tensor(key).clone()
    state, given, want = parts.values()
    model = assemble(spade.plan(state, source="x", config=None), state, source="x")
    seen = semantics(
        given["label"][:, 0].long(), given["instance"][:, 0].long(), count=5, edges=True
    )
    assert torch.equal(seen, given["semantics"])
    acts: dict[str, Tensor] = {}
    for place in ("fc", "G_middle_1", "up_1"):
        model.net.get_submodule(place).register_forward_hook(
            lambda _, __, out, place=place: acts.update({f"act_{place}": out})
        )
    made = model(seen)
    assert largest(made, want["y"]) < tolerance
    for place, value in want.items():
        if place != "y":
            assert largest(acts[place], value) < 5e-5
    back = spade.state_of(model)
    assert set(back) == {
        n.replace("_orig", "") for n in state if not n.endswith(("weight_u", "weight_v"))
    }
    again = assemble(spade.plan(back, source="x", config=None), back, source="x")
    assert torch.equal(again(seen), made)


def test_a_student_that_keeps_statistics_of_the_full_width_is_read() -> None:
    net = tiny(separable=True, middle="none")
    model = kit.model_of(net, GAUGAN, GauGANTraining(options={**TINY, "separable": True}))
    state = spade.state_of(model)
    for name in [n for n in state if n.endswith(("running_mean", "running_var"))]:
        state[name] = torch.cat([state[name], torch.ones(7)])
    state = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    how = {"edges": False, "middle": "none"}
    read = assemble(spade.plan(state, source="x", config=None, **how), state, source="x")
    [x] = draw_inputs(net, 2, 32)
    assert torch.equal(read(x), net(x))


def test_files_of_other_networks_are_refused() -> None:
    model = kit.model_of(tiny(), GAUGAN, GauGANTraining(options=TINY))
    state = spade.state_of(model)
    with pytest.raises(ConfigError, match=r"4 channels, and labels=5, edges=false does not give"):
        spade.plan(state, source="x", config=None, labels=5, edges=False)
    with pytest.raises(ConfigError, match=r"Config '8_8_8_8_8_8_8_8' is not that of x: trunk 3 in"):
        spade.plan(state, source="x", config="8_8_8_8_8_8_8_8")
    with pytest.raises(ConfigError, match=r"'8_8' is no config"):
        spade.plan(state, source="x", config="8_8")
    with pytest.raises(CheckpointError, match=r"latent vector.*use_vae"):
        spade.plan({**state, "fc.weight": torch.ones(3, 256)}, source="x", config=None)
    del state["up_1.norm_s.mlp_beta.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: up_1\.norm_s\.mlp_beta\.bias"):
        assemble(spade.plan(state, source="x", config=None), state, source="x")


@pytest.mark.parametrize(("kind", "least"), [("normal", 32), ("more", 64), ("most", 128)])
def test_a_picture_is_as_large_as_its_label_map(kind: str, least: int) -> None:
    net = tiny(upsampling=kind, edges=True)
    [x] = draw_inputs(net, 1, (least, 2 * least))
    made = net(x)
    assert made.shape == (1, 3, least, 2 * least)
    assert made.abs().max() <= 1
    with pytest.raises(ConfigError, match=f"{least}x{least + 8}.*divisible by {least}"):
        net(x.new_zeros(1, 5, least, least + 8))
    with pytest.raises(ConfigError, match=f"and {2 * least} in one direction"):
        tiny(upsampling=kind, separable=True)(x.new_zeros(1, 4, least, least))


@pytest.mark.parametrize("options", [{}, {"separable": True}, {"upsampling": "most"}])
def test_a_cut_network_equals_the_same_network_run_elastically(options: dict[str, Any]) -> None:
    def build(w: Any) -> nn.Module:
        return GAUGAN.build(w, **TINY, **options)

    net = tiny(**options)
    assert list(widths(net)) == list(GAUGAN.full(GAUGAN.resolve({**TINY, **options})))
    keep = {g: max(1, w - 1 - i % 3) for i, (g, w) in enumerate(widths(net).items())}
    [x] = draw_inputs(net, 2, 128 if options.get("upsampling") else 64)
    assert torch.equal(Elastic(net)(keep, x), shrink(build, net, keep)(x))


def test_the_learned_shortcut_does_not_depend_on_the_widths() -> None:
    equal = GAUGAN.build(dict.fromkeys(widths(tiny()), 3), **TINY)
    assert equal.state_dict().keys() == tiny().state_dict().keys()
    assert equal.up_0.is_learned and not equal.head_0.is_learned


@pytest.mark.parametrize(
    "options", [{}, {"separable": True}, {"separable": True, "middle": "none"}]
)
def test_silent_hidden_channels_can_be_cut_without_a_trace(options: dict[str, Any]) -> None:
    net = add_gates(tiny(**options))
    for name, layer in convolutions(net).items():
        assert (layer.gate is not None) == name.endswith(".shared")
        if layer.gate is not None:
            layer.gate.data[::2] = 0
    [x] = draw_inputs(net, 2, 64)
    before = net(x)
    keep = survivors(net)
    small = extract(lambda w: GAUGAN.build(w, **TINY, **options), net, keep, x)
    assert largest(small.eval()(x), before) < 1e-5
    assert widths(small)["up_0_hidden_s"] == widths(tiny())["up_0_hidden_s"] // 2


def test_label_maps_become_one_hot_with_edges() -> None:
    labels = torch.tensor([[[0, 1], [2, 255]]])
    things = torch.tensor([[[7, 7], [7, 9]]])
    seen = semantics(labels, things, count=3, dontcare=True, edges=True)
    assert seen.shape == (1, 5, 2, 2)
    assert seen[0, :4].argmax(0).tolist() == [[0, 1], [2, 3]]
    assert seen[0, :4].sum(0).eq(1).all()
    assert seen[0, 4].tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("labels", "how", "error", "match"),
    [
        ([3], {}, ImagesError, r"id 3.*3 labels: 0 to 2\."),
        ([-1], {}, ImagesError, r"id -1"),
        ([255], {}, ImagesError, r"id 255"),
        ([4], {"dontcare": True}, ImagesError, r"id 4.*and 3 or 255 for don't-care"),
        ([0], {"edges": True}, ConfigError, r"need instance maps.*'edges' to false"),
    ],
)
def test_label_maps_that_do_not_fit_are_refused(
    labels: list[int], how: dict[str, bool], error: type[GanpressError], match: str
) -> None:
    with pytest.raises(error, match=match):
        semantics(torch.tensor(labels).view(1, 1, 1), count=3, **how)


def upstreams_maps(state: dict[str, Tensor], x: Tensor, scales: int, layers: int) -> list[Tensor]:
    """NVlabs' discriminator written out on its own keys, eval mode."""
    found = []
    for i in range(scales):
        y = x
        for k in range(layers + 1):
            at = f"discriminator_{i}.model{k}.0"
            if 0 < k < layers:
                w, u, v = (state[f"{at}.0.weight_{e}"] for e in ("orig", "u", "v"))
                w = w / torch.dot(u, w.flatten(1).mv(v))
                y = F.instance_norm(F.conv2d(y, w, None, 1 if k == layers - 1 else 2, 2))
            else:
                stride = 1 if k == layers else 2
                y = F.conv2d(y, state[f"{at}.weight"], state[f"{at}.bias"], stride, 2)
            y = y if k == layers else F.leaky_relu(y, 0.2)
            found.append(y)
        x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    return found


def test_nvlabs_discriminator_is_read_with_its_stored_vectors() -> None:
    torch.manual_seed(0)
    c, state = [7, 4, 8, 16, 32], {}
    for i in range(2):
        for k in range(4):
            at = f"discriminator_{i}.model{k}.0"
            w = torch.randn(c[k + 1], c[k], 4, 4) / (16 * c[k]) ** 0.5
            if k == 0:
                state |= {f"{at}.weight": w, f"{at}.bias": torch.randn(c[1])}
                continue
            state |= {f"{at}.0.weight_orig": w, f"{at}.0.weight_u": torch.rand(c[k + 1])}
            state[f"{at}.0.weight_v"] = w.flatten(1).T @ state[f"{at}.0.weight_u"]
        at = f"discriminator_{i}.model4.0"
        state |= {f"{at}.weight": torch.randn(1, c[4], 4, 4), f"{at}.bias": torch.randn(1)}
    discriminator = assemble_discriminator(
        spade.discriminator_plan(state, source="x"), state, source="x"
    )
    assert discriminator.options == {"inputs": 7, "width": 4, "layers": 4, "scales": 2}
    x = torch.randn(2, 7, 64, 64)
    maps = [m for scale in discriminator.net(x) for m in scale]
    for ours, theirs in zip(maps, upstreams_maps(state, x, 2, 4), strict=True):
        assert largest(ours, theirs) < 1e-5
    with pytest.raises(CheckpointError, match=r"does not hold a multiscale discriminator"):
        spade.discriminator_plan({"model.0.weight": torch.ones(1)}, source="x")


def test_the_papers_discriminator_has_its_widths() -> None:
    with torch.device("meta"):
        net = build_discriminator("spade", inputs=39)
    channels = [p.shape[0] for n, p in net.named_parameters() if p.ndim == 4]
    assert channels == [64, 128, 256, 512, 1] * 2


def test_folding_the_spectral_norm_changes_nothing() -> None:
    net = add_spectral_norm(tiny().train())
    [x] = draw_inputs(net, 2, 32)
    net(x)
    plain = tiny(seed=1)
    plain.load_state_dict(plain_state(net))
    assert torch.equal(plain(x), net.eval()(x))
    assert len(net.state_dict()) > len(plain.state_dict())


TRAINING = GauGANTraining(
    options=TINY, width=1 / 256, batch=4, steps=4, features="tiny", sample_every=2, ema=0.9,
    discriminator={"width": 4, "layers": 2}, data={"size": 32, "workers": 0}, accumulate=2,
)  # fmt: skip


@pytest.fixture
def facades(tmp_path: Path) -> Images:
    """Six pictures of stripes, a grey for each id of their label maps."""
    for folder in ("photo", "label"):
        (tmp_path / folder).mkdir()
    for i in range(6):
        ids = np.random.default_rng(i).integers(4, size=(1, 40)).repeat(40, 0).astype(np.uint8)
        Image.fromarray(ids).save(tmp_path / "label" / f"{i}.png")
        Image.fromarray(ids * 60).convert("RGB").save(tmp_path / "photo" / f"{i}.png")
    return open_images(tmp_path / "photo", labels=tmp_path / "label")


def fit(root: Path, images: Images, config: GauGANTraining = TRAINING) -> Model:
    run = Run(root, seed=config.seed, save_every_s=0, log_every=1, quiet=True)
    return train_gaugan(run, images, None, config)[""]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_leaves_a_plain_generator_and_its_discriminator(
    facades: Images, tmp_path: Path, precision: str
) -> None:
    model = fit(tmp_path / "run", facades, TRAINING.model_copy(update={"precision": precision}))
    assert model.discriminator is not None and model.discriminator.kind == "spade"
    assert {p.dtype for p in model.net.parameters()} == {torch.float32}
    assert not any("parametrizations" in n for n in model.net.state_dict())
    assert not model.net.training
    assert (tmp_path / "run/train/images/labels-made-real-0000002.png").exists()
    back = load(save(model, tmp_path / "m.safetensors"))
    [x] = draw_inputs(model.net, 2, 32)
    assert torch.equal(back(x), model(x))
    assert torch.isfinite(model(x)).all()


def test_a_broken_off_training_ends_with_the_same_weights(
    facades: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TRAINING.model_copy(update={"ema": 0.0, "accumulate": 1})
    whole, batches = fit(tmp_path / "whole", facades, plain), kit.batches

    def cut_short(*given: Any, **named: Any) -> Iterator[Batch]:
        yield from itertools.islice(batches(*given, **named), 2)
        raise RuntimeError("the power has gone")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(kit, "batches", cut_short)
        fit(tmp_path / "two", facades, plain)
    again = fit(tmp_path / "two", facades, plain)
    assert whole.discriminator is not None and again.discriminator is not None
    for a, b in ((whole.net, again.net), (whole.discriminator.net, again.discriminator.net)):
        assert all(torch.equal(t, b.state_dict()[n]) for n, t in a.state_dict().items())


def test_maps_that_the_network_cannot_read_are_refused_before_the_first_step(
    facades: Images, tmp_path: Path
) -> None:
    bare = open_images(tmp_path / "photo")
    with pytest.raises(ConfigError, match="label map for each photo"):
        fit(tmp_path / "a", bare)
    with pytest.raises(ConfigError, match=r"needs an instance map.*options\.edges=false"):
        fit(tmp_path / "b", facades, TRAINING.model_copy(update={"options": {"labels": 4}}))
    few = TRAINING.model_copy(update={"options": {"labels": 3, "edges": False}})
    with pytest.raises(ImagesError, match=r"id 3.*3 labels"):
        fit(tmp_path / "c", facades, few)
    with pytest.raises(ConfigError, match="leave --other out"):
        train_gaugan(Run(tmp_path / "d"), facades, facades, TRAINING)


@pytest.mark.parametrize("name", ["facades-cpu", "facades-gpu", "cityscapes-gpu"])
def test_the_recipes_build_networks(name: str) -> None:
    config = read_config(GauGANTraining, recipes(["train"])[f"gaugan-{name}"])
    with torch.device("meta"):
        net = kit.scaled(GAUGAN, config)
    [x] = draw_inputs(net, 1, config.data.size)
    assert net(x.to("meta")).shape == (1, 3, *height_width(config.data.size))


def test_the_recipe_of_cityscapes_trains_the_papers_network_on_whole_pictures() -> None:
    config = read_config(GauGANTraining, recipes(["train"])["gaugan-cityscapes-gpu"])
    with torch.device("meta"):
        net = kit.scaled(GAUGAN, config)
    # methods.md 1.4: 281.28 G MACs; pictures of 1024 x 2048, scaled by a quarter
    assert measure(net, config.data.size).macs / 1e9 == pytest.approx(281.28, abs=0.006)
    assert config.data.load_size is None


@pytest.mark.parametrize("dontcare", [False, True])
def test_ids_are_refused_from_the_first_that_the_network_does_not_know(dontcare: bool) -> None:
    net: Any = tiny(labels=4, dontcare=dontcare, edges=False)
    net.check_ids([0, 3, *((4, 255) if dontcare else ())], str)
    for wrong in ([5] if dontcare else [4, 5, 255]) + [-1]:
        with pytest.raises(ImagesError, match=rf"The label map in {wrong}\.png holds id {wrong}, "):
            net.check_ids([0, wrong], "in {}.png".format)
