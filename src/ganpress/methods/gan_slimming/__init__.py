"""GAN Slimming (Wang et al., ECCV 2020): everything that is only of this paper."""

from __future__ import annotations

from ganpress.methods.base import Method
from ganpress.methods.gan_slimming.method import check, resolve_for, slim
from ganpress.methods.gan_slimming.published import paper_tables
from ganpress.methods.gan_slimming.settings import SlimConfig
from ganpress.methods.gan_slimming.variants import (
    CHARTS,
    CLAIMS,
    VARIANTS,
    longer,
    shortened,
    stage_minutes,
    stage_steps,
)

GAN_SLIMMING = Method(
    name="slim",
    paper="GAN Slimming (Wang et al., ECCV 2020)",
    settings=SlimConfig,
    compress=slim,
    resolve=resolve_for,
    check=check,
    stage_minutes=stage_minutes,
    stage_steps=stage_steps,
    shortened=shortened,
    longer=longer,
    takes_start=True,
    variants=VARIANTS,
    claims=CLAIMS,
    charts=CHARTS,
    tables=paper_tables,
)

__all__ = ["GAN_SLIMMING", "SlimConfig"]
