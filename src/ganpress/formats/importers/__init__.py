"""Checkpoints of other code bases become ganpress models; nothing in a file is ever run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError, did_you_mean
from ganpress.formats.importers.choosing import choose, discriminator_beside, listed, partner
from ganpress.formats.importers.entries import Entry, entries_of
from ganpress.formats.importers.fitting import assemble, assemble_discriminator
from ganpress.formats.importers.foreign import load_foreign, read_foreign
from ganpress.formats.importers.kinds import READERS
from ganpress.losses.weights import fingerprint
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.types import State

KINDS = ("auto", *READERS)
_BESIDE = "Import its generator, and name this file beside it (--discriminator FILE)."

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
    kind: str,
    source: Path | str,
    *,
    config: str | None = None,
    discriminator: Path | str | None = None,
    entry: str | None = None,
    **options: Any,
) -> Model:
    """Read a .pth, .pt, .pkl or .safetensors file of another code base as a ganpress model.

    A discriminator that lies in the same file (rosinality's {g, d, g_ema}) comes along.

    Args:
        kind: one of `KINDS`; "auto" guesses from the names of the tensors.
        config: GAN Compression's config string; if given, the file must agree with it.
        discriminator: the file of its discriminator, where that is another one.
        entry: of a file with several generators, the name of the one to take, as "G_A2B".
        options: what cannot be read off a file, to overrule the guess: ``clamp`` (the input is
            clamped to [-1, 1]), ``norm`` ("instance" or "batch"), ``direction`` of a MUNIT pair.

    Raises:
        UnsafePickle: the file asks for code to be run; none was.
        CheckpointError: missing, damaged, or not a generator of this kind (what it looks like,
            and which tensors do not fit, are named), or of several generators (they are listed).
        ConfigError: an unknown kind, option or entry, or a config that is not the file's.
    """
    path = Path(source)
    _check_request(kind, options)
    loaded = load_foreign(path)
    chosen = _choose(loaded, kind, entry, str(path))
    model = _model_of(kind, chosen, config=config, source=path.name, options=options)
    if chosen.name:
        model.provenance["entry"] = chosen.name
    if discriminator:
        model.discriminator = _read_discriminator(
            model.provenance["kind"],
            _only_discriminator(Path(discriminator), chosen),
            Path(discriminator).name,
        )
    elif beside := discriminator_beside(loaded, chosen, source=str(path)):
        model.discriminator = _if_it_fits(model.provenance["kind"], beside, path.name)
    model.provenance["sha256"] = digest = fingerprint(path)
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
    chosen = _choose(state, kind, None, source)
    return _model_of(kind, chosen, config=config, source=source, options=options)


def _choose(loaded: object, kind: str, entry: str | None, source: str) -> Entry:
    return choose(
        loaded,
        source=source,
        entry=entry,
        fits=lambda found: kind == "auto" or not _is_other(kind, found.kind),
    )


def _model_of(
    kind: str, chosen: Entry, *, config: str | None, source: str, options: Mapping[str, Any]
) -> Model:
    plain, seems, known = chosen.state, chosen.what, chosen.kind
    if kind == "auto":
        if known is None:
            raise CheckpointError(_unknown(source, seems, plain))
        kind = known
        _check_request(kind, options)
    elif seems is not None and _is_other(kind, known):
        raise CheckpointError(_another(source, kind, seems, known))
    made = READERS[kind].plan(plain, source=source, config=config, **options)
    made.key_of = chosen.key_of
    model = assemble(made, plain, source=source)
    model.provenance = {"source": source, "kind": kind}
    return model


def _only_discriminator(path: Path, generator: Entry) -> Entry:
    """The discriminator in a file of its own. Raises: CheckpointError where it may be another."""
    found = entries_of(load_foreign(path), source=str(path))
    meant = [e for e in found if e.is_discriminator] or found
    one = partner(meant, generator.name)
    if one is None:
        raise CheckpointError(
            f"{path} holds several discriminators, and it is not clear which one is the "
            f"generator's: {listed(meant)}. Save that one alone with torch.save."
        )
    return one


def _if_it_fits(kind: str, found: Entry, source: str) -> Discriminator | None:
    """The discriminator beside a generator; None, with a warning, where it is of another kind."""
    if READERS[kind].discriminator is None:
        return None
    try:
        return _read_discriminator(kind, found, f"{source} (its discriminator)")
    except CheckpointError as error:
        warnings.warn(
            f"'{found.name}' in {source} is not a discriminator of kind '{kind}', so its "
            f"discriminator was left out: {error} If another file has it, --discriminator FILE.",
            stacklevel=3,
        )
        return None


def discriminator_from_state(
    kind: str, state: Mapping[str, Tensor], *, source: str = "the state"
) -> Discriminator:
    """The discriminator of a code base, from tensors by their foreign names.

    Raises: ConfigError for a kind without one; CheckpointError for tensors that do not fit.
    """
    _check_request(kind, {})
    return _read_discriminator(kind, choose(state, source=source), source)


def _read_discriminator(kind: str, found: Entry, source: str) -> Discriminator:
    read = READERS[kind].discriminator if kind in READERS else None
    if read is None:
        raise ConfigError(f"Kind '{kind}' has no discriminator that ganpress reads.")
    plan = read(found.state, source=source)
    return assemble_discriminator(plan, found.state, source=source, key_of=found.key_of)


def _check_request(kind: str, options: Mapping[str, Any]) -> None:
    if kind not in KINDS:
        raise ConfigError(
            f"There is no import kind '{kind}'{did_you_mean(kind, KINDS)}. "
            f"Kinds: {', '.join(KINDS)}."
        )
    every = {name: values for k in READERS.values() for name, values in k.options.items()}
    known = every if kind == "auto" else READERS[kind].options
    for name, value in options.items():
        if name not in known:
            hint = f"Options: {', '.join(known)}." if known else "It takes none."
            raise ConfigError(
                f"Importing '{kind}' has no option '{name}'{did_you_mean(name, known)}. {hint}"
            )
        if value not in known[name]:
            allowed = known[name]
            expected = (
                f"a number from {allowed[0]} to {allowed[-1]}"
                if isinstance(allowed, range)
                else f"one of {', '.join(map(str, allowed))}"
            )
            raise ConfigError(f"Import option '{name}' is {expected}, got {value!r}.")


def _is_other(kind: str, known: str | None) -> bool:
    """Whether a file seen as ``known`` cannot be ``kind``; the readers of GAN Compression and of
    the two ResNets decide by themselves."""
    shared = {"cyclegan": ("gan-compression",), "gan-compression": ("cyclegan", "spade", "munit")}
    return known != kind and known not in shared.get(kind, ())


def _another(source: str, kind: str, seems: str, known: str | None) -> str:
    if known is None:
        if "discriminator" in seems:
            return f"{source} looks like {seems}. {_BESIDE}"
        return (
            f"{source} looks like {seems}, which ganpress cannot import. "
            f"Kind '{kind}' is something else; kinds: {', '.join(KINDS)}."
        )
    return f"{source} is no '{kind}' generator: it looks like {seems}. Use kind '{known}'."


def _unknown(source: str, seems: str | None, state: State) -> str:
    if seems and "discriminator" in seems:
        return f"{source} looks like {seems}. {_BESIDE}"
    what = f"It looks like {seems}, which ganpress cannot import. " if seems else ""
    first = ", ".join(list(state)[:10])
    return (
        f"{source} is no generator that ganpress knows. {what}Its first tensors are {first}. "
        f"Kinds: {', '.join(READERS)}."
    )


__all__ = ["KINDS", "discriminator_from_state", "from_state", "import_model", "read_foreign"]
