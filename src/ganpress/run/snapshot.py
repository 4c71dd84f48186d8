"""The state of a training loop as plain data: taken, checked, written, and put back."""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch

from ganpress.errors import CheckpointError, ConfigError
from ganpress.run import distributed
from ganpress.run.files import replace_file
from ganpress.sniff import misplaced


class HasState(Protocol):
    """A module, optimiser, schedule, or any small class of this shape."""

    def state_dict(self) -> Mapping[str, Any]:
        """Dicts, lists and tuples of tensors, int, float, str, bool and None only."""

    def load_state_dict(self, state: Any, /) -> object:
        """Take a state back; its tensors arrive on the CPU."""


Stateful: TypeAlias = HasState | torch.Generator
"""What a loop can keep over a resume."""

_PLAIN = (bool, int, float, str, bool, type(None), torch.Size, torch.dtype, torch.device)
_NESTS = (dict, OrderedDict, Counter)
_ANEW = "Delete it to start this stage from its beginning."


def take_state(objects: Mapping[str, Stateful]) -> dict[str, Any]:
    """The states of the named objects. The tensors are the live ones: write them at once."""
    return {
        name: {"generator": o.get_state()} if isinstance(o, torch.Generator) else o.state_dict()
        for name, o in objects.items()
    }


def put_state(objects: Mapping[str, Stateful], states: Mapping[str, Any], where: Path) -> None:
    """Load `states`, read from the file `where`, into the objects of the same names.

    Raises: CheckpointError if the names or the shapes differ.
    """
    if set(objects) != set(states):
        raise CheckpointError(
            f"{where} holds the state of {_listed(states)}, but the loop keeps {_listed(objects)}. "
            "It is of another version or method: start in another folder."
        )
    for name, o in objects.items():
        try:
            if isinstance(o, torch.Generator):
                o.set_state(states[name]["generator"])
            else:
                o.load_state_dict(states[name])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{where}: the saved state does not fit '{name}': {error}. "
                "Build the same network as the run was started with, or start in another folder."
            ) from error


def tensors_in(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor inside `value` with its dotted name.

    Raises: TypeError for a type that torch.load(weights_only=True) would refuse later.
    """
    if isinstance(value, torch.Tensor):
        yield name, value
    elif type(value) in _NESTS:
        for key, inner in value.items():
            yield from tensors_in(inner, f"{name}.{key}" if name else str(key))
    elif type(value) in (list, tuple):
        for index, inner in enumerate(value):
            yield from tensors_in(inner, f"{name}.{index}")
    elif type(value) not in _PLAIN:
        raise TypeError(
            f"The state '{name}' is a {type(value).__name__}, which cannot be read back safely. "
            "Keep dicts, lists and tuples of tensors, int, float, str, bool and None in state_dict."
        )


def non_finite(states: Mapping[str, Any]) -> set[str]:
    """Dotted names of the float tensors that hold a NaN or an infinity."""
    return {
        name
        for name, tensor in tensors_in(dict(states), "")
        if (tensor.is_floating_point() or tensor.is_complex())
        and not bool(torch.isfinite(tensor).all())
    }


def save_state(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what `load_state` reads: state.pt, and under torchrun one file more per process.

    Whenever the processes are killed, the files that belong to state.pt are whole and of its step:
    the others' carry the step in their names, are written before it, and the former ones are
    removed after it. Raises: DiskFull, Elsewhere; the previous state is then intact.
    """
    rank, world = distributed.rank(), distributed.world()
    if world == 1:
        write_state(folder / "state.pt", content)
        return
    own = _of_rank(folder, rank, content["step"])
    distributed.together(lambda: write_state(own, content) if rank else None)
    distributed.first(lambda: write_state(folder / "state.pt", {**content, "world": world}))
    for old in folder.glob(f"state-rank{rank}-*.pt") if rank else ():
        if old != own:
            old.unlink(missing_ok=True)


def load_state(folder: Path) -> dict[str, Any] | None:
    """The step, elapsed_s and states of this process as last saved; None where nothing was.

    Raises: CheckpointError if a file is damaged or missing; ConfigError if it was saved by another
    number of processes.
    """
    rank, path = distributed.rank(), folder / "state.pt"
    saved = distributed.first(lambda: _own_world(path) if path.exists() else None)
    step = distributed.agree(saved["step"] if saved else -1)
    if step < 0:
        return None
    own = _of_rank(folder, rank, step)
    return distributed.together(lambda: read_state(own) if rank else saved)


def _own_world(path: Path) -> dict[str, Any]:
    saved, world = read_state(path), distributed.world()
    if saved["world"] != world:
        raise ConfigError(
            f"The state in {path} was saved by {saved['world']} process(es), and there are {world} "
            f"now. Go on with torchrun --nproc_per_node={saved['world']}, or start elsewhere."
        )
    return saved


def _of_rank(folder: Path, rank: int, step: int) -> Path:
    return folder / f"state-rank{rank}-{step:09d}.pt"


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """torch.save, atomically. Raises: DiskFull; the previous file is then intact."""
    replace_file(path, lambda file: torch.save(dict(content), file))


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote, its tensors on the CPU; runs no code from the file.

    Raises: CheckpointError if the file is damaged or is something else.
    """
    content = read_saved(path, _ANEW)
    known = ("step", "elapsed_s", "of")
    if missing := [name for name in known if name not in content]:
        raise CheckpointError(
            f"{path} is not a saved training state: it lacks '{missing[0]}'. {_ANEW}"
        )
    return {**{name: content[name] for name in known}, "world": content.get("world", 1)}


def read_saved(path: Path, advice: str) -> dict[str, Any]:
    """A dictionary that torch.save wrote, its tensors on the CPU; runs no code from the file.

    Args: advice: what to do where it cannot be read.
    Raises: CheckpointError if the file is missing, damaged or something else.
    """
    try:
        return dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch raises many kinds for a bad file
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # whose own advice is to run the file
            first = "it holds more than tensors"
        other = misplaced(path, "state") or f"is damaged or not a saved training state ({first})"
        raise CheckpointError(f"{path} {other}. {advice}") from error


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "nothing"
