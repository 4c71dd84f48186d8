"""Weights that a file keeps before their normalisation become the weights that are convolved with.

torch's spectral norm leaves `weight_orig`, `weight_u` and `weight_v` in a file (since 2.0 perhaps
`parametrizations.weight.original`, `.0._u` and `.0._v`), its weight norm `weight_g` and `weight_v`
(`parametrizations.weight.original0` and `.original1`); torch's pruning leaves `weight_orig` and
`weight_mask`. In eval mode both are a number for each
layer or channel, by which the weight is multiplied once and for all here.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ganpress.errors import CheckpointError
from ganpress.types import State

# How code bases spell one layer's tensors, by what they are; names behind the layer's.
SPECTRAL = (
    {"weight": "weight_orig", "u": "weight_u", "v": "weight_v"},
    {
        "weight": "parametrizations.weight.original",
        "u": "parametrizations.weight.0._u",
        "v": "parametrizations.weight.0._v",
    },
)
LENGTHS = (
    {"length": "weight_g", "weight": "weight_v"},
    {
        "length": "parametrizations.weight.original0",
        "weight": "parametrizations.weight.original1",
    },
)


def under_plain_names(state: State) -> State:
    """The tensors under their own names, and those before a norm under their layer's `weight` too,
    as they are: for telling what a file is."""
    endings = "|".join(re.escape(names["weight"]) for names in (*SPECTRAL, *LENGTHS))
    plain = {re.sub(rf"(^|\.)({endings})$", r"\1weight", n): t for n, t in state.items()}
    return plain | state


def fold_normed_weights(state: State, *, source: str) -> State:
    """The state with each pruning mask, spectral and weight norm folded into one `weight`, as in
    eval mode.

    A file of torch before 1.1 has no `weight_v` beside `weight_u`; its `weight` is the folded one.
    Raises: CheckpointError where a layer's vectors are missing or do not fit its weight.
    """
    out = _without_masks(state)
    for names in SPECTRAL:
        for layer in _layers(out, names["weight"]):
            _fold_spectral(out, layer, names, source)
    for names in LENGTHS:
        for layer in _layers(out, names["length"]):
            _fold_length(out, layer, names, source)
    return out


def _without_masks(state: State) -> State:
    """Masks of torch.nn.utils.prune multiplied into what they mask: `weight_orig` and
    `weight_mask`, `bias_orig` and `bias_mask`."""
    out = dict(state)
    for name, mask in state.items():
        whole = f"{name.removesuffix('_mask')}_orig"
        if name.endswith("_mask") and whole in state and state[whole].shape == mask.shape:
            out[name.removesuffix("_mask")] = out.pop(whole) * out.pop(name)
    return out


def _layers(state: State, ending: str) -> list[str]:
    """What stands in front of this name, dot included: '' or 'model.1.'."""
    found = re.compile(rf"(.*\.|){re.escape(ending)}")
    return [match[1] for name in state if (match := found.fullmatch(name))]


def _fold_spectral(out: State, layer: str, names: dict[str, str], source: str) -> None:
    own = {part: out.pop(f"{layer}{name}", None) for part, name in names.items()}
    weight, u, v = own["weight"], own["u"], own["v"]
    assert weight is not None  # by which the layer was found
    if f"{layer}weight" in out:
        return
    if u is None or v is None:
        lacks = names["u" if u is None else "v"]
        if u is None and v is None and "parametrizations" in names["weight"]:
            raise CheckpointError(
                f"{source} keeps {layer}weight under a parametrisation that is neither torch's "
                "spectral nor its weight norm. Take it out where the network is (torch.nn.utils."
                "parametrize.remove_parametrizations(layer, 'weight')), and save its state_dict()."
            )
        raise CheckpointError(
            f"{source} has a spectral norm without its vectors: {layer}{lacks} is missing. Save "
            "the whole state_dict()."
        )
    sigma = max(_sigmas(weight, u, v), default=None, key=abs)
    if sigma is None or not float(sigma):
        raise CheckpointError(
            f"{source} has a spectral norm that does not fit: {layer}{names['weight']} is "
            f"{tuple(weight.shape)}, its vectors have {u.numel()} and {v.numel()} values."
        )
    out[f"{layer}weight"] = weight / sigma


def _sigmas(weight: Tensor, u: Tensor, v: Tensor) -> list[Tensor]:
    """u^T W v with the rows of W along the first dim, and along the second, as torch takes them in
    a transposed convolution; those that fit. Where both do, the vectors belong to the larger."""
    found = []
    for dim in (0, 1) if weight.ndim > 1 else ():
        rows = weight.transpose(0, dim).flatten(1) if dim else weight.flatten(1)
        if rows.shape == (u.numel(), v.numel()):
            found.append(torch.dot(u.flatten(), rows @ v.flatten()))
    return found


def _fold_length(out: State, layer: str, names: dict[str, str], source: str) -> None:
    length, weight = (out.pop(f"{layer}{names[part]}", None) for part in ("length", "weight"))
    assert length is not None
    if weight is None or length.ndim not in (0, weight.ndim):
        raise CheckpointError(
            f"{source} has a weight norm without its weight: {layer}{names['weight']} is missing "
            "or of another shape. Save the whole state_dict()."
        )
    dims = [d for d in range(weight.ndim) if not length.ndim or length.shape[d] == 1]
    norms = torch.linalg.vector_norm(weight, dim=dims, keepdim=True)
    out[f"{layer}weight"] = weight * (length / norms)
