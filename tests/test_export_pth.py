"""A model goes back to the code base its layout comes from, and can be read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from nets import WIRINGS, Wiring

from ganpress.errors import ConfigError, ExportError
from ganpress.exporters import TARGETS, export
from ganpress.exporters.pth import LAYOUTS
from ganpress.families.base import draw_inputs
from ganpress.importers import import_model
from ganpress.importers.kinds import READERS
from ganpress.nn.layers import add_gates
from ganpress.quantise import FakeQuantiser, quantise

OURS_ALONE = ("cartoongan separable", "cartoongan batch", "sngan conditional")
"""Wirings that no other code base has."""
UPSTREAM = {name: w for name, w in WIRINGS.items() if name not in OURS_ALONE}


def targets_of(wiring: Wiring) -> list[str]:
    return [name for name, held in LAYOUTS.items() if wiring.name in held]


@pytest.mark.parametrize("wiring", UPSTREAM.values(), ids=UPSTREAM.keys())
def test_every_family_survives_the_way_out_and_back(wiring: Wiring, tmp_path: Path) -> None:
    model = wiring.model()
    size = model.size if "size" in model.options else wiring.pixels
    assert targets_of(wiring)
    for target in targets_of(wiring):
        if target == "pth-junyanz" and model.options.get("separable"):
            continue
        facts = export(model, tmp_path / f"{target}.pth", to=target, size=size)
        assert facts.bytes == facts.file.stat().st_size
        kind, _ = LAYOUTS[target][wiring.name]
        told = {o: v for o, v in model.options.items() if o in READERS[kind].options}
        back = import_model(kind, facts.file, **told)
        assert back.widths == model.widths
        inputs = draw_inputs(model.net, 2, size, torch.Generator().manual_seed(3))
        assert (back(*inputs) - model(*inputs)).abs().max() < 1e-5


def test_a_separable_student_has_no_place_in_junyanz_code(tmp_path: Path) -> None:
    model = WIRINGS["cyclegan separable"].model()
    with pytest.raises((ConfigError, ExportError), match="gan-compression"):
        export(model, tmp_path / "net.pth", to="pth-junyanz", size=32)
    assert not list(tmp_path.iterdir())


def test_a_family_that_the_code_base_lacks_is_told_its_own_targets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pth-cartoongan"):
        export(WIRINGS["cartoongan"].model(), tmp_path / "net.pth", to="pth-rosinality", size=32)


def test_integers_are_refused(tmp_path: Path) -> None:
    model = WIRINGS["cartoongan"].model()
    quantise(model.net, FakeQuantiser())
    with pytest.raises(ExportError, match="quantised"):
        export(model, tmp_path / "net.pth", to="pth-cartoongan", size=32)


def test_gates_are_folded_on_the_way_out(tmp_path: Path) -> None:
    model = WIRINGS["cartoongan"].model()
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    before = model(x)
    add_gates(model.net)
    facts = export(model, tmp_path / "net.pth", to="pth-cartoongan", size=32)
    assert (import_model("cartoongan", facts.file)(x) - before).abs().max() < 1e-5


def test_every_target_is_listed() -> None:
    assert set(LAYOUTS) | {"onnx", "openvino"} == set(TARGETS)
