"""Bad input of every family through the command line: one message that says what to do, exit code
2, and nothing left behind that would stop a second, correct try."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from nets import WIRINGS, Wiring
from nvlabs_nets import nvlabs_generator
from PIL import Image
from thin import thinned

from ganpress.data.drawn.draw import write_folder
from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.formats.importers import RESNETS
from ganpress.formats.importers.kinds import READERS
from ganpress.formats.importers.stylegan2 import discriminator_names
from ganpress.models.checkpoint import load, save
from ganpress.nn.discriminators import build_discriminator
from ganpress.quantisation.quantise import FakeQuantiser, quantise
from ganpress.types import State

Refused = Callable[..., str]
Done = Callable[..., None]

SHOWN = {
    "cyclegan": (WIRINGS["cyclegan instance"], "pth-junyanz"),
    "cut": (WIRINGS["cyclegan blurred"], "pth-cut"),
    "pix2pixhd": (Wiring("cyclegan", {"downsamplings": 3}), "pth-pix2pixhd"),
    "pytorch-gan": (Wiring("cyclegan", {"up": "nearest"}), "pth-pytorch-gan"),
    "pix2pix": (WIRINGS["pix2pix"], "pth-junyanz"),
    "gan-compression": (WIRINGS["cyclegan separable"], "pth-gan-compression"),
    "cartoongan": (WIRINGS["cartoongan"], "pth-cartoongan"),
    "spade": (WIRINGS["gaugan"], "pth-nvlabs"),
    "munit": (WIRINGS["munit"], "pth-nvlabs"),
    "stylegan2": (WIRINGS["stylegan2"], "pth-rosinality"),
    "sngan": (WIRINGS["sngan"], "pth-sngan"),
}
"""Import kind -> a tiny network of it, and the target that writes its file."""
TAKEN = {("gan-compression", "spade"), ("gan-compression", "munit"), *permutations(RESNETS, 2)}
"""Kinds that read files of another kind, too: GAN Compression has networks of three families, and
the ResNets' kinds have one reader."""


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused: arguments -> the one message on stderr."""

    def command(*arguments: object) -> str:
        told = run_cli(capsys, *arguments)
        lines = told.err.splitlines()
        assert told.code == 2, told
        assert told.out == ""
        assert len(lines) == 1, told.err
        assert lines[0].startswith("error: ")
        return lines[0]

    return command


@pytest.fixture
def done(capsys: pytest.CaptureFixture[str]) -> Done:
    """Run a command that must succeed."""

    def command(*arguments: object) -> None:
        told = run_cli(capsys, *arguments)
        assert told.code == 0, told.err

    return command


# --- checkpoints ----------------------------------------------------------------------------------


def generator_states() -> dict[str, State]:
    """A tiny generator's tensors under the names of every import kind."""
    torch.manual_seed(0)
    states = {}
    for kind, (wiring, target) in SHOWN.items():
        _, state_of = LAYOUTS[target][wiring.name]
        states[kind] = state_of(wiring.model())
    return states | {"stylegan2-nvlabs": nvlabs_generator({4: 7, 8: 5, 16: 3}, 6, 2)}


def spade_name(ours: str) -> str:
    """SPADE's own name of a tensor of our multiscale discriminator."""
    name = re.sub(r"scales\.(\d)\.stages\.(\d)", r"discriminator_\1.model\2", ours)
    name = name.replace("0.parametrizations.weight.original", "0.0.weight_orig")
    return re.sub(r"0\.parametrizations\.weight\.0\._", "0.0.weight_", name)


def discriminator_states() -> dict[str, State]:
    """A tiny discriminator's tensors under their code bases' names."""
    torch.manual_seed(0)
    patch = build_discriminator("patch", width=4, layers=2)
    style = build_discriminator("stylegan2", size=16, channels=[8, 8, 4])
    names = discriminator_names(2)
    return {
        "patch": patch.state_dict(),
        "munit": build_discriminator("munit", width=4, layers=2, scales=2).state_dict(),
        "sngan": build_discriminator("sngan", width=8, classes=0, spectral_norm=False).state_dict(),
        "stylegan2": {names[ours]: t for ours, t in style.state_dict().items()},
        "spade": {
            spade_name(ours): t
            for ours, t in build_discriminator("spade", inputs=8, width=4, layers=3)
            .state_dict()
            .items()
        },
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """KIND.pth of every import kind, d-KIND.pth of every kind of discriminator."""
    folder = tmp_path_factory.mktemp("foreign")
    for kind, state in generator_states().items():
        torch.save(state, folder / f"{kind}.pth")
    for kind, state in discriminator_states().items():
        torch.save(state, folder / f"d-{kind}.pth")
    return folder


def spoilt(path: Path, folder: Path) -> Path:
    """The same file with one value that is no number."""
    state = torch.load(path, weights_only=True)
    tensor = next(t for t in state.values() if t.is_floating_point() and t.ndim == 4)
    tensor.view(-1)[0] = float("nan")
    torch.save(state, folder / path.name)
    return folder / path.name


def shortened(path: Path, folder: Path) -> Path:
    whole = path.read_bytes()
    (folder / path.name).write_bytes(whole[: len(whole) * 2 // 3])
    return folder / path.name


@pytest.mark.parametrize("kind", thinned(READERS, 4))
def test_a_file_of_another_kind_is_told_what_it_looks_like(
    kind: str, files: Path, tmp_path: Path, refused: Refused, done: Done
) -> None:
    out = tmp_path / "out.safetensors"
    for other in READERS:
        if other != kind and (kind, other) not in TAKEN:
            told = refused("import", kind, files / f"{other}.pth", "-o", out)
            assert f"{other}.pth" in told
            assert "it looks like a" in told
            assert f"ind '{other}'" in told
    for discriminator in files.glob("d-*.pth"):
        told = refused("import", kind, discriminator, "-o", out)
        assert f"{discriminator.name} looks like a" in told
        assert "Import its generator" in told and "--discriminator" in told
    assert not list(tmp_path.iterdir())
    done("import", kind, files / f"{kind}.pth", "-o", out)


@pytest.mark.parametrize("spoil", [shortened, spoilt])
def test_a_damaged_file_of_any_kind_is_refused(
    spoil: Callable[[Path, Path], Path], files: Path, tmp_path: Path, refused: Refused
) -> None:
    out = tmp_path / "out" / "out.safetensors"
    for kind in READERS:
        bad = spoil(files / f"{kind}.pth", tmp_path)
        told = refused("import", kind, bad, "-o", out)
        assert f"{kind}.pth" in told
        assert ("not finite" if spoil is spoilt else "download it again") in told
    assert not out.parent.exists()


def test_a_file_that_lacks_a_tensor_names_it(files: Path, tmp_path: Path, refused: Refused) -> None:
    for kind in READERS:
        state = torch.load(files / f"{kind}.pth", weights_only=True)
        name = [n for n, t in state.items() if t.ndim == 4 and "rgb" not in n and "8" not in n][-1]
        del state[name]
        torch.save(state, tmp_path / "lacking.pth")
        told = refused("import", kind, tmp_path / "lacking.pth", "-o", tmp_path / "out.safetensors")
        assert "lacking.pth" in told and f"missing: {name}" in told


@pytest.mark.parametrize(
    ("kind", "option", "parts"),
    [
        ("spade", "upsampling=mor", ["one of normal, more, most", "'mor'"]),
        ("spade", "upsmpling=more", ["did you mean 'upsampling'?"]),
        ("spade", "labels=0", ["a number from 1 to 999", "got 0"]),
        ("spade", "labels=many", ["a number from 1 to 999", "'many'"]),
        ("spade", "edges=yes", ["one of true, false", "'yes'"]),
        ("spade", "labels=9", ["labels"]),
        ("spade", "upsampling", ["write key=value"]),
        ("munit", "direction=a", ["one of a2b, b2a"]),
        ("munit", "direction=b2a", ["leave 'direction' out"]),
        ("cyclegan", "norm=layer", ["one of instance, batch"]),
        ("cyclegan", "norm=[1]", ["one of instance, batch"]),
        ("sngan", "classes=3", ["has no option 'classes'", "Options: norm."]),
        ("auto", "clam=true", ["did you mean 'clamp'?"]),
        ("sngn", "clamp=true", ["did you mean 'sngan'?"]),
    ],
)
def test_an_option_that_the_importer_cannot_use_is_refused(
    kind: str, option: str, parts: list[str], files: Path, tmp_path: Path, refused: Refused
) -> None:
    file = files / f"{kind if kind in READERS else 'cyclegan'}.pth"
    told = refused("import", kind, file, "-o", tmp_path / "x.safetensors", "--option", option)
    for part in parts:
        assert part in told
    assert not list(tmp_path.iterdir())


OWN = {
    **{"cyclegan": "patch", "pix2pix": "patch", "gan-compression": "patch", "spade": "spade"},
    **{"munit": "munit", "stylegan2": "stylegan2", "sngan": "sngan"},
}
"""Import kind -> the file of its own discriminator."""


@pytest.mark.parametrize("kind", thinned(OWN, 3))
def test_a_discriminator_that_does_not_belong_or_is_damaged_is_refused(
    kind: str, files: Path, tmp_path: Path, refused: Refused, done: Done
) -> None:
    out = tmp_path / "out" / "x.safetensors"
    line = ["import", kind, files / f"{kind}.pth", "-o", out, "--discriminator"]
    own = files / f"d-{OWN[kind]}.pth"
    for other in set(OWN.values()) - {OWN[kind]}:
        told = refused(*line, files / f"d-{other}.pth")
        assert f"d-{other}.pth" in told and "discriminator" in told
    told = refused(*line, files / f"{kind}.pth")
    assert f"{kind}.pth" in told and "discriminator" in told
    assert "download it again" in refused(*line, shortened(own, tmp_path))
    assert "not finite" in refused(*line, spoilt(own, tmp_path))
    assert "There is no checkpoint file" in refused(*line, tmp_path / "d.pth")
    assert not out.parent.exists()
    done(*line, own)
    held = load(out).discriminator
    assert held is not None and held.kind == OWN[kind]


def test_a_kind_without_a_discriminator_says_so(
    files: Path, tmp_path: Path, refused: Refused
) -> None:
    line = ["import", "cartoongan", files / "cartoongan.pth", "-o", tmp_path / "x.safetensors"]
    assert "has no discriminator" in refused(*line, "--discriminator", files / "d-patch.pth")


class Evil:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pkl_that_names_a_forbidden_callable_is_never_run(
    protocol: int, tmp_path: Path, files: Path, refused: Refused
) -> None:
    marker, file, out = tmp_path / "ran", tmp_path / "net.pkl", tmp_path / "x.safetensors"
    file.write_bytes(pickle.dumps({"G_ema": {"deep": [Evil(marker)]}}, protocol))
    for kind in ("stylegan2-nvlabs", "stylegan2", "auto"):
        told = refused("import", kind, file, "-o", out)
        assert "asks to call" in told and ".mkdir'" in told and "It was not run" in told
    line = ["import", "stylegan2", files / "stylegan2.pth", "-o", out, "--discriminator", file]
    assert "It was not run" in refused(*line)
    assert sorted(tmp_path.iterdir()) == [file]


def test_a_pkl_that_is_cut_short_or_no_pickle_is_refused(tmp_path: Path, refused: Refused) -> None:
    file, out = tmp_path / "net.pkl", tmp_path / "x.safetensors"
    whole = pickle.dumps({"G_ema": list(range(1000))})
    for content in (b"", whole[:-20], b"hello", b"\x80\x04", os.urandom(64), b"PK\x03\x04"):
        file.write_bytes(content)
        assert str(file) in refused("import", "stylegan2-nvlabs", file, "-o", out)
    assert sorted(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("wiring", "to", "parts"),
    [
        ("cartoongan", "pth-rosinality", ["'pth-rosinality' is for stylegan2", "pth-cartoongan"]),
        ("sngan", "pth-junyanz", ["is for cyclegan, pix2pix, not for a 'sngan'", "pth-sngan"]),
        ("munit", "pth-sngan", ["pth-gan-compression, pth-nvlabs"]),
        ("cartoongan separable", "pth-cartoongan", ["eparable"]),
        ("sngan conditional", "pth-sngan", ["class"]),
        ("cartoongan", "pth-cartongan", ["did you mean 'pth-cartoongan'?"]),
        ("cartoongan", "onx", ["did you mean 'onnx'?"]),
    ],
)
def test_a_model_does_not_go_to_a_code_base_that_has_no_such_network(
    wiring: str, to: str, parts: list[str], tmp_path: Path, refused: Refused
) -> None:
    model = save(WIRINGS[wiring].model(), tmp_path / "m.safetensors")
    told = refused("export", model, "-o", tmp_path / "net.pth", "--to", to, "--size", 32)
    for part in parts:
        assert part in told
    assert sorted(tmp_path.iterdir()) == [model]


def test_integers_do_not_go_to_code_that_knows_none(tmp_path: Path, refused: Refused) -> None:
    model = WIRINGS["cartoongan"].model()
    quantise(model.net, FakeQuantiser())
    file = save(model, tmp_path / "m.safetensors")
    told = refused("export", file, "-o", tmp_path / "x.pth", "--to", "pth-cartoongan", "--size", 32)
    assert "quantised" in told and "Export it to onnx" in told
    assert sorted(tmp_path.iterdir()) == [file]


# --- data -----------------------------------------------------------------------------------------

COMMON = ["steps=1", "batch=2", "width=0.02", "data.workers=0", "data.size=32", "threads=1"]
SETS: dict[str, list[str]] = {
    "cartoongan": [
        "options.blocks=1",
        "discriminator_width=4",
        "discriminator_layers=1",
        "warm_up=0",
    ],
    "cyclegan": [
        "options.blocks=1",
        "discriminator.width=4",
        "discriminator.layers=2",
        "data.load_size=32",
    ],
    "gaugan": ["options.labels=4", "options.edges=false", "options.dontcare=false"],
    "munit": [
        "options.res=1",
        "discriminator_width=4",
        "discriminator_layers=2",
        "discriminator_scales=2",
    ],
    "pix2pix": [
        "options.downs=4",
        "discriminator.width=4",
        "discriminator.layers=2",
        "data.load_size=32",
    ],
    "sngan": ["d_steps=1", "g_batch=2", "discriminator.width=4", "options.latent_dim=4"],
    "stylegan2": ["width=1", "options.size=32", "options.style_dim=8", "options.base=64"],
}
SETS["cartoongan"] += ["content.features=tiny"]
SETS["gaugan"] += ["features=none", "discriminator.width=4", "discriminator.layers=2", "width=0.01"]
SETS["stylegan2"] += ["options.n_mlp=1", "discriminator.base=64"]
NEEDS = {
    **dict.fromkeys(("cartoongan", "cyclegan", "munit"), ("--other", "b")),
    **{"gaugan": ("--labels", "labels"), "pix2pix": ("--pairs", "targets")},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with 3 photos (a), their targets and label maps, and 3 others (b)."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "a", 3, size=32)
    write_folder(tmp_path / "b", 3, size=32, seed=5)
    write_folder(tmp_path / "targets", 3, size=32, stylised=True)
    for i, photo in enumerate(sorted((tmp_path / "a").iterdir())):
        put_map(tmp_path / "labels" / f"{photo.stem}.png", i)
    return tmp_path


def put_map(path: Path, label: int, size: tuple[int, int] = (32, 32)) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("L", size, label).save(path)


def training(family: str, *sets: str, without: bool = False) -> list[object]:
    """The command that trains a tiny network of a family in the folder `home`."""
    line: list[object] = ["train", family, "--images", "a", "--run", "run"]
    line += [] if without else NEEDS.get(family, ())
    return [*line, *(part for each in (*COMMON, *SETS[family], *sets) for part in ("--set", each))]


@pytest.mark.parametrize("family", SETS)
def test_an_image_smaller_than_the_crop_is_named_whatever_the_family(
    family: str, home: Path, refused: Refused, done: Done
) -> None:
    folders = {"a", *NEEDS.get(family, ("", "a"))[1:]}
    for folder in folders:
        small = Image.new("L" if folder == "labels" else "RGB", (40, 20), 1)
        small.save(home / folder / "small.png")
    told = refused(*training(family))
    assert "'small.png' is 20x40 pixels (height x width), smaller than the crop of 32x32" in told
    assert "data.enlarge=true" in told
    assert not (home / "run").exists()
    done(*training(family, "data.enlarge=true"))


def test_a_small_image_of_the_other_domain_is_named_too(home: Path, refused: Refused) -> None:
    Image.new("RGB", (31, 99)).save(home / "b" / "small.png")
    assert "'small.png' is 99x31 pixels" in refused(*training("cyclegan"))


@pytest.mark.parametrize("family", NEEDS)
def test_a_family_without_the_data_it_needs_says_which(
    family: str, home: Path, refused: Refused
) -> None:
    told = refused(*training(family, without=True))
    assert f"'{family}' is trained with" in told and NEEDS[family][0] in told
    flag = "--other" if NEEDS[family][0] != "--other" else "--pairs"
    folder = "b" if flag == "--other" else "targets"
    told = refused(*training(family), flag, folder)
    assert f"'{family}' is not trained with" in told and flag in told
    assert not (home / "run").exists()


def test_label_ids_past_the_count_are_refused(home: Path, refused: Refused, done: Done) -> None:
    name = sorted((home / "labels").iterdir())[1]
    put_map(name, 9)
    told = refused(*training("gaugan"))
    assert "id 9" in told and "4 labels" in told and "options.labels=10" in told
    assert f"The label map labels/{name.name} holds id 9" in told
    assert not (home / "run").exists()
    put_map(name, 255)
    told = refused(*training("gaugan"))
    assert "id 255, which marks pixels without a label" in told
    assert "--set options.dontcare=true" in told and "options.labels=256" not in told
    put_map(name, 9)
    model = save(WIRINGS["gaugan"].model(), home / "m.safetensors")
    line = ["evaluate", model, "--images", "a", "--labels", "labels", "--instances", "labels"]
    line += ["--size", 64, "--features", "tiny", "--json", "out.json"]
    for more in ([], ["--teacher", model]):
        told = refused(*line, *more)
        assert "id 9" in told and "4 labels: 0 to 3" in told
        assert f"labels/{name.name} holds" in told
    told = refused("compress", "slim", "--teacher", model, "--run", "run", *line[2:8])
    assert f"labels/{name.name} holds id 9" in told and not (home / "run").exists()
    assert not (home / "out.json").exists()
    put_map(name, 3)
    done(*training("gaugan"))
    done(*line)


def test_label_maps_are_needed_to_evaluate_what_reads_them(home: Path, refused: Refused) -> None:
    model = save(WIRINGS["gaugan"].model(), home / "m.safetensors")
    for more in ([], ["--teacher", model]):
        assert "--labels" in refused("evaluate", model, "--images", "a", "--size", 64, *more)
    line = ["evaluate", model, "--images", "a", "--labels", "labels", "--features", "tiny"]
    assert "nstance" in refused(*line, "--size", 64)


@pytest.mark.parametrize(("family", "folder"), [("pix2pix", "targets"), ("gaugan", "labels")])
def test_pairs_that_do_not_match_are_refused(
    family: str, folder: str, home: Path, refused: Refused, done: Done
) -> None:
    first = min((home / folder).iterdir())
    kept = first.read_bytes()
    first.unlink()
    told = refused(*training(family))
    assert "a has 3 images" in told and f"{folder} 2" in told and first.stem in told
    put_map(first, 1, (40, 32))
    told = refused(*training(family))
    assert "(32x32)" in told and "(40x32) differ in size" in told and first.name in told
    first.write_bytes(kept)
    put_map(home / folder / "spare.png", 1)
    assert f"Only in {folder}: spare" in refused(*training(family))
    (home / folder / "spare.png").unlink()
    assert not (home / "run").exists()
    done(*training(family))


def test_pairs_that_do_not_match_cannot_be_evaluated(home: Path, refused: Refused) -> None:
    model = save(WIRINGS["pix2pix"].model(), home / "m.safetensors")
    line = ["evaluate", model, "--images", "a", "--features", "tiny", "--size", 32]
    assert "--pairs" in refused(*line)
    next((home / "targets").iterdir()).unlink()
    assert "do not pair by name" in refused(*line, "--pairs", "targets")
    Image.new("RGB", (33, 32)).save(home / "a" / "odd.png")
    assert "no two equal halves" in refused(*line, "--side-by-side", "AB")
    assert "'AB' (input left, target right)" in refused(*line, "--side-by-side", "left")


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "item", "parts"),
    [
        ("stylegan2", "data.size=64", ["data.size is 64", "makes 32 pixels", "make them equal"]),
        ("stylegan2", "options.size=48 data.size=48", ["size", "48", "power"]),
        ("sngan", "data.size=24", ["data.size is 24", "32 px", "make them equal"]),
        (
            "pix2pix",
            "data.size=40 data.load_size=40",
            ["data.size is 40", "multiple of 16", "options.downs"],
        ),
        ("pix2pix", "generator=unt", ["unet"]),
        ("cyclegan", "data.size=30", ["data.size is 30", "multiple of 4"]),
        ("cyclegan", "discriminator.layers=4", ["at least 48 pixels, got 32"]),
        ("cartoongan", "data.size=30", ["data.size is 30", "multiple of 4"]),
        (
            "cartoongan",
            "discriminator_layers=6",
            ["at least 192 pixels, got 32", "discriminator_layers"],
        ),
        ("munit", "data.size=30", ["data.size is 30", "multiple of 4"]),
        ("munit", "discriminator_scales=6", ["need pictures of at least 128 pixels"]),
        ("gaugan", "data.size=40", ["data.size is 40", "multiple of 32"]),
        ("gaugan", "options.upsampling=more", ["multiple of 64", "options.upsampling"]),
        ("gaugan", "options.upsampling=mor", ["normal, more, most"]),
        ("cyclegan", "accumulate=3", ["accumulate is 3", "batch of 2"]),
        ("sngan", "d_steps=3", ["A batch of 2", "3 updates", "multiple of 3"]),
        ("sngan", "accumulate=2 g_batch=3", ["g_batch is 3", "multiple of 2"]),
        ("sngan", "options.classes=3", ["each photo's class", "options.classes=0"]),
        ("sngan", "options.clases=3", ["did you mean 'classes'?"]),
        ("munit", "data.load_size=16", ["data.load_size is 16", "at least 32"]),
        ("stylegan2", "lr=0.1", ["did you mean 'lr_"]),
        ("cyclegan", "options.blocks=many", ["'blocks' is a whole number, such as 9", "'many'"]),
        ("cyclegan", "options.blocks=1.5", ["'blocks' is a whole number", "got 1.5"]),
        ("cyclegan", "options.blocks=-1", ["'blocks' is at least 0"]),
        ("cyclegan", "options.affine=1", ["'affine' is true or false"]),
        ("cyclegan", "options.norm=layer", ["There is no norm 'layer'"]),
        ("gaugan", "options.labels=x", ["'labels' is a whole number"]),
        ("gaugan", "options.labels=0", ["'labels' is at least 1"]),
        ("munit", "options.style_dim=0", ["'style_dim' is at least 1"]),
        ("munit", "options.down=x", ["'down' is a whole number"]),
        ("pix2pix", "options.downs=x", ["'downs' is a whole number"]),
        ("sngan", "options.latent_dim=0", ["'latent_dim' is at least 1"]),
        ("stylegan2", "options.n_mlp=0", ["'n_mlp' is at least 1"]),
    ],
)
def test_settings_that_do_not_fit_the_network_are_refused(
    family: str, item: str, parts: list[str], home: Path, refused: Refused
) -> None:
    told = refused(*training(family, "data.enlarge=true", *item.split()))
    for part in parts:
        assert part in told
    assert not (home / "run").exists() or not list((home / "run").iterdir())


def test_a_refused_conditional_training_can_be_started_again_with_classes(
    home: Path, refused: Refused, done: Done
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    line = training("sngan", "options.classes=3")
    assert "each photo's class" in refused(*line)
    line[line.index("a")] = "pack.npz"
    np.savez(home / "pack.npz", images=pictures, labels=np.arange(4))
    assert "of class 3, but options.classes is 3" in refused(*line)
    np.savez(home / "pack.npz", images=pictures, labels=np.arange(4) % 3)
    done(*line)


def test_a_training_refused_at_its_first_step_can_be_started_again(
    home: Path, refused: Refused, done: Done
) -> None:
    line = training("gaugan", "options.separable=true", "data.enlarge=true")
    assert "and 64 in one direction" in refused(*line)
    done(*line, "--set", "data.size=64")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (["train", "pix2px", "--images", "a", "--run", "run"], ["did you mean 'pix2pix'?"]),
        (["families", "stylegan"], ["did you mean 'stylegan2'?"]),
        (["settings", "gogan"], ["did you mean 'gaugan'?"]),
        (["measure", "cartongan"], ["did you mean 'cartoongan'?"]),
        (["data", "get", "horse2zebr"], ["did you mean 'horse2zebra'?"]),
        (["data", "get", "xyz"], ["horse2zebra", "facades"]),
        (["data", "get", "cityscapes"], ["ganpress data prepare cityscapes --from FOLDER"]),
        (["data", "prepare", "cityscape", "--from", "a"], ["did you mean 'cityscapes'?"]),
        (["data", "prepare", "facades", "--from", "a"], ["ganpress data get facades"]),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    line: list[str], parts: list[str], home: Path, refused: Refused
) -> None:
    told = refused(*line)
    for part in parts:
        assert part in told
    assert not (home / "run").exists() and not (home / "data").exists()
