"""Segmenters: by name with published weights, from the zoo, from files of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from segmenter_files import (
    COLOURS,
    TOML,
    by_colour,
    colour_segmenter,
    publish,
    random_state,
    write_torchscript,
)
from torch import Tensor, nn

from ganpress.errors import ConfigError, GanpressError, WeightsError
from ganpress.losses.deeplab import DeepLabV2
from ganpress.losses.drn import DRNSegmenter
from ganpress.measures.segmenter import (
    Geometry,
    Segmenter,
    digest_of,
    fill,
    load_segmenter,
    parts_of,
)

NARROW = (2, 3, 4, 5, 6, 7, 5, 3)


def small_drn() -> DRNSegmenter:
    return DRNSegmenter(19, 22, NARROW)


def small_deeplab() -> DeepLabV2:
    return DeepLabV2(182, (1, 1, 1, 1), (3, 4, 8, 8, 8), (1, 2, 3, 4))


def pictures(n: int = 2, h: int = 24, w: int = 32) -> Tensor:
    """Of 8 bits."""
    draw = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, 3, h, w), generator=draw) / 127.5 - 1


def test_drn_is_given_what_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own size, RGB in 0..1 less the mean over the deviation of Cityscapes; then resized."""
    path = publish(monkeypatch, tmp_path, "drn-d-105-cityscapes", small_drn)
    net = small_drn().eval()
    net.load_state_dict(torch.load(path), strict=False)
    x = pictures()
    mean, std = (0.290101, 0.328081, 0.286964), (0.182954, 0.186566, 0.184475)
    seen = ((x + 1) / 2 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        logits = net(seen)
    segmenter = load_segmenter("drn-d-105-cityscapes")
    assert segmenter.name == "drn-d-105-cityscapes"
    torch.testing.assert_close(segmenter(x), logits, rtol=1e-3, atol=1e-3)
    found = segmenter(x[:1], (96, 128))[0]
    for channel in (0, 18):
        by_pillow = Image.fromarray(logits[0, channel].numpy())
        want = np.asarray(by_pillow.resize((128, 96), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(found[channel].numpy(), want, rtol=1e-3, atol=1e-2)


def test_deeplab_is_given_what_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bicubic to the map's size, as Pillow does of 8 bits; blue first, 0..255 less the mean."""
    path = publish(monkeypatch, tmp_path, "deeplabv2-coco-stuff", small_deeplab)
    net = small_deeplab().eval()
    net.load_state_dict(torch.load(path), strict=False)
    x = ((pictures(1) / 2 + 1) * 127.5).round() / 127.5 - 1  # Pillow then cuts nothing off between
    shown: list[Tensor] = []
    segmenter = load_segmenter("deeplabv2-coco-stuff")
    segmenter.net.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    found = segmenter(x, (40, 56))
    rgb = ((x[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    large = np.asarray(Image.fromarray(rgb).resize((56, 40), Image.Resampling.BICUBIC), np.float32)
    want = torch.from_numpy(large[:, :, ::-1] - np.array((104.008, 116.669, 122.675), np.float32))
    difference = (shown[0][0] - want.permute(2, 0, 1)).abs()
    assert difference.max() < 1.01 and (difference > 0.01).float().mean() < 0.3  # of rounding
    with torch.no_grad():
        logits = net(shown[0])
    up = F.interpolate(logits, (40, 56), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, up, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["drn-d-105-cityscapes", "deeplabv2-coco-stuff"])
def test_a_published_file_that_is_not_here_is_asked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANPRESS_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"\.pth' was found.*GANPRESS_WEIGHTS"):
        load_segmenter(name)


def test_a_file_that_is_not_the_published_one_is_named_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish(monkeypatch, tmp_path, "drn-d-105-cityscapes", small_drn)
    mine = tmp_path / path.name.replace("drn", "mine")
    torch.save(random_state(small_drn(), seed=1), mine)
    beside = load_segmenter("drn-d-105-cityscapes", weights=mine)  # of another network, perhaps
    assert beside.name == "drn-d-105-cityscapes"
    torch.save(random_state(small_drn(), seed=1), path)
    with pytest.raises(WeightsError, match="not the published"):
        load_segmenter("drn-d-105-cityscapes", weights=path)


@pytest.mark.parametrize("change", ["lacking", "more", "shape"])
def test_a_file_is_taken_key_for_key(change: str) -> None:
    net = small_drn()
    state = random_state(net)
    if change == "lacking":
        del state["seg.bias"]
    elif change == "more":
        state["fc.weight"] = torch.zeros(3)
    else:
        state["seg.bias"] = torch.zeros(20)
    with pytest.raises(WeightsError, match=r"fc\.weight" if change == "more" else r"seg\.bias"):
        fill(net, state, Path("x.pth"))


def test_a_parallel_trainings_prefix_is_no_matter() -> None:
    net, other = small_drn(), small_drn()
    state = random_state(net)
    fill(net, {f"module.{n}": t.half() for n, t in state.items()}, Path("x.pth"))
    fill(other, {n: t.half() for n, t in state.items()}, Path("x.pth"))
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(net.eval()(x), other.eval()(x))


def onnx_file(path: Path, net: nn.Module, *, fixed: bool = False, toml: str = TOML) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, tensor = onnx.helper, onnx.helper.make_tensor_value_info
    conv = net
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    weights = [
        onnx.numpy_helper.from_array(t.detach().numpy(), n)
        for n, t in (("w", conv.weight), ("b", conv.bias))
    ]
    dims = (1, 3, 24, 32) if fixed else ("n", 3, "h", "w")
    out = (1, 3, 24, 32) if fixed else ("n", 3, "h", "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "net",
        [tensor("x", onnx.TensorProto.FLOAT, dims)],
        [tensor("y", onnx.TensorProto.FLOAT, out)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    path.with_suffix(".toml").write_text(toml)
    return path


def test_a_file_of_ones_own_sees_what_the_network_sees(tmp_path: Path) -> None:
    x, net = pictures(), by_colour()
    with torch.no_grad():
        want = net((x + 1) / 2)
    script = load_segmenter(write_torchscript(tmp_path / "a.pt"))
    onnx = load_segmenter(onnx_file(tmp_path / "b.onnx", net))
    sized = 'size = "24x32"\n' + TOML
    fixed = load_segmenter(onnx_file(tmp_path / "c.onnx", net, fixed=True, toml=sized))
    for segmenter in (script, onnx, fixed):
        torch.testing.assert_close(segmenter(x), want, rtol=1e-4, atol=1e-5)
        assert segmenter.labelling == script.labelling
    assert script.name == f"a@{script.digest[:8]}" != f"a@{onnx.digest[:8]}"


def test_the_description_is_part_of_what_a_file_is(tmp_path: Path) -> None:
    a = load_segmenter(write_torchscript(tmp_path / "a.pt"))
    (tmp_path / "a.toml").write_text(TOML.replace("red = 1", "red = 4"))
    assert load_segmenter(tmp_path / "a.pt").name != a.name


def test_mean_deviation_range_and_order_are_as_described(tmp_path: Path) -> None:
    told = 'white = 255\nmean = [10, 20, 30]\nstd = [2, 3, 4]\nchannels = "BGR"\n'
    segmenter = load_segmenter(write_torchscript(tmp_path / "a.pt", toml=told + TOML))
    x = pictures()
    bgr = (x + 1).flip(1) * 127.5
    mean, std = torch.tensor([10, 20, 30])[:, None, None], torch.tensor([2, 3, 4])[:, None, None]
    with torch.no_grad():
        want = by_colour()((bgr - mean) / std)
    torch.testing.assert_close(segmenter(x), want, rtol=1e-4, atol=1e-2)


def test_pictures_are_resized_as_described_and_logits_back() -> None:
    shown: list[Tensor] = []
    segmenter = colour_segmenter(size="12x16")
    segmenter.net.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    assert segmenter(pictures()).shape == (2, 3, 24, 32)
    assert segmenter(pictures(), (5, 7)).shape == (2, 3, 5, 7)
    assert {tuple(each.shape) for each in shown} == {(2, 3, 12, 16)}
    rgb = ((pictures(1)[0] + 1) / 2).numpy()
    small = np.asarray(Image.fromarray(rgb[0]).resize((16, 12), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(shown[0][0, 0].numpy(), small, atol=1e-5)


def test_a_pixel_has_the_class_of_its_colour() -> None:
    row = torch.tensor([list(COLOURS.values())]).permute(2, 0, 1)[None] / 127.5 - 1
    assert colour_segmenter().classes_of(row).tolist() == [[[0, 1, 2]]]


def test_grey_pictures_and_clear_ones_are_seen_as_rgb() -> None:
    grey, clear = torch.zeros(1, 1, 4, 4), -torch.ones(1, 4, 4, 4)
    white = colour_segmenter()(torch.ones(1, 3, 4, 4))
    assert torch.equal(colour_segmenter()(clear), white)
    assert torch.equal(colour_segmenter()(grey), colour_segmenter()(torch.zeros(1, 3, 4, 4)))


def test_the_gradient_goes_back_to_the_picture() -> None:
    x = pictures().requires_grad_()
    segmenter = colour_segmenter().train()
    segmenter(x).square().sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    assert not segmenter.training and not any(p.requires_grad for p in segmenter.parameters())


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("classes = 3\nsize = 0\n", r"a\.toml, line 2: size is 0.*at least 1"),
        ("clases = 3\n", r"line 1: there is no setting 'clases' \(did you mean 'classes'"),
        ("size = 8\n", r"a\.toml: 'classes' is missing"),
        ('classes = ["a", "a"]\n', r"line 1: of the classes, 'a' is named twice"),
        ("classes = 1\n", r"line 1: classes is 1"),
        ("classes = 3\nstd = [1, 1, 0]\n", "line 2: std is"),
        ("classes = 3\nmean = [1, 1]\n", "line 2: mean is"),
        ('classes = 3\nchannels = "GBR"\n', "line 2: channels is 'GBR'"),
        ("classes = 3\n\n[ids]\n3 = 4\n", r"line 4: ids has '3', which is no class"),
        ('classes = ["sky", "sea"]\nids = {skye = 1}\n', r"line 2: ids has 'skye'.*mean 'sky'"),
        ("classes = 2\nignored = [0]\n[ids]\n0 = 0\n1 = 1\n", "0 is given twice among the ids"),
        ("classes = 3\nids.0 = -1\n", "line 2: ids is"),
        ("classes = 3\nsize = \n", r"a\.toml is not valid TOML: .*line 2"),
        ('classes = 3\n[net]\nkind = "unet"\nwidths = [1, 2]\n', "line 2: 'net' is for"),
    ],
)
def test_a_wrong_description_names_the_file_and_the_line(
    toml: str, says: str, tmp_path: Path
) -> None:
    write_torchscript(tmp_path / "a.pt", toml=toml)
    with pytest.raises(ConfigError, match=says):
        load_segmenter(tmp_path / "a.pt")


def test_without_a_description_one_is_asked_for(tmp_path: Path) -> None:
    write_torchscript(tmp_path / "a.pt")
    (tmp_path / "a.toml").unlink()
    with pytest.raises(ConfigError, match=r"no .*a\.toml: write"):
        load_segmenter(tmp_path / "a.pt")


def test_classes_without_ids_are_their_numbers_and_ignored_ids_win(tmp_path: Path) -> None:
    write_torchscript(tmp_path / "a.pt", toml="classes = 3\nignored = [0, 255]\n")
    labelling = load_segmenter(tmp_path / "a.pt").labelling
    assert labelling.by_ids(np.array([0, 1, 2, 255]), "ids").tolist() == [-1, 1, 2, -1]
    assert not labelling.colours


def test_a_network_of_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    write_torchscript(tmp_path / "a.pt", toml="classes = 4\n")
    with pytest.raises(WeightsError, match=r"gives \(2, 3, 24, 32\).*\(2, 4, h, w\)"):
        load_segmenter(tmp_path / "a.pt")(pictures())


def test_a_file_of_one_size_says_which(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "a.onnx", by_colour(), fixed=True)
    with pytest.raises(ConfigError, match='write size = "24x32" in'):
        load_segmenter(path)


@pytest.mark.parametrize("name", ["a.onnx", "a.pt", "a.safetensors"])
def test_a_file_that_is_no_network_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    (tmp_path / "a.toml").write_text("classes = 3\n")
    with pytest.raises(WeightsError, match=name):
        load_segmenter(tmp_path / name)


@pytest.mark.parametrize("text", [None, "{", "[1]"])
def test_weights_without_a_description_inside_are_refused(text: str | None, tmp_path: Path) -> None:
    told = None if text is None else {"segmenter": text}
    save_file({"w": torch.zeros(1)}, tmp_path / "a.safetensors", told)
    with pytest.raises(WeightsError, match="no description inside"):
        load_segmenter(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("name", "says"),
    [("facade", "did you mean 'facades'"), ("no/such.onnx", "no segmenter no/such.onnx")],
)
def test_what_there_is_not_is_refused(name: str, says: str) -> None:
    with pytest.raises(GanpressError, match=says):
        load_segmenter(name)


def test_a_metrics_name_says_what_is_measured_by_what() -> None:
    assert parts_of("miou-drn-d-105-cityscapes") == ("miou", "drn-d-105-cityscapes")
    assert parts_of("accuracy-runs/a-b/net.onnx") == ("accuracy", "runs/a-b/net.onnx")
    assert parts_of("st-lpips-alex") is None and parts_of("miou-nothing") is None


def test_pictures_of_the_size_already_are_not_touched() -> None:
    x = pictures()
    for size in ("own", "labels", (24, 32)):
        assert Geometry(size, "bicubic", rounded=True)(x, (24, 32)) is x  # type: ignore[arg-type]


def test_the_zoos_segmenter_says_what_it_is() -> None:
    segmenter = load_segmenter("facades")
    assert isinstance(segmenter, Segmenter) and segmenter.name == "facades"
    assert segmenter.labelling.classes[:3] == ("background", "facade", "window")
    assert segmenter.labelling.by_ids(np.array([0, 1, 12]), "ids").tolist() == [-1, 0, 11]
    assert segmenter.labelling.by_colours(
        np.array([[(0, 0, 170), (170, 0, 0), (0, 0, 0)]], np.uint8)
    ).tolist() == [[0, 11, -1]]
    assert segmenter(pictures(1)).shape == (1, 12, 24, 32)


def test_a_segmenter_is_known_by_what_its_files_hold_and_not_by_where_they_lie(
    tmp_path: Path,
) -> None:
    """Workers of one search may have it in different places."""
    found = []
    files = ((b"1", "x"), (b"1", "x"), (b"2", "x"), (b"1", "y"))
    for place, (net, described) in enumerate(files):
        (folder := tmp_path / str(place)).mkdir()
        (folder / "net.onnx").write_bytes(net)
        (folder / "net.toml").write_text(described)
        found.append(digest_of(folder / "net.onnx"))
    assert found[0] == found[1] and len(set(found)) == 3
    assert digest_of("facades") == ""
