"""The networks inside a checkpoint: found below its dictionaries and the prefixes of its keys, and
chosen from.

A checkpoint keeps a network under a name (``{"G_A2B": ...}``, ``netG.``, Lightning's
``state_dict``), often beside others. What a set of tensors looks like decides how much of its keys
is such a name: a ResNet that was the field ``model`` of something has ``model.model.1.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor

from ganpress.errors import CheckpointError
from ganpress.formats.importers.looks import looks_like
from ganpress.types import State

# What DataParallel, torch.compile, Lightning and FSDP put into keys, wherever they wrap.
WRAPPERS = frozenset(
    {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
)
COUNTERS = ("total_ops", "total_params")
_OPTIMISER = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "step"}
_GENERATOR = re.compile(
    r"(net|model)?_?(g|gen|generator)([_\d].*)?|net|network|params(_ema)?", re.I
)
_DISCRIMINATOR = re.compile(r"(net|model)?_?(d|dis|disc|discriminator)([_\d].*)?", re.I)
_MUNIT = ("enc_style.", "enc_content.", "dec.", "mlp.", "cnns.")


@dataclass(frozen=True)
class Entry:
    """A network in a checkpoint.

    Attributes:
        name: where it lies: keys of dictionaries and the prefix of its tensors, joined by dots; ""
            where it is the whole file.
        state: its tensors by their names in the network, float32 where they are floats.
        keys: these names -> the file's keys.
        what, kind: what it looks like, and the import kind for it (see `looks_like`).
    """

    name: str
    state: State
    keys: Mapping[str, str]
    what: str | None
    kind: str | None

    @property
    def is_discriminator(self) -> bool:
        """Whether it looks like one, or is called one and looks like nothing else."""
        if self.what is not None:
            return "discriminator" in self.what
        return _DISCRIMINATOR.fullmatch(self.name.rpartition(".")[2]) is not None

    def key_of(self, name: str) -> str:
        """The file's key of a tensor, for messages."""
        return self.keys.get(name, name)


Named = dict[str, tuple[str, Tensor]]
"""Names in a network -> the file's key and the tensor."""


def entries_of(loaded: object, *, source: str) -> list[Entry]:
    """Every network that a loaded object holds. Raises: CheckpointError where there is none."""
    found = [
        _entry((*path, prefix) if prefix else path, path, names)
        for path, tensors in _nodes(loaded, ())
        for prefix, names in _networks(_unwrapped(tensors), "")
    ]
    if not found:
        raise CheckpointError(
            f"{source} holds no tensors by name ({_in_words(loaded)}). A checkpoint is what "
            "torch.save(net.state_dict(), FILE) writes."
        )
    networks = [e for e in found if e.what or any(t.ndim > 1 for t in e.state.values())]
    return networks or found


def _in_words(loaded: object) -> str:
    """What an object without tensors by name is."""
    if isinstance(loaded, Mapping) and loaded.keys() >= {"state", "param_groups"}:
        return "it is the state of an optimiser"
    if isinstance(loaded, list | tuple) and any(isinstance(one, Tensor) for one in loaded):
        return f"it is a list of {len(loaded)} tensors, as of net.parameters()"
    kinds = {type(one).__name__ for one in loaded.values()} if isinstance(loaded, Mapping) else ()
    if "Beside" in kinds:
        return "it holds NumPy arrays or settings; make torch tensors of the arrays"
    return f"it is a {type(loaded).__name__}"


def entry_at(loaded: object, name: str) -> Entry | None:
    """The tensors below a key or a prefix that is no network of its own as far as can be seen."""
    within = re.compile(rf"(?:^|\.){re.escape(name)}\.")
    for path, tensors in _nodes(loaded, ()):
        whole = {".".join((*path, n)): one for n, one in _unwrapped(tensors).items()}
        start = next((full[: at.end()] for full in whole if (at := within.search(full))), None)
        if start is not None:
            inside = {n[len(start) :]: one for n, one in whole.items() if n.startswith(start)}
            return _entry((start.rstrip("."),), path, inside)
    return None


def _entry(place: Sequence[str], path: Sequence[str], names: Named) -> Entry:
    """Args: path: of the dictionary in the file that the keys are of."""
    state = {name: _plain(t.detach()) for name, (_, t) in names.items()}
    inside = f" (in {'.'.join(path)})" if path else ""
    keys = {name: f"{key}{inside}" for name, (key, _) in names.items()}
    return Entry(".".join(place), state, keys, *looks_like(state))


def _plain(tensor: Tensor) -> Tensor:
    """A dense tensor on the CPU, float32 where it has fractions: of a quantised one the values that
    it stands for."""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.float().contiguous() if tensor.is_floating_point() else tensor


def _nodes(loaded: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], State]]:
    """Each dictionary's own tensors, with the keys that lead to it; no optimiser's."""
    if isinstance(loaded, list | tuple):
        loaded = {str(i): one for i, one in enumerate(loaded) if isinstance(one, Mapping)}
    if not isinstance(loaded, Mapping) or any(not isinstance(key, str) for key in loaded):
        return
    tensors = {key: value for key, value in loaded.items() if isinstance(value, Tensor)}
    inner = {k: v for k, v in loaded.items() if isinstance(v, Mapping | list | tuple) and len(v)}
    domains = {k: v for k, v in inner.items() if _is_munit(v)}
    if inner.keys() == domains.keys() == {"a", "b"}:
        tensors |= {f"{k}.{n}": t for k, v in domains.items() for n, t in v.items()}
        inner = {}
    if tensors and not tensors.keys() <= _OPTIMISER:
        yield path, tensors
    for key, value in inner.items():
        yield from _nodes(value, (*path, key))


def _is_munit(tensors: object) -> TypeGuard[State]:
    """Whether these are a network of MUNIT, which keeps both domains of a training in one file."""
    return isinstance(tensors, Mapping) and all(
        str(name).startswith(_MUNIT) and isinstance(t, Tensor) for name, t in tensors.items()
    )


def _unwrapped(tensors: State) -> Named:
    """Names without wrappers; counters are left out: those beside the network (n_averaged, step),
    and those that thop's profile leaves in every layer."""
    kept = {
        key: t
        for key, t in tensors.items()
        if (t.ndim or "." in key) and key.rpartition(".")[2] not in COUNTERS
    } or tensors
    plain = {
        ".".join(part for part in key.split(".") if part not in WRAPPERS): (key, tensor)
        for key, tensor in kept.items()
    }
    return plain if len(plain) == len(kept) else {key: (key, t) for key, t in kept.items()}


def _networks(names: Named, prefix: str) -> list[tuple[str, Named]]:
    """The networks among flat keys: the prefix of each, and its tensors by their names after it.

    Going down while all names share their first part, the deepest set that looks like a generator
    is one. Where the names part, each part may hold a network of its own.
    """
    levels = [(prefix, names)]
    while (head := _shared(levels[-1][1])) is not None:
        at, level = levels[-1]
        levels.append(
            (_joined(at, head), {n.removeprefix(f"{head}."): o for n, o in level.items()})
        )
    seen = [_looks(level) for _, level in levels]
    generator = next((i for i in reversed(range(len(levels))) if seen[i][1]), None)
    parts = _parts(*levels[-1])
    inside = [part for _, found in parts.values() for part in found]
    if generator is not None:
        return inside if _lie_together(parts) else [levels[generator]]
    if any(_looks(n)[1] for g, found in parts.values() if not _looks(g)[1] for _, n in found):
        return inside  # not a part whose own names look so: that is a part of one network
    other = next((i for i in range(len(levels)) if seen[i][0]), None)
    if other is not None:
        return [levels[other]]
    if any("discriminator" in (_looks(part)[0] or "") for _, part in inside):
        return inside
    called = [i for i, (p, _) in enumerate(levels) if _GENERATOR.fullmatch(p.rpartition(".")[2])]
    return [levels[called[-1] if called else 0]]


Parts = dict[str, tuple[Named, list[tuple[str, Named]]]]


def _parts(at: str, names: Named) -> Parts:
    """First part of a name -> the tensors of that part under their whole names, and the networks
    among them; each of these has that part in its prefix. Empty where there is one part only."""
    groups: dict[str, Named] = {}
    for name, one in names.items():
        groups.setdefault(name.partition(".")[0], {})[name] = one
    if len(groups) < 2:
        return {}
    found: Parts = {}
    for head, group in groups.items():
        place = _joined(at, head)
        inner = _networks(group, at)
        found[head] = group, [(p if p.startswith(place) else place, n) for p, n in inner]
    return found


def _lie_together(parts: Parts) -> bool:
    """Whether one part alone is the generator that the whole looks like, and each other part is a
    network as well (a discriminator, a loss's VGG)."""
    generators = [head for head, (group, _) in parts.items() if _looks(group)[1]]
    others = [found for head, (_, found) in parts.items() if head not in generators]
    others_are = all(any(_looks(names)[0] for _, names in found) for found in others)
    return len(generators) == 1 and bool(others) and others_are


def _looks(names: Named) -> tuple[str | None, str | None]:
    return looks_like({name: tensor for name, (_, tensor) in names.items()})


def _joined(at: str, head: str) -> str:
    return f"{at}.{head}" if at else head


def _shared(names: Named) -> str | None:
    """The first part that all names share and none consists of; None where they have none."""
    heads = {n.partition(".")[0] if "." in n else None for n in names}
    return heads.pop() if len(heads) == 1 else None
