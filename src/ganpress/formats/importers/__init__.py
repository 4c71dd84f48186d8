"""Checkpoints of other code bases become ganpress models; nothing in a file is ever run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ganpress.errors import CheckpointError, ConfigError, did_you_mean
from ganpress.formats.importers import pytorch_gan
from ganpress.formats.importers.assumed import as_toml
from ganpress.formats.importers.belongs import ALONE, ELSE, check_discriminator
from ganpress.formats.importers.choosing import choose, discriminator_beside, listed, partner
from ganpress.formats.importers.entries import Entry, entries_of
from ganpress.formats.importers.fitting import assemble, assemble_discriminator
from ganpress.formats.importers.foreign import load_foreign, read_foreign
from ganpress.formats.importers.kinds import READERS, Positive
from ganpress.formats.importers.looks import how_far
from ganpress.formats.importers.normed_weights import fold_normed_weights
from ganpress.formats.importers.patch import objective_of
from ganpress.losses.weights import fingerprint
from ganpress.models.checkpoint import Model
from ganpress.models.discriminator import Discriminator
from ganpress.types import State

KINDS = ("auto", *READERS)
RESNETS = ("cyclegan", "cut", "pix2pixhd", "pytorch-gan")  # one reader, whatever the name
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
        options: what cannot be read off a file, such as ``upsampling`` of SPADE: `Kind.options`.
            Where one is needed and not given, the usual value is assumed, and said in
            ``model.provenance["assumed"]``: by option its value, why, and the alternatives.

    Raises:
        UnsafePickle: the file asks for code to be run; none was.
        CheckpointError: missing, damaged, or not a generator of this kind (what it looks like,
            and which tensors do not fit, are named), or of several generators (they are listed); a
            discriminator of another network.
        ConfigError: an unknown kind, option or entry, or a config that is not the file's.
    """
    path = Path(source)
    _check_request(kind, options)
    loaded = load_foreign(path)
    chosen = _choose(loaded, kind, entry, str(path))
    model = _model_of(kind, chosen, config=config, source=path.name, options=options)
    if chosen.name:
        model.provenance["entry"] = chosen.name
    kind = model.provenance["kind"]
    if kind == "stylegan2" and entry is None and chosen.name.rpartition(".")[2] in RAW:
        warnings.warn(
            f"{path.name} has no averaged weights (g_ema) beside '{chosen.name}': the raw ones are "
            "read, whose pictures are usually worse.",
            stacklevel=2,
        )
    known = READERS[kind].discriminator_options
    own_options = {name: value for name, value in options.items() if name in known}
    if discriminator:
        where, advice = Path(discriminator).name, ELSE
        found = _only_discriminator(Path(discriminator), chosen)
        model.discriminator = _read_discriminator(kind, found, where, own_options)
    elif beside := discriminator_beside(loaded, chosen, source=str(path)):
        where, advice = f"{path.name} (its discriminator)", ALONE
        model.discriminator = _if_it_fits(kind, beside, path.name, own_options)
    if own := model.discriminator:
        if own.kind == "patch":  # whose objective depends on what it reads beside the picture
            own.objective = objective_of(own.options["inputs"], model.options["out_channels"])
        check_discriminator(model, source=where, advice=advice)
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


FLAT = ("stylegan2", "stylegan2-nvlabs")  # some of their weights have a leading 1
RAW = ("g", "G")
"""What StyleGAN2's code bases call the generator whose weights are not averaged."""


def _choose(loaded: object, kind: str, entry: str | None, source: str) -> Entry:
    return choose(
        loaded,
        source=source,
        entry=entry,
        fits=lambda found: kind == "auto" or not _is_other(kind, found.kind, found.state),
    )


def _model_of(
    kind: str, chosen: Entry, *, config: str | None, source: str, options: Mapping[str, Any]
) -> Model:
    plain, seems, known = chosen.state, chosen.what, chosen.kind
    if kind == "auto":
        if known is None:
            raise CheckpointError(_how_far(source, seems, plain) or _unknown(source, seems, plain))
        kind = known
        _check_request(kind, options)
    elif seems is not None and _is_other(kind, known, plain):
        raise CheckpointError(
            _how_far(source, seems, plain) or _another(source, kind, seems, known)
        )
    _check_dims(kind, plain, source)
    plain = fold_normed_weights(plain, source=source)
    made = READERS[kind].plan(plain, source=source, config=config, **options)
    made.key_of = chosen.key_of
    model = assemble(made, plain, source=source)
    model.provenance = {"source": source, "kind": kind}
    if made.assumed:
        model.provenance["assumed"] = made.assumed
    return model


def _check_dims(kind: str, state: State, source: str) -> None:
    """Refuse what no 2-D network of ours can be, whatever its names: CheckpointError."""
    weights = {name: t for name, t in state.items() if name.endswith("weight") and t.ndim > 2}
    if not any(t.numel() for t in state.values()):
        raise CheckpointError(
            f"{source} holds the names of tensors without their values, as DeepSpeed's ZeRO-3 "
            "leaves them: join the parts (python zero_to_fp32.py . FILE.pth beside them), and give "
            "that file."
        )
    others = {n: t for n, t in weights.items() if t.ndim != 4} if kind not in FLAT else {}
    if weights and len(others) == len(weights):
        name, tensor = next(iter(others.items()))
        raise CheckpointError(
            f"{source} has {tensor.ndim - 2}-D convolutions ({name}: {tuple(tensor.shape)}); "
            "ganpress's are 2-D. It cannot be imported."
        )


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


def _if_it_fits(
    kind: str, found: Entry, source: str, options: Mapping[str, Any]
) -> Discriminator | None:
    """The discriminator beside a generator; None, with a warning, where it is of another kind."""
    if READERS[kind].discriminator is None:
        return None
    try:
        return _read_discriminator(kind, found, f"{source} (its discriminator)", options)
    except CheckpointError as error:
        warnings.warn(
            f"'{found.name}' in {source} is not a discriminator of kind '{kind}', so its "
            f"discriminator was left out: {error} If another file has it, --discriminator FILE.",
            stacklevel=3,
        )
        return None


def discriminator_from_state(
    kind: str, state: Mapping[str, Tensor], *, source: str = "the state", **options: Any
) -> Discriminator:
    """The discriminator of a code base, from tensors by their foreign names.

    Args: options: ``direction`` of a MUNIT pair, as the generator's.
    Raises: ConfigError for a kind without one; CheckpointError for tensors that do not fit.
    """
    _check_request(kind, options)
    return _read_discriminator(kind, choose(state, source=source), source, options)


def _read_discriminator(
    kind: str, found: Entry, source: str, options: Mapping[str, Any]
) -> Discriminator:
    read = READERS[kind].discriminator if kind in READERS else None
    if read is None:
        raise ConfigError(f"Kind '{kind}' has no discriminator that ganpress reads.")
    plan = read(found.state, source=source, **options)
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
            got = f"'{value}'" if isinstance(value, str) else as_toml(value)
            raise ConfigError(f"Import option '{name}' is {_expected(allowed)}, got {got}.")


def _expected(allowed: Sequence[Any] | Positive) -> str:
    if isinstance(allowed, Positive):
        return "a number above 0"
    if isinstance(allowed, range):
        return f"a number from {allowed[0]} to {allowed[-1]}"
    return f"one of {', '.join(map(as_toml, allowed))}"


def _is_other(kind: str, known: str | None, state: State) -> bool:
    """Whether a file seen as ``known`` cannot be ``kind``; the readers of GAN Compression and of
    the ResNets decide by themselves."""
    shared: dict[str, tuple[str, ...]]
    shared = dict.fromkeys(RESNETS, (*RESNETS, "gan-compression"))
    shared["gan-compression"] = ("cyclegan", "spade", "munit")
    is_unet = known == "pytorch-gan" and pytorch_gan.is_unet(state)
    return known != kind and (is_unet or known not in shared.get(kind, ()))


def _how_far(source: str, seems: str | None, state: State) -> str | None:
    """The message for a network that is named but not imported, or None."""
    far = how_far(state)
    return f"{source} looks like {seems}. {far}" if far else None


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
