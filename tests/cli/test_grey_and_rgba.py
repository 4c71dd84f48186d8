"""Generators of 1 to 4 channels in and out: every family is trained, imported, compressed, judged
and exported through the command line, on folders of grey pictures and of pictures with alpha."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from picture_files import PAIRS, write_pictures
from PIL import Image
from thin import thinned
from torch import nn

import ganpress
from ganpress.data import open_images
from ganpress.formats.exporters import export
from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.formats.importers import cartoongan, import_model
from ganpress.measures.cost import Latency, measure
from ganpress.models.checkpoint import Model, load
from ganpress.models.discriminator import Discriminator
from ganpress.models.families import FAMILIES
from ganpress.models.families.base import draw_inputs
from ganpress.models.inputs import images_for, reals_for
from ganpress.nn.discriminators import build_discriminator

TINY: dict[str, dict[str, Any]] = {
    "cyclegan": {"blocks": 1},
    "cartoongan": {"blocks": 1},
    "pix2pix": {"downs": 3},
    "munit": {"res": 1},
    "gaugan": {"labels": 3, "edges": False},
    "sngan": {"latent_dim": 6},
    "stylegan2": {"size": 32, "style_dim": 8, "n_mlp": 2, "most": 8},
}
PATCH = {"discriminator.width": 4, "discriminator.layers": 2}
TRAINED: dict[str, dict[str, Any]] = {
    "cyclegan": PATCH,
    "cartoongan": {
        "content.features": "tiny", "warm_up": 0,
        "discriminator_width": 4, "discriminator_layers": 2,
    },
    "pix2pix": PATCH,
    "munit": {"discriminator_width": 4, "discriminator_layers": 2, "discriminator_scales": 2},
    "gaugan": {"features": "tiny", "discriminator.width": 4, "discriminator.layers": 3},
    "sngan": {"d_steps": 1, "g_batch": 2, "discriminator.width": 8},
    "stylegan2": {"discriminator.most": 8},
}  # fmt: skip
CASES = [
    (name, seen, made)
    for name, family in FAMILIES.items()
    for seen, made in (PAIRS if "in_channels" in family.options else ((0, 1), (0, 2), (0, 4)))
]
every_case = pytest.mark.parametrize(("family", "seen", "made"), CASES)
LAYOUT = {
    family: (target, kind)
    for target, families in reversed(LAYOUTS.items())
    for family, (kind, _) in families.items()
}
WHOLE = [
    ("cyclegan", 1, 1), ("cartoongan", 3, 1), ("pix2pix", 1, 3), ("munit", 3, 4),
    ("gaugan", 0, 1), ("sngan", 0, 4), ("stylegan2", 0, 2), ("pix2pix", 4, 4),
]  # fmt: skip
"""What goes down the whole line, which costs some seconds each: every family, every pair."""
EXPORTED = ("cyclegan", "pix2pix", "sngan")
"""Those whose student is exported to ONNX there, which costs seconds more."""
quiet = pytest.mark.filterwarnings(
    "ignore::ganpress.data.colours.ColoursLost", "ignore:What channels that are cut add to"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders 1, 2, 3, 4 by channels, and label maps."""
    root = tmp_path_factory.mktemp("channels")
    for channels in (1, 2, 3, 4):
        write_pictures(root / str(channels), channels, 4, 64)
    (root / "labels").mkdir()
    for number in range(4):
        ids = np.random.default_rng(number).integers(0, 3, (8, 8)).astype(np.uint8)
        Image.fromarray(ids.repeat(8, 0).repeat(8, 1)).save(root / f"labels/{number}.png")
    return root


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Latency(1.0, 1.0, "cpu", threads=1, batch=1, size=32, repeats=1)
    monkeypatch.setattr("ganpress.measures.both_costs.latency", lambda *_, **__: quick)


def options_of(family: str, seen: int, made: int) -> dict[str, Any]:
    channels = {"in_channels": seen} if seen else {}
    return {**TINY[family], **channels, "out_channels": made}


def model_of(family: str, seen: int, made: int) -> Model:
    torch.manual_seed(0)
    which = FAMILIES[family]
    options = which.resolve(options_of(family, seen, made))
    widths = {g: max(2, round(0.06 * w)) for g, w in which.full(options).items()}
    widths = which.full(options) if family == "stylegan2" else widths
    return Model(which.build(widths, **options).eval(), which, options)


def shown(family: str, home: Path, seen: int, made: int) -> list[Any]:
    """The options that name the pictures."""
    if family in ("cyclegan", "cartoongan", "munit"):
        return ["--images", home / str(seen), "--other", home / str(made)]
    if family == "pix2pix":
        return ["--images", home / str(seen), "--pairs", home / str(made)]
    labels = ["--labels", home / "labels"] if family == "gaugan" else []
    return ["--images", home / str(made), *labels]


def sets(values: dict[str, Any]) -> list[str]:
    return [part for k, v in values.items() for part in ("--set", f"{k}={str(v).lower()}")]


def trained(home: Path, run: Path, family: str, seen: int, made: int) -> list[Any]:
    """The command that trains a tiny teacher for one step."""
    size = 64 if family == "gaugan" else 32
    values = {"steps": 1, "batch": 2, "width": 0.06, "data.size": size, "data.workers": 0}
    values |= {"width": 1} if family == "stylegan2" else {}
    values |= {f"options.{k}": v for k, v in options_of(family, seen, made).items()}
    values |= TRAINED[family]
    return ["train", family, "--run", run, *shown(family, home, seen, made), *sets(values)]


@every_case
def test_a_network_reads_and_makes_its_channels_at_their_cost(
    family: str, seen: int, made: int
) -> None:
    model, rgb = model_of(family, seen, made), model_of(family, min(seen, 1) * 3, 3)
    inputs = draw_inputs(model.net, 2, 64)
    if seen:
        assert inputs[0].shape[1] == seen
    assert model(*inputs).shape[:2] == (2, made)
    size = model.size if model.is_fixed else 64
    ours, theirs = measure(model.net, size), measure(rgb.net, size)
    assert (ours.params < theirs.params) == (seen + made < min(seen, 1) * 3 + 3)
    counted = sum(p.numel() for p in model.net.parameters())
    assert ours.params == counted


@every_case
def test_the_channels_are_read_off_a_file_of_the_code_base(
    tmp_path: Path, family: str, seen: int, made: int
) -> None:
    model = model_of(family, seen, made)
    target, kind = LAYOUT[family]
    written_as(target, model, tmp_path / "a.pth")
    options = {"edges": False} if family == "gaugan" else {}
    back = import_model(kind, tmp_path / "a.pth", **options)
    wanted = {"in_channels": seen, "out_channels": made} if seen else {"out_channels": made}
    assert {name: back.options[name] for name in wanted} == wanted
    inputs = draw_inputs(model.net, 1, 64)
    assert torch.allclose(back(*inputs), model(*inputs), atol=1e-5)
    again = load(ganpress.save(back, tmp_path / "a.safetensors"))
    assert torch.equal(again(*inputs), back(*inputs))


def written_as(target: str, model: Model, path: Path) -> None:
    """The tensors under a code base's names, whether or not its class can have these widths."""
    _, state_of = LAYOUTS[target][model.family.name]
    torch.save(state_of(model), path)


@pytest.mark.parametrize("made", [1, 3])
@pytest.mark.parametrize("beside", [False, True])
def test_what_a_patchgan_reads_tells_its_objective(
    tmp_path: Path, made: int, beside: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    written_as("pth-junyanz", model_of("pix2pix", 1, made), tmp_path / "g.pth")
    judge = build_discriminator("patch", inputs=made + beside, width=4, layers=2)
    torch.save(judge.state_dict(), tmp_path / "d.pth")
    out = tmp_path / "t.safetensors"
    line = ["import", "pix2pix", tmp_path / "g.pth", "--discriminator", tmp_path / "d.pth"]
    done = run_cli(capsys, *line, "-o", out)
    assert done.code == 0, done.err
    discriminator = load(out).discriminator
    assert discriminator is not None
    assert discriminator.objective == ("cross-entropy" if beside else "least-squares")


@pytest.mark.parametrize(("seen", "made"), PAIRS)
def test_cartoongans_colours_are_turned_round_where_there_are_three(seen: int, made: int) -> None:
    model = model_of("cartoongan", seen, made)
    state, net = cartoongan.state_of(model), model.net.state_dict()
    first, last = net["stem.conv.weight"], net["out.conv.bias"]
    assert torch.equal(state["conv01_1.weight"], first.flip(1) if seen == 3 else first)
    assert torch.equal(state["deconv03_1.bias"], last.flip(0) if made == 3 else last)


@every_case
@quiet
def test_images_are_decoded_to_what_a_generator_reads_and_makes(
    home: Path, family: str, seen: int, made: int
) -> None:
    model, images = model_of(family, seen, made), open_images(home / "4", pairs=home / "3")
    assert images_for(model, images).channels == (seen or made, made)
    assert reals_for(model, images).channels == (made, made)
    assert images_for(model_of(family, min(seen, 1) * 3, 3), images) is images


@pytest.mark.parametrize(("family", "seen", "made"), [("pix2pix", 1, 4), ("cyclegan", 4, 1)])
def test_openvino_takes_them(tmp_path: Path, family: str, seen: int, made: int) -> None:
    pytest.importorskip("openvino")
    facts = export(model_of(family, seen, made), tmp_path / "a.xml", to="openvino", size=32)
    assert facts.sizes_checked[0] == (1, made, 32, 32)


class Junyanz(nn.Sequential):
    """A ResNet generator of a grey or RGBA task, as junyanz's class writes its file."""

    def __init__(self, seen: int, made: int) -> None:
        def block() -> nn.Module:
            pad, conv, norm = nn.ReflectionPad2d, partial(nn.Conv2d, 12, 12, 3), nn.InstanceNorm2d
            layers = [pad(1), conv(), norm(12), nn.ReLU(), pad(1), conv(), norm(12)]
            whole = nn.Module()
            whole.conv_block = nn.Sequential(*layers)
            whole.forward = lambda x: x + whole.conv_block(x)  # type: ignore[method-assign]
            return whole

        def up(i: int, o: int) -> nn.Module:
            return nn.ConvTranspose2d(i, o, 3, 2, 1, output_padding=1)

        super().__init__(
            nn.ReflectionPad2d(3), nn.Conv2d(seen, 3, 7), nn.InstanceNorm2d(3), nn.ReLU(),
            nn.Conv2d(3, 6, 3, 2, 1), nn.InstanceNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 12, 3, 2, 1), nn.InstanceNorm2d(12), nn.ReLU(), block(),
            up(12, 6), nn.InstanceNorm2d(6), nn.ReLU(), up(6, 3), nn.InstanceNorm2d(3), nn.ReLU(),
            nn.ReflectionPad2d(3), nn.Conv2d(3, made, 7), nn.Tanh(),
        )  # fmt: skip


@pytest.mark.parametrize(("seen", "made"), PAIRS)
def test_a_plain_resnet_of_these_channels_makes_its_own_picture_once_imported(
    tmp_path: Path, seen: int, made: int, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    theirs = Junyanz(seen, made).eval()
    torch.save({f"model.{n}": t for n, t in theirs.state_dict().items()}, tmp_path / "g.pth")
    done = run_cli(capsys, "import", "auto", tmp_path / "g.pth", "-o", tmp_path / "g.safetensors")
    assert done.code == 0, done.err
    x = torch.rand(2, seen, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(load(tmp_path / "g.safetensors")(x), theirs(x), atol=1e-5)


@pytest.mark.parametrize(("dim", "does"), [(1, "reads"), (0, "makes")])
def test_a_file_of_more_channels_than_a_picture_has_is_refused(
    tmp_path: Path, dim: int, does: str, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = Junyanz(7 if dim else 3, 3 if dim else 7)
    torch.save({f"model.{n}": t for n, t in theirs.state_dict().items()}, tmp_path / "g.pth")
    done = run_cli(capsys, "import", "cyclegan", tmp_path / "g.pth", "-o", tmp_path / "o")
    assert done.code == 2 and f"{does} 7 channels (model." in done.err, done


@pytest.mark.parametrize(
    ("family", "seen", "made"), thinned(CASES, lambda case: case[2] in (1, 4) and case[1] in (0, 1))
)
@quiet
def test_every_family_is_trained_on_pictures_of_its_channels(
    home: Path, tmp_path: Path, family: str, seen: int, made: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    done = run_cli(capsys, *trained(home, tmp_path, family, seen, made))
    assert done.code == 0, done.err
    left_out = family == "cyclegan" and seen != made
    assert ("The identity loss is left out" in done.err) == left_out
    assert not [line for line in done.err.splitlines() if line.startswith("warning")]
    found = list(tmp_path.glob("teacher*.safetensors"))
    assert len(found) == (2 if family in ("cyclegan", "munit") else 1)
    for path in found:
        ends = (made, seen) if path.stem.endswith("B2A") else (seen, made)
        model = load(path)
        assert (model.options.get("in_channels", 0), model.options["out_channels"]) == ends
        discriminator = model.discriminator
        assert discriminator is not None
        beside = {"pix2pix": seen, "gaugan": 3}.get(family, 0)  # the photo, the label map
        assert discriminator.options["inputs"] == ends[1] + beside
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(("family", "seen", "made"), thinned(WHOLE, 1))
@quiet
def test_a_teacher_goes_down_the_whole_line(
    home: Path, tmp_path: Path, family: str, seen: int, made: int,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Trained, compressed against its own discriminator, judged, exported and shown."""
    if family not in EXPORTED:
        monkeypatch.setattr("ganpress.methods.finish.exported", lambda *_: {"file": "none"})

    def run(*line: object) -> str:
        done = run_cli(capsys, *line)
        assert done.code == 0, done.err
        return done.out

    run(*trained(home, tmp_path / "t", family, seen, made))
    name = "teacher-A2B" if (tmp_path / "t/teacher-A2B.safetensors").exists() else "teacher"
    teacher = tmp_path / f"t/{name}.safetensors"
    photos = [] if family == "stylegan2" else ["--images", home / str(seen or made)]
    real = {"discriminator.real": "images"} if family == "sngan" else {}
    photos += ["--labels", home / "labels"] if family == "gaugan" else []
    run(
        "compress", "slim", "--teacher", teacher, *photos, "--run", tmp_path / "c",
        *sets({
            "procedure": "gd", "target.macs": 0.95 if family == "gaugan" else 0.7,
            "min_channels": 1, "finetune.steps": 2, "data.size": 64 if family == "gaugan" else 32,
            "data.batch": 2, "data.workers": 0, "data.cached_crops": 1,
            "distance.features": "tiny", "distance.unit": 1, "distance.pixel": 1, **real,
        }),
    )  # fmt: skip
    student = load(tmp_path / "c/student.safetensors")
    assert student.options == load(teacher).options
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    for kind, channels in {"photo": seen, "teacher": made, "student": made}.items():
        samples = list((tmp_path / "c/samples").glob(f"*_{kind}.png"))
        assert samples or (kind == "photo" and family in ("sngan", "stylegan2"))
        for path in samples:
            with Image.open(path) as image:
                assert image.mode == modes[channels or made]
    assert "Difference" in (tmp_path / "c/report.html").read_text()
    if family in EXPORTED:
        results = json.loads((tmp_path / "c/results.json").read_text())
        assert results["export"]["onnx"]["max_abs_diff"] < 1e-3
        known = metadata(tmp_path / "c/student.onnx")
        words = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}
        assert known["colour"] == words[made]
        assert known.get("colour_in") == (words[seen] if seen else None)
    both = [*photos, "--size", 64 if family == "gaugan" else 32] if photos else ["--count", 3]
    out = run(
        "evaluate", tmp_path / "c/student.safetensors", "-t", teacher, "--features", "tiny", *both
    )
    assert "tiny-unit-distance" in out
    size = ["--size", 64 if family == "gaugan" else 32] if photos else []
    given = shown(family, home, seen, made)
    out = run("evaluate", teacher, *given, "--features", "tiny", *size)
    assert "frechet-tiny" in out


def metadata(path: Path) -> dict[str, str]:
    onnx = pytest.importorskip("onnx")
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize("option", ["in_channels", "out_channels"])
@pytest.mark.parametrize("value", [0, 5, -1, 2.5])
def test_other_numbers_of_channels_are_refused(
    option: str, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_cli(capsys, "measure", "pix2pix", "--option", f"{option}={value}")
    assert done.code == 2 and f"Option '{option}'" in done.err, done
    if value == 5:
        assert "1 (grey), 2 (grey and alpha), 3 (RGB), 4 (RGB and alpha)" in done.err


def test_a_colour_folder_is_said_to_lose_its_colours_once_and_is_trained_on(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write_pictures(tmp_path / "photos", 3, 3, 64)
    line = trained(home, tmp_path / "r", "pix2pix", 1, 1)
    line[line.index("--images") + 1] = photos
    line[line.index("--pairs") + 1] = write_pictures(tmp_path / "targets", 1, 3, 64)
    done = run_cli(capsys, *line)
    assert done.code == 0, done.err
    said = [text for text in done.err.splitlines() if text.startswith("warning")]
    assert len(said) == 1 and "colours" in said[0] and "1 channel " in said[0], done.err


def test_a_student_is_not_compared_with_a_teacher_of_other_channels(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, made in {"a": 1, "b": 3}.items():
        ganpress.save(model_of("pix2pix", 1, made), tmp_path / f"{name}.safetensors")
    done = run_cli(
        capsys, "evaluate", tmp_path / "a.safetensors", "-t", tmp_path / "b.safetensors",
        "--images", home / "1", "--size", 32, "--features", "tiny",
    )  # fmt: skip
    assert done.code == 2 and "1 channels in and 1 out, the teacher 1 and 3" in done.err


def test_a_discriminator_of_other_channels_is_refused_with_what_to_do(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of("cyclegan", 1, 1)
    net = build_discriminator("patch", width=4, layers=2)
    model.discriminator = Discriminator(net, "patch", {"width": 4, "layers": 2})
    ganpress.save(model, tmp_path / "t.safetensors")
    line = [
        "compress", "slim", "--teacher", tmp_path / "t.safetensors", "--images", home / "1",
        "--run", tmp_path / "r",
    ]  # fmt: skip
    values = {"procedure": "gd", "target.macs": 0.7, "min_channels": 1, "finetune.steps": 1}
    values |= {"data.size": 32, "data.workers": 0, "distance.features": "tiny"}
    done = run_cli(capsys, *line, *sets(values))
    assert done.code == 2 and "reads 3 channels, and its generator's pictures have 1" in done.err
    values |= {"discriminator.start": "fresh", "discriminator.layers": 2}
    assert run_cli(capsys, *line, *sets(values)).code == 0
