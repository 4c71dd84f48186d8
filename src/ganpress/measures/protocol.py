"""What a comparison of pictures was measured under, as lines of its protocol."""

from __future__ import annotations

from ganpress.data import Images
from ganpress.losses.features import Features
from ganpress.models.checkpoint import Model
from ganpress.models.inputs import reads
from ganpress.types.sizes import Size, words


def protocol_of(
    model: Model, images: Images | None, size: Size, net: Features, seed: int
) -> dict[str, str]:
    """The protocol's lines on photos, geometry, features and random inputs."""
    out = {"geometry": f"{words(size)} px, as the generator makes them"}
    if images is not None:
        out["photos"] = named(images)
        to = f"shorter side to {size} px" if isinstance(size, int) else f"to cover {words(size)} px"
        out["geometry"] = f"{to} (bicubic, antialiased), centre crop"
    out["features"] = f"{net.name}, sha256 {net.digest[:12]}"
    if set(reads(model)) - {"image", "semantics"}:
        out["seed"] = f"{seed}: noise, styles and classes are drawn, picture after picture"
    return out


def named(images: Images) -> str:
    """The protocol's line on the images themselves: '120, data hash 9f86d081884c'."""
    return f"{len(images)}, data hash {images.digest()[:12]}"


def distance_protocol(pictures: str) -> dict[str, str]:
    """The protocol's lines on what `pairwise` measures."""
    return {
        "unit distance": "squared difference of unit-length features, mean over space, "
        "sum over layers (LPIPS without learned weights)",
        "l1": f"mean absolute difference / 2, {pictures}",
    }
