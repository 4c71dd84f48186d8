"""Checkpoints of other code bases become ganpress models; nothing in a file is ever run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ganpress.checkpoint import Model
from ganpress.errors import CheckpointError, ConfigError, did_you_mean
from ganpress.importers import cartoongan, cyclegan, gan_compression
from ganpress.importers.fitting import Plan, assemble
from ganpress.importers.foreign import plain_state, read_foreign
from ganpress.importers.looks import looks_like
from ganpress.types import State


class Reader(Protocol):
    """What each kind's module offers: a plan made from a file's tensors."""

    def __call__(self, state: State, *, source: str, config: str | None, **options: Any) -> Plan:
        """Make the plan; `source` is the file's name for messages."""
        ...


READERS: dict[str, Reader] = {
    "cyclegan": cyclegan.plan,
    "gan-compression": gan_compression.plan,
    "cartoongan": cartoongan.plan,
}
KINDS = ("auto", *READERS)
OPTIONS = {"clamp": (True, False), "norm": ("instance", "batch")}

LICENCES = {
    "6715a16121e56fe1071734986452afc795f6f89405ce0c2f06096f1949acfbd8": (
        "Apache-2.0 (mnicnc404/CartoonGan-tensorflow, Hayao); trained on film frames and photos: "
        "research use"
    ),
    "9dc9c99418ad43e0a1a620d139a0cff65708420389860264d8a497a044615fb2": (
        "none given with the file; the weights are mit-han-lab/gan-compression's (code "
        "BSD-2-Clause), trained on horse2zebra: research use"
    ),
}


def import_model(
    kind: str, source: Path | str, *, config: str | None = None, **options: Any
) -> Model:
    """Read a .pth, .pt or .safetensors file of another code base as a ganpress model.

    Args:
        kind: one of `KINDS`; "auto" guesses from the names of the tensors.
        config: GAN Compression's config string; if given, the file must agree with it.
        options: what a file cannot say, to overrule the guess: ``clamp`` (the input is clamped to
            [-1, 1]), ``norm`` ("instance" or "batch").

    Raises:
        UnsafePickle: the file asks for code to be run; none was.
        CheckpointError: missing, damaged, or not a generator of this kind (what it looks like,
            and which tensors do not fit, are named).
        ConfigError: an unknown kind or option, or a config that is not the file's.
    """
    path = Path(source)
    _check_request(kind, options)
    state = read_foreign(path)
    model = from_state(kind, state, config=config, source=path.name, **options)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    model.provenance["sha256"] = digest
    if digest in LICENCES:
        model.provenance["licence"] = LICENCES[digest]
    return model


def from_state(
    kind: str,
    state: Mapping[str, Tensor],
    *,
    config: str | None = None,
    source: str = "the state",
    **options: Any,
) -> Model:
    """As `import_model`, from tensors by their foreign names."""
    _check_request(kind, options)
    plain = plain_state(state, source=source)
    seems, known = looks_like(plain)
    if kind == "auto":
        if known is None:
            raise CheckpointError(_unknown(source, seems, plain))
        kind = known
    elif seems is not None and _is_other(kind, known):
        raise CheckpointError(_another(source, kind, seems, known))
    made = READERS[kind](plain, source=source, config=config, **options)
    model = assemble(made, plain, source=source)
    model.provenance = {"source": source, "kind": kind}
    return model


def _check_request(kind: str, options: Mapping[str, Any]) -> None:
    if kind not in KINDS:
        raise ConfigError(
            f"There is no import kind '{kind}'{did_you_mean(kind, KINDS)}. "
            f"Kinds: {', '.join(KINDS)}."
        )
    for name, value in options.items():
        if name not in OPTIONS:
            raise ConfigError(
                f"Importing has no option '{name}'{did_you_mean(name, OPTIONS)}. "
                f"Options: {', '.join(OPTIONS)}."
            )
        if value not in OPTIONS[name]:
            allowed = ", ".join(map(str, OPTIONS[name]))
            raise ConfigError(f"Import option '{name}' is one of {allowed}, got {value!r}.")


def _is_other(kind: str, known: str | None) -> bool:
    """Whether a file seen as ``known`` cannot be ``kind``; the two ResNets decide by themselves."""
    resnets = ("cyclegan", "gan-compression")
    return known != kind and not (kind in resnets and known in resnets)


def _another(source: str, kind: str, seems: str, known: str | None) -> str:
    if known is None:
        return (
            f"{source} looks like {seems}, which ganpress cannot import. "
            f"Kind '{kind}' is something else; kinds: {', '.join(KINDS)}."
        )
    return f"{source} is no '{kind}' generator: it looks like {seems}. Use kind '{known}'."


def _unknown(source: str, seems: str | None, state: State) -> str:
    what = f"It looks like {seems}, which ganpress cannot import. " if seems else ""
    first = ", ".join(list(state)[:10])
    return (
        f"{source} is no generator that ganpress knows. {what}Its first tensors are {first}. "
        f"Kinds: {', '.join(READERS)}."
    )


__all__ = ["KINDS", "from_state", "import_model", "read_foreign"]
