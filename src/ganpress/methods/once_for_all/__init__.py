"""GAN Compression (Li et al., CVPR 2020): one generator trained once, searched for any budget."""

from __future__ import annotations

from ganpress.methods.base import Method
from ganpress.methods.once_for_all.method import once_for_all
from ganpress.methods.once_for_all.requests import check, resolve
from ganpress.methods.once_for_all.settings import OnceForAllConfig
from ganpress.methods.once_for_all.variants import (
    CHARTS,
    CLAIMS,
    VARIANTS,
    longer,
    shortened,
    stage_minutes,
    stage_steps,
)

ONCE_FOR_ALL = Method(
    name="once-for-all",
    paper="GAN Compression (Li et al., CVPR 2020)",
    settings=OnceForAllConfig,
    compress=once_for_all,
    resolve=resolve,
    check=check,
    stage_minutes=stage_minutes,
    stage_steps=stage_steps,
    shortened=shortened,
    longer=longer,
    variants=VARIANTS,
    claims=CLAIMS,
    charts=CHARTS,
)

__all__ = ["ONCE_FOR_ALL", "OnceForAllConfig"]
