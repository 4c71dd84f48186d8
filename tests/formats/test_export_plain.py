"""A student's own module runs where there is no ganpress, and file names say what a file is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_runs import run_cli
from nets import WIRINGS, Wiring
from thin import thinned

from ganpress.errors import ConfigError
from ganpress.formats.exporters import SUFFIXES, TARGETS, check_suffix, export
from ganpress.formats.exporters.plain import module_path, student_files
from ganpress.formats.exporters.pth import LAYOUTS
from ganpress.models.checkpoint import Model, load, save
from ganpress.nn.layers import add_gates
from ganpress.quantisation.exact import ExactQuantiser
from ganpress.quantisation.quantise import FakeQuantiser, learn_ranges, quantise, set_ranges

QUANTISERS = {
    "float": None,
    "8 bits": FakeQuantiser(p=3.0),
    "per channel, exact": ExactQuantiser(per_channel=True),
    "4 bits, clamped, last float": FakeQuantiser(
        bits=4, levels="gs2020", trunk="clamped", last="float"
    ),
    "all levels": FakeQuantiser(weight_levels="full"),
}
ELSEWHERE = """
import importlib.util, pathlib, sys
sys.modules["ganpress"] = None  # as where it is not installed
import torch
torch.set_num_threads(1)
for case in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    spec = importlib.util.spec_from_file_location("net", case / "student_net.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    net = made.load(case / "student.pth")
    inputs, want = torch.load(case / "wanted.pt")
    with torch.no_grad():
        print(case.name, float((net(*inputs) - want).abs().max()))
assert not [name for name in sys.modules if name.startswith("ganpress.")]
"""


def model_of(wiring: Wiring, quantiser: FakeQuantiser | None) -> Model:
    """A student with ranges of its own; one with learned ranges, and one of emptied blocks."""
    model = wiring.model()
    model.net = wiring.net(**dict.fromkeys(wiring.vanishing[:1], 0))
    if quantiser is None:
        add_gates(model.net)
    quantise(model.net, quantiser)
    names = [n for n, _ in model.net.named_modules()]
    set_ranges(model.net, {n: 1.0 + 0.1 * (i % 30) for i, n in enumerate(names)})
    return learn(model) if quantiser is not None and quantiser.p == 3.0 else model


def learn(model: Model) -> Model:
    learn_ranges(model.net)
    return model


ONE_OF_EACH = {wiring.name: name for name, wiring in WIRINGS.items()}.values()
STUDENTS = [(name, kind) for name in WIRINGS for kind in ("float", "8 bits")]
STUDENTS += [(name, kind) for name in ONE_OF_EACH for kind in list(QUANTISERS)[2:]]


def test_every_student_runs_without_ganpress_and_makes_its_picture(tmp_path: Path) -> None:
    """Every wiring, float and in 8 bits, and one of each family under every quantiser: takes
    seconds, since torch is imported in another process and 57 networks are run there and here."""
    for name, kind in STUDENTS:
        wiring = WIRINGS[name]
        model, folder = model_of(wiring, QUANTISERS[kind]), tmp_path / f"{name}, {kind}"
        size = model.size if model.is_fixed else wiring.pixels
        source, data, *_ = student_files(model, "student.pth", size)
        folder.mkdir()
        (folder / "student_net.py").write_text(source)
        (folder / "student.pth").write_bytes(data)
        inputs = wiring.inputs(2)
        torch.save((inputs, model(*inputs)), folder / "wanted.pt")
    script = [sys.executable, "-I", "-c", ELSEWHERE, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert len(found) == len(STUDENTS)
    assert {name: off for name, off in found.items() if not float(off) < 1e-5} == {}


def test_a_quantised_student_keeps_its_integers_in_the_file(tmp_path: Path) -> None:
    wiring = WIRINGS["cyclegan affine"]
    model = model_of(wiring, FakeQuantiser(per_channel=True))
    export(model, tmp_path / "s.pth", to="pth-plain", size=32)
    state = torch.load(tmp_path / "s.pth", weights_only=True)
    levels, step = state["down1.conv.weight"], state["down1.conv.step"]
    assert levels.dtype == torch.int8 and step.shape == (7, 1, 1, 1)
    quantiser = FakeQuantiser(per_channel=True)
    layer = model.net.get_submodule("down1.conv")
    assert torch.equal(levels * step, quantiser.weight(layer.weight, out_dim=0))  # type: ignore[arg-type]
    assert "int8 levels of 8 bits" in (tmp_path / "s_net.py").read_text()


def test_the_module_is_readable_and_names_the_slimmed_widths(tmp_path: Path) -> None:
    export(WIRINGS["cyclegan affine"].model(), tmp_path / "s.pth", to="pth-plain", size=32)
    text = (tmp_path / "s_net.py").read_text()
    assert "nn.Conv2d(5, 7, 3, stride=2, padding=1)" in text
    assert "import ganpress" not in text and "from ganpress" not in text
    lines = text.splitlines()
    assert len(lines) < 130 and max(map(len, lines)) <= 100
    assert "Spade" not in text and "quantised" not in text  # only what it uses


def test_a_layouts_file_has_the_student_beside_it_at_its_own_widths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = WIRINGS["sngan"].model()
    file = save(model, tmp_path / "m.safetensors")
    out = tmp_path / "my student-1.pth"
    refused = run_cli(capsys, "export", file, "--to", "pth-sngan", "-o", out)
    assert refused.code == 2 and "--pad" in refused.err and not out.exists()
    done = run_cli(capsys, "export", file, "--to", "pth-sngan", "-o", out, "--pad")
    assert done.code == 0 and not done.err
    assert "taken by Generator(args) with --gf_dim 23" in done.out
    assert "G MACs ->" in done.out and "bytes ->" in done.out
    module, weights = tmp_path / "my_student_1_net.py", tmp_path / "my_student_1_net.pth"
    assert f"{module} with {weights}" in done.out
    made: dict[str, object] = {}
    exec(module.read_text(), made)
    z = torch.randn(2, 6)
    with torch.no_grad():
        assert (made["load"](str(weights))(z) - load(file)(z)).abs().max() < 1e-5  # type: ignore[operator]
    plain = run_cli(capsys, "export", file, "--to", "pth-plain", "-o", tmp_path / "p.pth")
    assert plain.code == 0 and (tmp_path / "p_net.py").exists()
    for to in ("onnx", "pth-plain"):
        name = tmp_path / f"x{SUFFIXES[to][0]}"
        assert run_cli(capsys, "export", file, "--to", to, "-o", name, "--pad").code == 2


def test_a_module_has_a_name_that_python_can_import() -> None:
    found = [module_path(Path(name)).name for name in ("a.pth", "v1.2-b.pth", "2 x.pt")]
    assert found == ["a_net.py", "v1_2_b_net.py", "_2_x_net.py"]


@pytest.mark.parametrize(
    "to", thinned(TARGETS, lambda to: to in ("onnx", "openvino", "torch", "pth-junyanz"))
)
def test_a_files_ending_is_that_of_its_target_and_the_proposed_name_is_accepted(
    to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(SUFFIXES) == set(TARGETS)
    wrong = [".tflite", ".safetensors", ".zip", "", ".v2"]
    wrong += [s for other in SUFFIXES.values() for s in other if s not in SUFFIXES[to]]
    for suffix in wrong:
        path = tmp_path / f"net{suffix}"
        with pytest.raises(ConfigError) as told:
            check_suffix(path, to)
        proposed = str(told.value).split("name it ")[1].split(",")[0]
        check_suffix(Path(proposed), to)
        done = run_cli(capsys, "export", "none.safetensors", "--to", to, "-o", path)
        assert done.code == 2 and proposed in done.err
    for suffix in SUFFIXES[to]:
        check_suffix(tmp_path / f"net{suffix.upper()}", to)


def test_the_ending_of_another_target_names_that_target(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--to openvino"):
        check_suffix(tmp_path / "net.xml", "onnx")
    with pytest.raises(ConfigError, match="--to onnx"):
        check_suffix(tmp_path / "net.onnx", "pth-plain")
    assert {t for t in SUFFIXES if t in LAYOUTS} == set(LAYOUTS)
