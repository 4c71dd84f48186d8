"""Checkpoints as people have them in public threads: with more than tensors in them, wrapped by
other tools, of nearly our wiring, in parts."""

from __future__ import annotations

import argparse
import pickle
import sys
import types
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import run_cli
from plain_nets import Unet
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from upstream_nets import Resnet, shaken

from ganpress.errors import CheckpointError, ConfigError, UnsafePickle
from ganpress.formats.exporters import export
from ganpress.formats.importers import from_state, import_model
from ganpress.models.checkpoint import Model

WIDTHS = [4, 5, 6, 3, 5, 4]


def net(**how: Any) -> nn.Module:
    return shaken(Resnet(WIDTHS, **how))


def picture() -> Tensor:
    return torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def differs(model: Model, of: nn.Module) -> float:
    with torch.no_grad():
        return float((model(picture()) - of.eval()(picture())).abs().max())


BESIDE: dict[str, Any] = {
    "a number of numpy": np.float64(0.5),
    "an array of numpy": np.arange(4),
    "a path": argparse.Namespace(root=Path("/data"), device=torch.device("cuda:0")),
    "a dictionary with defaults": defaultdict(list, a=[1]),
    "numbers as keys": {np.int64(3): np.float32(1)},
    "a set": {1, 2},
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_lies_beside_the_tensors_does_not_hinder_reading_them(
    what: str, tmp_path: Path
) -> None:
    made = net()
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": made.state_dict(), "beside": BESIDE[what]}, path)
    assert differs(import_model("auto", path), made) == 0


@pytest.mark.parametrize(
    "name",
    [
        "lightning.fabric.utilities.data.AttributeDict",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "easydict.EasyDict",
    ],
)
def test_settings_of_other_packages_are_passed_over_and_are_not_imported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, kind = name.rpartition(".")
    made = type(kind, (dict,), {"__module__": module, "__qualname__": kind})
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:i]), types.ModuleType("fake"))
    setattr(sys.modules[module], kind, made)
    state = {f"netG.{n}": t for n, t in net().state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": made(lr=0.1)}, tmp_path / "a.ckpt")
    delattr(sys.modules[module], kind)
    assert differs(import_model("auto", tmp_path / "a.ckpt"), net()) == 0


class Runs:
    """A pickle that calls something."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.marker),)


def test_what_would_be_called_is_named_alone_among_what_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"best": np.float64(1), "x": Runs(str(tmp_path / "ran"))}, path)
    with pytest.raises(UnsafePickle) as told:
        import_model("auto", path)
    assert "getattr" in str(told.value) and "numpy" not in str(told.value)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_state_dict_is_read_under_any_ending(tmp_path: Path) -> None:
    made = net()
    for name in ("a.pkl", "a.pth"):
        (tmp_path / name).write_bytes(pickle.dumps({"G": made.state_dict()}, 2))
        assert differs(import_model("auto", tmp_path / name), made) == 0


def quantised(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        n: torch.quantize_per_tensor(t, 1e-3, 0, torch.qint8) if t.ndim == 4 else t
        for n, t in state.items()
    }


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_and_sparse_tensors_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    state = net().state_dict()
    torch.save(quantised(state), tmp_path / "q.pth")
    found = import_model("auto", tmp_path / "q.pth").net.state_dict()
    limit = state["model.1.weight"].clamp(-0.128, 0.127)
    assert (found["stem.conv.weight"] - limit).abs().max() <= 6e-4
    sparse = state | {"model.1.weight": state["model.1.weight"].to_sparse()}
    torch.save(sparse, tmp_path / "s.pth")
    assert differs(import_model("auto", tmp_path / "s.pth"), net()) == 0


def test_counters_of_a_profiler_are_left_out() -> None:
    state = net().state_dict()
    counters = {f"{n.removesuffix('weight')}total_ops": torch.zeros(1) for n in state if "w" in n}
    counters |= {"total_params": torch.zeros(1, dtype=torch.float64)}
    assert differs(from_state("auto", {**state, **counters}), net()) == 0


def test_pruning_masks_are_multiplied_into_the_weights() -> None:
    made = net()
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            prune.random_unstructured(layer, "weight", 0.5)
            prune.random_unstructured(layer, "bias", 0.5)
    assert "model.1.bias_mask" in made.state_dict()
    assert differs(from_state("auto", made.state_dict()), made) == 0


def test_another_parametrisation_is_named_with_what_takes_it_out() -> None:
    made = net()
    parametrizations.orthogonal(made.get_submodule("model.4"))
    with pytest.raises(CheckpointError, match=r"model\.4\.weight.*remove_parametrizations"):
        from_state("auto", made.state_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.unsqueeze(-1) if t.ndim == 4 else t, r"3-D convolutions \(model\.1\.weight"),
        (lambda t: t[..., 0] if t.ndim == 4 else t, r"1-D convolutions \(model\.1\.weight"),
        (lambda t: t.new_empty(0), r"without their values.*zero_to_fp32"),
    ],
)
def test_tensors_that_no_network_of_ours_can_have_are_named(change: Any, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        from_state("auto", {n: change(t) for n, t in net().state_dict().items()})


def tracked(*, affine: bool = False) -> nn.Module:
    return net(norm=partial(nn.InstanceNorm2d, affine=affine, track_running_stats=True))


def test_instance_norms_that_track_statistics_are_said_and_can_be_taken_as_in_eval_mode() -> None:
    made = tracked()
    model = from_state("cyclegan", made.state_dict())
    said = model.provenance["assumed"]["norm"]
    assert said["value"] == "instance" and said["otherwise"] == ["--option norm=batch"]
    assert differs(model, made) > 0.01
    chosen = from_state("cyclegan", made.state_dict(), norm="batch")
    assert differs(chosen, made) < 1e-5 and "norm" not in chosen.provenance.get("assumed", {})


def test_statistics_of_old_files_without_counters_are_left_out_without_a_word() -> None:
    old = {n: t for n, t in tracked().state_dict().items() if "num_batches" not in n}
    assert "norm" not in from_state("cyclegan", old).provenance["assumed"]


def test_scaled_norms_without_statistics_are_said_to_be_taken_for_instance_norm() -> None:
    scaled = net(norm=partial(nn.InstanceNorm2d, affine=True))
    model = from_state("cyclegan", scaled.state_dict())
    assert "GroupNorm" in model.provenance["assumed"]["norm"]["why"]
    plain = from_state("cyclegan", net().state_dict())
    assert "norm" not in plain.provenance["assumed"]


class PaddedUps(nn.Module):
    """Up-sampling with a padding layer of its own in front of the convolution."""

    def __init__(self) -> None:
        super().__init__()
        layers = [*net(up="nearest").get_submodule("model").children()]  # type: ignore[union-attr]
        ups = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Upsample)]
        for i in reversed(ups):
            layers.insert(i + 1, nn.ReflectionPad2d(1))
        self.model = nn.Sequential(*layers)


def test_convolutions_in_other_places_behind_the_blocks_are_named_by_their_places() -> None:
    with pytest.raises(CheckpointError, match=r"behind its residual blocks at model\.\d+, \d+"):
        from_state("cyclegan", PaddedUps().state_dict())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"state": {0: {"step": torch.ones(1)}}, "param_groups": []}, "state of an optimiser"),
        ([torch.zeros(2, 2)], r"list of 1 tensors, as of net\.parameters\(\)"),
        ({"w": np.zeros((2, 2))}, "NumPy arrays"),
    ],
)
def test_a_file_without_tensors_by_name_says_what_it_holds(
    content: Any, words: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=words):
        import_model("auto", tmp_path / "a.pth")


def test_true_is_typed_as_the_message_types_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(net().state_dict(), tmp_path / "a.pth")
    line = ("import", "auto", tmp_path / "a.pth", "-o", tmp_path / "m.safetensors", "--option")
    told = run_cli(capsys, *line, "clamp=yes")
    assert told.code == 2 and "'clamp' is one of true, false, got 'yes'" in told.err
    assert run_cli(capsys, *line, "clamp=true").code == 0
    told = run_cli(capsys, *line, "clamp")
    assert "such as --option padding=replicate" in told.err
    assert run_cli(capsys, *line, "padding=replicate").code == 0


def test_an_option_that_the_file_rules_out_is_refused_for_tracked_statistics_too() -> None:
    with pytest.raises(ConfigError, match="norm=batch"):
        from_state("cyclegan", net().state_dict(), norm="batch")


class Bgr(nn.Module):
    """A network that reads and writes BGR, given RGB and asked for RGB."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.flip(1)).flip(1)
        return out


def test_a_network_of_bgr_becomes_one_of_rgb() -> None:
    made = net()
    model = from_state("cyclegan", made.state_dict(), colours="bgr")
    assert differs(model, Bgr(made)) < 1e-5 < 1e-3 < differs(model, made)
    unet = shaken(Unet([4, 5, 6, 7], nn.InstanceNorm2d, bias=True))
    read = from_state("pix2pix", unet.state_dict(), colours="bgr")
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        assert (read(x) - Bgr(unet.eval())(x)).abs().max() < 1e-5
        assert (read(x) - unet(x)).abs().max() > 1e-3


@pytest.mark.parametrize("target", ["tflite", "coreml", "TensorRT"])
def test_a_format_of_a_converter_is_answered_with_what_the_converter_reads(
    target: str, tmp_path: Path
) -> None:
    model = from_state("cyclegan", net().state_dict())
    with pytest.raises(ConfigError, match="reads ONNX files, which --to onnx writes"):
        export(model, tmp_path / "a.tflite", to=target)
