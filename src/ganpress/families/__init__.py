"""The generator families, by name."""

from __future__ import annotations

from ganpress.families.base import Family, reject_unknown
from ganpress.families.cartoongan import CARTOONGAN
from ganpress.families.cyclegan import CYCLEGAN

FAMILIES: dict[str, Family] = {"cyclegan": CYCLEGAN, "cartoongan": CARTOONGAN}


def family(name: str) -> Family:
    """The family of this name; an unknown one is refused with the nearest name."""
    return reject_unknown(name, FAMILIES)


__all__ = ["FAMILIES", "Family", "family"]
