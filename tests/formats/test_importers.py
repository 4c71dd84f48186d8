"""Checkpoints of other code bases: recognised, converted exactly, or refused clearly.

The networks here are small plain-torch copies of the upstream wirings, written from their key
numbers, so that a mistake in an importer's map cannot hide in the test as well.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganpress.errors import CheckpointError, ConfigError
from ganpress.formats.importers import KINDS, cyclegan, from_state, gan_compression, import_model
from ganpress.formats.importers.gan_compression import widths_of
from ganpress.formats.importers.resnet_layout import layout_of
from ganpress.models.checkpoint import load, save

CONFIG = "4_3_5_2_3_1_4_3"


class Block(nn.Module):
    """Upstream's residual block; `convs` makes one 3x3 convolution without padding."""

    def __init__(self, c: int, mid: int, convs: Any, norm: Any, dropout: bool, last: Any) -> None:
        super().__init__()
        extra = [nn.Dropout(0.5)] if dropout else []
        first = [nn.ReflectionPad2d(1), convs(c, mid), norm(mid), nn.ReLU(), *extra]
        self.conv_block = nn.Sequential(*first, nn.ReflectionPad2d(1), convs(mid, c), last(c))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Separable(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        depthwise = nn.Conv2d(i, i, 3, groups=i)
        self.conv = nn.Sequential(depthwise, nn.InstanceNorm2d(i), nn.Conv2d(i, o, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upstream(nn.Module):
    """Upstream's ResNet generator: the keys model.1, model.4, model.10.conv_block.1, ..."""

    def __init__(
        self,
        widths: list[int],
        norm: Any = nn.InstanceNorm2d,
        *,
        trunk_norm: Any = None,
        bias: bool = True,
        dropout: bool = False,
        separable: bool = False,
        clamp: bool = False,
    ) -> None:
        super().__init__()
        stem, down1, trunk, *inner, up1, up2 = widths
        last = trunk_norm or norm
        plain = partial(nn.Conv2d, kernel_size=3, bias=bias)
        block_convs = Separable if separable else plain
        half = {"stride": 2, "padding": 1, "bias": bias}
        double = {**half, "output_padding": 1}
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, stem, 7, bias=bias), norm(stem), nn.ReLU()]
        layers += [nn.Conv2d(stem, down1, 3, **half), norm(down1), nn.ReLU()]
        layers += [nn.Conv2d(down1, trunk, 3, **half), last(trunk), nn.ReLU()]
        layers += [Block(trunk, mid, block_convs, norm, dropout, last) for mid in inner]
        layers += [nn.ConvTranspose2d(trunk, up1, 3, **double), norm(up1), nn.ReLU()]
        layers += [nn.ConvTranspose2d(up1, up2, 3, **double), norm(up2), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(up2, 3, 7), nn.Tanh())
        self.clamp = clamp

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.clamp(-1, 1) if self.clamp else x)


class Scaled(nn.Module):
    """CartoonGAN's own InstanceNorm: scale and shift, biased variance, eps 1e-9."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(c) + 0.5), nn.Parameter(torch.randn(c))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
        scale, shift = self.scale.view(1, -1, 1, 1), self.shift.view(1, -1, 1, 1)
        return scale * (x - mean) / (var + 1e-9).sqrt() + shift


class Cartoon(nn.Module):
    """The published port's wiring with `blocks` blocks; BGR in and out."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = blocks
        shapes = {"01_1": (3, 4, 7, 1, 0), "02_1": (4, 5, 3, 2, 1), "02_2": (5, 6, 3, 1, 1)}
        shapes |= {"03_1": (6, 7, 3, 2, 1), "03_2": (7, 8, 3, 1, 1)}
        for b in range(blocks):
            shapes |= {f"{4 + b:02d}_1": (8, 3, 3, 1, 0), f"{4 + b:02d}_2": (3, 8, 3, 1, 0)}
        for name, (i, o, k, stride, pad) in shapes.items():
            self.add_module(f"conv{name}", nn.Conv2d(i, o, k, stride, pad))
            if name not in ("02_1", "03_1"):
                self.add_module(f"in{name.replace('_2', '_1') if name < '04' else name}", Scaled(o))
        self.deconv01_1 = nn.ConvTranspose2d(8, 5, 3, 2, 1, 1)
        self.deconv01_2 = nn.Conv2d(5, 6, 3, 1, 1)
        self.deconv02_1 = nn.ConvTranspose2d(6, 3, 3, 2, 1, 1)
        self.deconv02_2 = nn.Conv2d(3, 4, 3, 1, 1)
        self.deconv03_1 = nn.Conv2d(4, 3, 7)
        self.add_module(f"in{4 + blocks:02d}_1", Scaled(6))
        self.add_module(f"in{5 + blocks:02d}_1", Scaled(4))

    def forward(self, x: Tensor) -> Tensor:
        def at(name: str, x: Tensor) -> Tensor:
            return self.get_submodule(name)(x)

        pad = nn.functional.pad
        x = at("in01_1", at("conv01_1", pad(x, [3] * 4, mode="reflect"))).relu()
        for i in ("02", "03"):
            x = at(f"in{i}_1", at(f"conv{i}_2", at(f"conv{i}_1", x))).relu()
        for b in range(self.blocks):
            i = f"{4 + b:02d}"
            y = at(f"in{i}_1", at(f"conv{i}_1", pad(x, [1] * 4, mode="reflect"))).relu()
            x = x + at(f"in{i}_2", at(f"conv{i}_2", pad(y, [1] * 4, mode="reflect")))
        for i in (1, 2):
            y = at(f"deconv0{i}_2", at(f"deconv0{i}_1", x))
            x = at(f"in{3 + self.blocks + i:02d}_1", y).relu()
        return self.deconv03_1(pad(x, [3] * 4, mode="reflect")).tanh()


def shaken(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode, with biases, scales and statistics that are not the defaults."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.ndim <= 1 and tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
        elif tensor.ndim == 4:
            tensor.copy_(torch.randn(tensor.shape, generator=draw) / tensor[0].numel() ** 0.5)
        assert tensor.isfinite().all(), name
    return net.eval()


def picture(reach: float = 1.0) -> Tensor:
    """Two pictures, (2, 3, 32, 24) in [-reach, reach]."""
    return (torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1) * reach


def saved(folder: Path, obj: object, name: str = "net_G.pth") -> Path:
    torch.save(obj, folder / name)
    return folder / name


def difference(kind: str, net: nn.Module, reach: float = 1.0, **options: Any) -> float:
    """Largest difference between the imported network and upstream's."""
    model = from_state(kind, net.state_dict(), **options)
    with torch.no_grad():
        return float((model(picture(reach)) - net(picture(reach))).abs().max())


AFFINE = partial(nn.InstanceNorm2d, affine=True)
WIDTHS = [4, 5, 6, 3, 7, 5, 4]


@pytest.mark.parametrize(
    ("wiring", "options"),
    [
        ({}, {"norm": "instance", "affine": False}),
        ({"dropout": True}, {"norm": "instance"}),
        ({"norm": nn.BatchNorm2d, "bias": False}, {"norm": "batch"}),
        ({"norm": nn.BatchNorm2d, "bias": False, "dropout": True}, {"norm": "batch"}),
        ({"norm": AFFINE, "trunk_norm": nn.InstanceNorm2d}, {"norm": "instance", "affine": True}),
        ({"norm": AFFINE}, {"affine": True}),
    ],
    ids=["instance", "dropout", "batch", "batch and dropout", "scales on some", "scales on all"],
)
def test_a_cyclegan_of_any_widths_makes_the_same_picture_after_import(
    wiring: dict[str, Any], options: dict[str, Any]
) -> None:
    net = shaken(Upstream(WIDTHS, **wiring))
    model = from_state("cyclegan", net.state_dict())
    assert model.options.items() >= {"blocks": 2, "separable": False, "clamp": False}.items()
    assert model.options.items() >= options.items()
    assert list(model.widths.values()) == [4, 5, 6, 3, 7, 5, 4]
    assert difference("auto", net, reach=1.5) < 1e-5


def test_statistics_that_old_instance_norms_kept_are_dropped() -> None:
    old = shaken(Upstream(WIDTHS, partial(nn.InstanceNorm2d, track_running_stats=True)))
    new = Upstream(WIDTHS).eval()
    new.load_state_dict({k: v for k, v in old.state_dict().items() if "running" not in k
                         and "num_batches" not in k})  # fmt: skip
    model = from_state("cyclegan", old.state_dict())
    with torch.no_grad():
        assert (model(picture()) - new(picture())).abs().max() < 1e-5


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, nn.BatchNorm2d])
def test_a_student_of_gan_compression_is_read_with_and_without_its_config(norm: Any) -> None:
    widths = list(widths_of(CONFIG).values())
    bias = norm is nn.InstanceNorm2d
    student = Upstream(widths, norm, separable=True, dropout=True, clamp=True, bias=bias)
    shaken(student)
    for config in (CONFIG, None):
        assert difference("gan-compression", student, reach=1.5, config=config) < 1e-5
    assert difference("auto", student, reach=1.5) < 1e-5


def test_only_the_mobile_class_of_gan_compression_is_taken_not_to_clamp() -> None:
    even = [2, 4, 8, 8, 8, 8, 4, 2]
    mobile = shaken(Upstream(even, separable=True, dropout=True))
    assert difference("gan-compression", mobile, reach=1.5) < 1e-5
    mobile.clamp = True
    assert difference("gan-compression", mobile, reach=1.5, clamp=True) < 1e-5
    assert difference("gan-compression", mobile, reach=1.5, config="2_2_2_2_2_2") < 1e-5
    full = shaken(Upstream(even, dropout=True, clamp=True))
    assert difference("gan-compression", full, reach=1.5) < 1e-5


def test_a_cartoongan_reads_and_writes_rgb_after_import() -> None:
    net = shaken(Cartoon(blocks=2))
    model = from_state("auto", net.state_dict())
    assert model.family.name == "cartoongan"
    with torch.no_grad():
        want = net(picture().flip(1)).flip(1)
    assert (model(picture()) - want).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("4_3_5_2_3_1_4_2", "up2 3 in the file, 2 in the config"),
        ("4_3_5_2_3_1_4", "8 numbers"),
        ("4_3_5_2_x_1_4_3", "8 numbers"),
        ("4_3_0_2_1_1_4_3", "8 numbers"),
    ],
)
def test_a_config_that_is_not_the_files_is_refused(config: str, message: str) -> None:
    student = Upstream(list(widths_of(CONFIG).values()), separable=True, dropout=True)
    with pytest.raises(ConfigError, match=message):
        from_state("gan-compression", student.state_dict(), config=config)


def test_a_config_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(ConfigError, match="kind 'gan-compression'"):
        from_state("cyclegan", Upstream(WIDTHS).state_dict(), config=CONFIG)
    with pytest.raises(ConfigError, match="Leave the config out"):
        full = Upstream(WIDTHS, dropout=True)
        from_state("gan-compression", full.state_dict(), config="4_3_5_2_4_3")
    with pytest.raises(ConfigError, match="takes no 'config'"):
        from_state("cartoongan", Cartoon(1).state_dict(), config=CONFIG)


def test_the_widths_of_a_config_follow_upstreams_rule() -> None:
    widths = widths_of("16_16_32_16_32_32_16_16")
    assert list(widths.values()) == [16, 32, 128, 64, 64, 64, *[128] * 6, 32, 16]
    assert set(list(widths_of("1_1_2_3_1_1").values())[3:-2]) == {12}


def test_a_near_miss_lists_missing_left_over_and_misshapen_tensors() -> None:
    state = Upstream(WIDTHS).state_dict()
    state["extra.weight"] = torch.zeros(1)
    state["model.26.extra"] = torch.zeros(1)
    del state["model.19.bias"]
    state["model.4.bias"] = torch.zeros(9)
    with pytest.raises(CheckpointError) as caught:
        from_state("cyclegan", state, source="mine.pth")
    message = str(caught.value)
    assert "mine.pth" in message
    assert "1 missing: model.19.bias." in message
    assert "2 left over: extra.weight, model.26.extra." in message
    assert "1 of the wrong shape: model.4.bias: file (9,), network (5,)." in message


def test_a_long_list_of_missing_tensors_is_cut_at_ten() -> None:
    net = Upstream([4, 5, 6, *[3] * 9, 5, 4], AFFINE)
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("6.bias")}
    state = {k: v for k, v in state.items() if "conv_block.1." not in k or "model.10" in k}
    with pytest.raises(CheckpointError, match=r"\d+ missing: [^:]* and \d+ more"):
        from_state("cyclegan", state)


def test_one_missing_scale_or_bias_is_not_taken_for_an_absent_kind() -> None:
    state = Upstream(WIDTHS, AFFINE).state_dict()
    del state["model.5.weight"], state["model.7.bias"], state["model.8.weight"]
    with pytest.raises(CheckpointError, match=r"3 missing: .*model\.5\.weight"):
        from_state("cyclegan", state)


def test_values_that_are_not_finite_are_refused() -> None:
    state = Upstream(WIDTHS).state_dict()
    state["model.4.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        from_state("cyclegan", state)


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        ("cyclegan", Cartoon(1).state_dict(), "a CartoonGAN generator. Use kind 'cartoongan'"),
        ("cartoongan", Upstream(WIDTHS).state_dict(), "Use kind 'cyclegan'"),
        (
            "cyclegan",
            Upstream(WIDTHS, separable=True, dropout=True).state_dict(),
            "kind 'gan-compression'",
        ),
        ("gan-compression", Upstream(WIDTHS).state_dict(), "kind 'cyclegan'"),
        ("cyclegan", {"model.model.0.weight": torch.zeros(1)}, "U-Net generator"),
        ("auto", {"features.0.weight": torch.zeros(1)}, "classifier"),
        ("auto", {"model.0.weight": torch.zeros(8, 3, 4, 4)}, "discriminator"),
        ("auto", {"strange.weight": torch.zeros(1)}, "first tensors are strange.weight"),
        ("cyclegan", {"strange.weight": torch.zeros(1)}, "missing: model.1.weight"),
        (
            "cyclegan",
            {"model.11.conv_block.1.weight": torch.zeros(4, 4, 3, 3)},
            r"first residual block at model\.11",
        ),
        ("cyclegan", {"model.1.weight": torch.zeros(4, 5, 7, 7)}, "reads 5 channels"),
    ],
)
def test_a_file_of_something_else_says_what_it_looks_like(
    kind: str, state: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        from_state(kind, state)


def test_unknown_kinds_and_options_offer_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'cyclegan'"):
        import_model("cycelgan", tmp_path / "x.pth")
    with pytest.raises(ConfigError, match="did you mean 'clamp'"):
        from_state("cyclegan", {}, clam=True)
    with pytest.raises(ConfigError, match="one of instance, batch"):
        from_state("cyclegan", {}, norm="layer")
    assert (
        *("auto", "cyclegan", "pix2pix", "cut", "pix2pixhd", "pytorch-gan", "gan-compression"),
        *("cartoongan", "spade", "munit", "stylegan2", "stylegan2-nvlabs", "sngan"),
    ) == KINDS


def test_a_batch_norm_file_from_before_batches_were_counted_is_read() -> None:
    net = shaken(Upstream(WIDTHS, nn.BatchNorm2d, bias=False))
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("tracked")}
    with torch.no_grad():
        assert (from_state("auto", state)(picture()) - net(picture())).abs().max() < 1e-5


def test_an_imported_model_knows_its_source_and_survives_a_save(tmp_path: Path) -> None:
    path = saved(tmp_path, shaken(Upstream(WIDTHS, AFFINE)).state_dict())
    model = import_model("auto", path)
    assert model.provenance["source"] == "net_G.pth"
    assert model.provenance["kind"] == "cyclegan"
    assert len(model.provenance["sha256"]) == 64
    again = load(save(model, tmp_path / "model.safetensors"))
    assert again.provenance == model.provenance
    assert torch.equal(again(picture()), model(picture()))
    with pytest.raises(CheckpointError, match="a ganpress model already"):
        import_model("auto", tmp_path / "model.safetensors")


def test_a_folder_is_refused_as_one_with_the_files_in_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder, not a checkpoint file"):
        import_model("auto", tmp_path)
    path = saved(tmp_path, {})
    with pytest.raises(CheckpointError) as caught:
        import_model("auto", tmp_path)
    assert str(caught.value).endswith(f"Give {path}.")
    with pytest.raises(CheckpointError, match=r"did you mean 'net_G\.pth'"):
        import_model("auto", tmp_path / "netG.pth")


@pytest.mark.parametrize("kind", ["cyclegan", "gan-compression"])
def test_where_a_resnets_tensors_lie_is_found_out_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def counted(*given: Any) -> Any:
        asked.append(given)
        return layout_of(*given)

    for module in (cyclegan, gan_compression):
        monkeypatch.setattr(module, "layout_of", counted)
    students = kind == "gan-compression"
    net = Upstream([4, 5, 6, 3, 3, 3, 5, 4], dropout=students, separable=students)
    from_state(kind, net.state_dict())
    assert len(asked) == 1
