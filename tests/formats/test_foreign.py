"""Files of other code bases: nothing in them is run; what cannot be read is refused with reason."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganpress.errors import CheckpointError, UnsafePickle
from ganpress.formats.importers import import_model, read_foreign


def weights() -> dict[str, Tensor]:
    """A small state dict, as torch.save keeps it."""
    draw = torch.Generator().manual_seed(0)
    shapes = {
        "model.1.weight": (16, 3, 7, 7),
        "model.1.bias": (16,),
        "model.4.weight": (32, 16, 3, 3),
    }
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def saved(folder: Path, obj: object, name: str = "net_G.pth") -> Path:
    torch.save(obj, folder / name)
    return folder / name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"epoch": 3, "state_dict": s},
        lambda s: {"g": {"w": torch.zeros(1)}, "g_ema": s},
        lambda s: {"model": {"params": s}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"netG": {f"_orig_mod.module.{k}": v for k, v in s.items()}},
        lambda s: {k: v.half() for k, v in s.items()},
        lambda s: {k: nn.Parameter(v.double()) for k, v in s.items()},
    ],
)
def test_wrapped_prefixed_and_half_precision_files_are_read(tmp_path: Path, wrap: Any) -> None:
    state = weights()
    found = read_foreign(saved(tmp_path, wrap(state)))
    assert found.keys() == state.keys()
    assert {t.dtype for t in found.values()} == {torch.float32}
    assert all((found[k] - state[k]).abs().max() < 1e-3 for k in state)


def test_a_safetensors_file_and_a_legacy_file_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = weights()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "b.pth"):
        found = read_foreign(tmp_path / name)
        assert all(torch.equal(found[k], state[k]) for k in state)


def test_a_file_with_several_networks_names_them(tmp_path: Path) -> None:
    one = {"w": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="several sets of weights"):
        read_foreign(saved(tmp_path, {"first": one, "second": one}))


class Trap:
    """Pickles to a call of os.mkdir."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("how", ["zip", "legacy", "plain pickle", "newest protocol"])
def test_code_in_a_pickle_is_named_and_never_run(tmp_path: Path, how: str) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "evil.pth"
    trap = {"w": torch.zeros(1), "x": Trap(sprung)} if how != "plain pickle" else Trap(sprung)
    if how == "plain pickle":
        path.write_bytes(pickle.dumps(trap, protocol=2))
    elif how == "newest protocol":
        torch.save(trap, path, pickle_protocol=5)
    else:
        torch.save(trap, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(UnsafePickle, match=r"asks to call '\w+\.mkdir'.*not run"):
        import_model("auto", path)
    assert not sprung.exists()


def test_a_whole_pickled_network_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UnsafePickle, match=r"Linear.*state_dict"):
        read_foreign(saved(tmp_path, nn.Linear(2, 2)))


def zipped(names: list[str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "not a checkpoint"),
        (b"hello, this is a text file", "not a checkpoint"),
        (b"\x80\x02garbage", "cut short or damaged|not a checkpoint"),
        ((99).to_bytes(8, "little") + b'{"a":', "safetensors file that is cut short"),
        (zipped(["a.npy"]), "an .npz file of NumPy arrays"),
        (zipped(["x/data.pkl", "x/constants.pkl"]), "TorchScript"),
        (pickle.dumps([1, 2], protocol=2), "not a checkpoint|cut short"),
    ],
)
def test_files_that_are_no_checkpoints_are_refused(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "net.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        import_model("cyclegan", tmp_path / "net.pth")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, share: float, legacy: bool) -> None:
    path = tmp_path / "net.pth"
    torch.save(weights(), path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="cut short"):
        import_model("cyclegan", path)


def test_a_missing_file_offers_the_nearest_name(tmp_path: Path) -> None:
    saved(tmp_path, {}, "latest_net_G.pth")
    with pytest.raises(CheckpointError, match=r"did you mean 'latest_net_G\.pth'"):
        import_model("cyclegan", tmp_path / "latest_netG.pth")
    with pytest.raises(CheckpointError, match="no tensors by name"):
        import_model("cyclegan", tmp_path / "latest_net_G.pth")
    with pytest.raises(CheckpointError, match="is a folder, not a checkpoint file"):
        import_model("cyclegan", tmp_path)


def test_a_numpy_value_in_a_checkpoint_is_passed_over(tmp_path: Path) -> None:
    found = read_foreign(saved(tmp_path, {"w": torch.zeros(1), "lr": np.float64(0.1)}))
    assert list(found) == ["w"]
