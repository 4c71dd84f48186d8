"""Read the tensors of another code base's file, and run nothing that is in it.

torch's own restricted unpickler (`weights_only=True`) is the gate; the scan of the pickle's opcodes
here only finds the words for what the gate refused.
"""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganpress.errors import CheckpointError, UnsafePickle, no_file
from ganpress.formats.importers.nvlabs import read_pickle
from ganpress.types import State

# Where code bases put the generator inside a checkpoint; averaged weights before raw ones.
ENTRIES = (
    *("g_ema", "params_ema", "ema", "netG_A2B", "netG_A", "netG", "G", "generator", "gen"),
    *("state_dict", "model_state_dict", "model", "params", "weights", "net"),
)
DISCRIMINATOR_OF = (
    "d",
    "D",
    "netD_B",
    "netD",
    "discriminator",
)  # its discriminator, in the same file
PREFIXES = ("module.", "_orig_mod.")  # DataParallel and torch.compile
_MUNIT = ("enc_style.", "enc_content.", "dec.", "mlp.", "cnns.")
_PLAIN = (
    "argparse Namespace",
    "collections OrderedDict",
    "torch Size",
    "torch device",
    "torch Tensor",
)
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF"  # the magic number of torch.save before zip files
_PLAIN_STARTS = ("torch._utils _rebuild", "torch.nn.parameter Parameter", "torch.storage ")


def read_foreign(path: Path | str) -> State:
    """The tensors of a .pth, .pt, .safetensors or NVlabs .pkl file: float32 on the CPU.

    A checkpoint that wraps its weights ({'state_dict': ...}, {'g_ema': ...}) is unwrapped, and the
    prefixes of DataParallel and torch.compile are taken off.

    Raises:
        UnsafePickle: the file asks for code to be run; none was.
        CheckpointError: missing, empty, cut short, or not a checkpoint.
    """
    return plain_state(_load(Path(path)), source=str(path))


def read_discriminator(path: Path | str) -> State | None:
    """The discriminator's tensors that a checkpoint holds beside its generator, or None."""
    loaded = _load(Path(path))
    if not isinstance(loaded, Mapping) or not any(name in loaded for name in ENTRIES):
        return None
    found = next((loaded[n] for n in DISCRIMINATOR_OF if isinstance(loaded.get(n), Mapping)), None)
    return plain_state(found, source=f"{path} (its discriminator)") if found else None


def _load(path: Path) -> object:
    """What the file holds, tensors and plain containers only."""
    if not path.is_file():
        raise no_file(path, "checkpoint", ("*.safetensors", "*.pth", "*.pt", "*.pkl"))
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise CheckpointError(f"{path} is empty (0 bytes): copy or download it again.")
    if path.suffix.lower() == ".pkl" and not head.startswith((b"PK", _TORCH_LEGACY)):
        return read_pickle(path)
    return _read_safetensors(path) if head[8:9] == b"{" else _read_torch(path, head)


def plain_state(loaded: object, *, source: str) -> State:
    """Unwrap a loaded object down to tensors by name, without wrapper prefixes, in float32.

    Raises: CheckpointError where there are none, or it is not clear which ones are meant.
    """
    found = _unwrap(loaded, source)
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in found)), None):
        found = {k.removeprefix(prefix): v for k, v in found.items()}
    return {
        k: v.detach().float().contiguous() if v.is_floating_point() else v.detach()
        for k, v in found.items()
    }


def _unwrap(loaded: object, source: str) -> State:
    if isinstance(loaded, Mapping):
        tensors = {str(k): v for k, v in loaded.items() if isinstance(v, Tensor)}
        inner = {str(k): v for k, v in loaded.items() if isinstance(v, Mapping) and v}
        if tensors and not any(name in inner for name in ENTRIES):  # g_ema beside latent_avg
            return tensors
        if inner.keys() == {"a", "b"} and all(_is_munit(v) for v in inner.values()):
            return {f"{k}.{n}": t for k, v in inner.items() for n, t in _unwrap(v, source).items()}
        chosen = next((inner[name] for name in ENTRIES if name in inner), None)
        if chosen is None and len(inner) == 1:
            chosen = next(iter(inner.values()))
        if chosen is not None:
            return _unwrap(chosen, source)
        if inner:
            raise CheckpointError(
                f"{source} holds several sets of weights ({', '.join(inner)}), and it is not clear "
                "which one is the generator: save that one alone with torch.save."
            )
    raise CheckpointError(
        f"{source} holds no tensors by name (it is a {type(loaded).__name__}). A checkpoint is "
        "what torch.save(net.state_dict(), FILE) writes."
    )


def _is_munit(tensors: Mapping[str, Any]) -> bool:
    """Whether these are a network of MUNIT, which keeps both domains of a training in one file."""
    return all(str(name).startswith(_MUNIT) for name in tensors)


def _read_safetensors(path: Path) -> State:
    try:
        with safe_open(path, "pt") as file:
            if "ganpress" in (file.metadata() or {}):
                raise CheckpointError(
                    f"{path} is a ganpress model already: use it as it is, there is nothing to "
                    "import."
                )
            return {k: file.get_tensor(k).clone() for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole .safetensors file ({error}): copy or download it again."
        ) from error


def _read_torch(path: Path, head: bytes) -> object:
    """What torch.load makes of a zip or legacy file, with its refusals put into words."""
    is_zip = head[:4] == b"PK\x03\x04"
    if not is_zip and head[:1] != b"\x80":
        raise CheckpointError(
            f"{path} is not a checkpoint: it is neither a torch file (.pth, .pt) nor .safetensors."
        )
    if is_zip:
        _check_zip(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _cut_short(path, error) from error


def _cut_short(path: Path, error: object) -> CheckpointError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return CheckpointError(f"{path} is cut short or damaged ({reason}): copy or download it again.")


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise _cut_short(path, error) from error
    if not any(n.endswith("data.pkl") for n in names):
        raise CheckpointError(f"{path} is a zip file, but not one that torch.save wrote.")
    if any(n.endswith("constants.pkl") for n in names):
        raise CheckpointError(
            f"{path} is a TorchScript program, not weights. Load it in its own code base and "
            "save its state_dict()."
        )


def _refusal(path: Path, message: str) -> CheckpointError:
    """The error for a pickle that torch would not read."""
    try:
        asked = [name for name in callables(path) if not _is_plain(name)]
    except (ValueError, OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        return _cut_short(path, error)
    if not asked:
        reason = re.search(r"WeightsUnpickler error: (.+)", message)
        why = f" ({reason[1].strip()[:160]})" if reason else ""
        return CheckpointError(
            f"{path} is not a checkpoint that can be read safely{why}. Load it in the code base "
            "it comes from and save torch.save(net.state_dict(), FILE)."
        )
    names = ", ".join(f"'{name.replace(' ', '.')}'" for name in asked[:5])
    return UnsafePickle(
        f"{path} asks to call {names} when it is loaded. It was not run: a checkpoint needs "
        "tensors only. If you trust the file, load it in the code base it comes from and save "
        "torch.save(net.state_dict(), FILE)."
    )


def _is_plain(name: str) -> bool:
    module, _, member = name.partition(" ")
    if module == "torch" and (member.endswith("Storage") or member.islower()):
        return isinstance(getattr(torch, member, None), torch.dtype) or member.endswith("Storage")
    return name in _PLAIN or name.startswith(_PLAIN_STARTS)


def callables(path: Path) -> list[str]:
    """Every 'module name' a torch file's pickles ask for, in order, without loading them."""
    found: dict[str, None] = {}
    for stream in _pickles(path):
        found.update(dict.fromkeys(_asked(stream)))
    return list(found)


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    yield io.BytesIO(archive.read(name))
        return
    with path.open("rb") as file:
        for _ in range(5):  # a legacy file is five pickles in a row, then raw storages
            if file.peek(1)[:1] != b"\x80":
                return
            yield file


def _asked(stream: IO[bytes]) -> Iterator[str]:
    """'module name' of each GLOBAL, INST and STACK_GLOBAL opcode of one pickle."""
    pushed: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif opcode.name == "STACK_GLOBAL":
            yield " ".join(str(part) for part in pushed[-2:])
        elif opcode.name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if argument is None else int(argument)] = pushed[-1] if pushed else None
        elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
            pushed.append(memo.get(int(str(argument))))
        elif opcode.stack_after and argument is not None:
            pushed.append(argument)
