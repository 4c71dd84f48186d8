"""The generator families, by name."""

from __future__ import annotations

from ganpress.models.families.base import Family, reject_unknown
from ganpress.models.families.cartoongan import CARTOONGAN
from ganpress.models.families.cyclegan import CYCLEGAN
from ganpress.models.families.gaugan import GAUGAN
from ganpress.models.families.munit import MUNIT
from ganpress.models.families.pix2pix import PIX2PIX
from ganpress.models.families.sngan import SNGAN
from ganpress.models.families.stylegan2 import STYLEGAN2

FAMILIES: dict[str, Family] = {
    "cyclegan": CYCLEGAN,
    "cartoongan": CARTOONGAN,
    "gaugan": GAUGAN,
    "munit": MUNIT,
    "pix2pix": PIX2PIX,
    "sngan": SNGAN,
    "stylegan2": STYLEGAN2,
}


def family(name: str) -> Family:
    """The family of this name; an unknown one is refused with the nearest name."""
    return reject_unknown(name, FAMILIES)


__all__ = ["FAMILIES", "Family", "family"]
