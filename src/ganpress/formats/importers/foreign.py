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
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open

from ganpress.errors import CheckpointError, UnsafePickle, no_file
from ganpress.formats.importers.choosing import choose
from ganpress.formats.importers.nvlabs import ALLOWED, read_pickle
from ganpress.sniff import look, misplaced
from ganpress.types import State

_PLAIN = (
    "argparse Namespace",
    "collections OrderedDict",
    "torch Size",
    "torch device",
    "torch Tensor",
)
_VALUES = re.compile(
    r"numpy(\._?core)?\.(multiarray|numeric) (scalar|_reconstruct|_frombuffer)"
    r"|numpy (dtype|ndarray|bool_?|u?int\d+|float\d+)|numpy\.dtypes \w+|_codecs encode"
    r"|pathlib(\._local)? \w+|datetime \w+|uuid UUID|typing Any|omegaconf\.\w+ \w+"
    r"|(__builtin__|builtins) (set|frozenset|list|dict|tuple|int|float|str|bool|range|slice)"
)
_DICTIONARIES = re.compile(
    r"collections defaultdict|(pytorch_lightning|lightning(_fabric|_lite)?)\.[\w.]+ AttributeDict"
    r"|(\w+\.)*(easydict|dnnlib(\.util)?|munch|addict(\.addict)?|yacs\.config|box(\.box)?) "
    r"(EasyDict|Munch|Dict|CfgNode|Box)"
)
"""'module name' of what holds numbers, paths and settings; stand-ins take their places."""
_PLAIN_STARTS = ("torch._utils _rebuild", "torch.nn.parameter Parameter", "torch.storage ")


def read_foreign(path: Path | str) -> State:
    """The tensors of a .pth, .pt, .safetensors or NVlabs .pkl file: float32 on the CPU.

    A checkpoint that wraps its weights ({'state_dict': ...}, {'g_ema': ...}, the prefixes of
    DataParallel, torch.compile and Lightning) is unwrapped.

    Raises:
        UnsafePickle: the file asks for code to be run; none was.
        CheckpointError: missing, empty, cut short, not a checkpoint, or of several generators.
    """
    return choose(load_foreign(Path(path)), source=str(path)).state


def load_foreign(path: Path) -> object:
    """What a file holds, tensors and plain containers only; errors as `read_foreign`."""
    if path.name == "data.pkl" and (path.parent / "data").is_dir():
        path = path.parent  # torch.save's archive, unpacked
    if not path.is_file():
        raise no_file(path, "checkpoint", ("*.safetensors", "*.pth", "*.pt", "*.pkl"))
    if other := misplaced(path, "checkpoint"):
        raise CheckpointError(f"{path} {other}.")
    seen = look(path)
    if seen.group in ("safetensors", "model"):
        return _read_safetensors(path)
    if seen.group == "pickle" and (path.suffix.lower() == ".pkl" or _is_plain_pickle(path)):
        return read_pickle(path)
    if seen.group in ("torch", "pickle"):
        return _read_torch(path)
    raise CheckpointError(
        f"{path} is not a checkpoint: it is neither a torch file (.pth, .pt) nor .safetensors, but "
        f"{seen.what}."
    )


def _is_plain_pickle(path: Path) -> bool:
    """Whether a pickle asks for nothing but what NVlabs' networks and bare tensors need."""
    try:
        asked = callables(path)
    except ValueError:  # damaged: the reader finds the words
        return False
    return bool(asked) and all(tuple(name.split(" ", 1)) in ALLOWED for name in asked)


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


def _read_torch(path: Path) -> object:
    """What torch.load makes of a zip or legacy file, with its refusals put into words.

    Numbers of numpy, paths and settings that lie beside the tensors become a `Beside`, their
    dictionaries plain ones.
    """
    try:
        return _load(path, [])
    except pickle.UnpicklingError:
        pass  # perhaps of what is harmless; the file is looked through for that now
    try:
        return _load(path, callables(path))
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except (ValueError, zipfile.BadZipFile) as error:
        raise _cut_short(path, error) from error


def _load(path: Path, asked: Sequence[str]) -> object:
    """torch.load by its restricted unpickler.

    Args: asked: 'module name' of what the file asks for; what is harmless gets its stand-in.
    Raises: pickle.UnpicklingError for anything else but tensors and plain containers;
        CheckpointError where the file is damaged.
    """
    allowed: list[Any] = [argparse.Namespace]
    for kind, pattern in ((Beside, _VALUES), (_Dictionary, _DICTIONARIES)):
        names = [name for name in asked if pattern.fullmatch(name)]
        allowed += [(kind, n.replace(" ", ".").replace("__builtin__", "builtins")) for n in names]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _cut_short(path, error) from error


class Beside:
    """What lies beside the tensors of a checkpoint and is not needed: a number or array of numpy, a
    path, settings. It forgets whatever it is made of."""

    def __new__(cls, *_: object) -> Beside:
        """Made of anything."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _Dictionary(OrderedDict[Any, Any]):
    """Makes the one kind of dictionary that takes items and, as some packages keep, fields."""

    def __new__(cls, *_: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def _cut_short(path: Path, error: object) -> CheckpointError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return CheckpointError(f"{path} is cut short or damaged ({reason}): copy or download it again.")


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
    if name in _PLAIN or _VALUES.fullmatch(name) or _DICTIONARIES.fullmatch(name):
        return True
    if module == "torch" and (member.endswith("Storage") or member.islower()):
        return isinstance(getattr(torch, member, None), torch.dtype) or member.endswith("Storage")
    return name.startswith(_PLAIN_STARTS)


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
