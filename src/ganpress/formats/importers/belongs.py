"""Whether a discriminator belongs to the generator that it lies beside."""

from __future__ import annotations

from ganpress.errors import CheckpointError
from ganpress.models.checkpoint import Model

PICTURE = 3
FAMILIES_OF = {
    "patch": ("cyclegan", "pix2pix"),
    **{"spade": ("gaugan",), "munit": ("munit",), "sngan": ("sngan",)},
    "stylegan2": ("stylegan2",),
}
"""Families of generators that a kind of discriminator lies beside in code that ganpress reads."""

ELSE = "Give the discriminator that was trained with it, or leave it out."
ALONE = "Save the generator's tensors alone (torch.save of its state_dict) and import that file."


def check_discriminator(model: Model, *, source: str, advice: str = ELSE) -> None:
    """Refuse a discriminator that cannot read what the model makes.

    Args: source: the discriminator's file, for messages. advice: what the user can do.
    Raises: CheckpointError saying what it reads, and what it would have to.
    """
    if model.discriminator is None:
        return
    name, kind = model.provenance.get("source", "this generator"), model.discriminator.kind
    if model.family.name not in FAMILIES_OF.get(kind, (model.family.name,)):
        raise CheckpointError(
            f"{source} is a '{kind}' discriminator, which is of {' or '.join(FAMILIES_OF[kind])}; "
            f"{name} is a '{model.family.name}' generator. {advice}"
        )
    options = model.discriminator.options
    found, fitting, what = options.get("inputs", PICTURE), _channels(model), "{} channels"
    if kind == "stylegan2":
        found, fitting, what = options["size"], (model.size,), "pictures of {} pixels"
    if found not in fitting:
        wanted = " or ".join(map(str, fitting))
        raise CheckpointError(
            f"{source} is no discriminator of {name}: it reads {what.format(found)}, and this "
            f"generator's would read {wanted}. {advice}"
        )


def _channels(model: Model) -> tuple[int, ...]:
    """How many channels a discriminator of this generator may read: the picture, or the picture
    and what it was made from."""
    made = model.options.get("out_channels", PICTURE)
    if model.family.name == "gaugan":  # labels, don't-care and edges beside the picture
        semantics = (model.options[name] for name in ("labels", "dontcare", "edges"))
        return (made + sum(map(int, semantics)),)
    if model.net.reads == ("image",):
        return (made, made + model.options.get("in_channels", PICTURE))
    return (made,)
