"""Content-Aware GAN Compression (Liu et al., CVPR 2021): pruned and distilled by what matters in
the picture."""

from __future__ import annotations

from ganpress.methods.base import Method
from ganpress.methods.content_aware.method import content_aware
from ganpress.methods.content_aware.requests import check, resolve
from ganpress.methods.content_aware.settings import ContentAwareConfig
from ganpress.methods.content_aware.variants import (
    CHARTS,
    CLAIMS,
    VARIANTS,
    shortened,
    stage_minutes,
    stage_steps,
)

CONTENT_AWARE = Method(
    name="content-aware",
    paper="Content-Aware GAN Compression (Liu et al., CVPR 2021)",
    settings=ContentAwareConfig,
    compress=content_aware,
    resolve=resolve,
    check=check,
    stage_minutes=stage_minutes,
    stage_steps=stage_steps,
    shortened=shortened,
    parallel=True,
    variants=VARIANTS,
    claims=CLAIMS,
    charts=CHARTS,
)

__all__ = ["CONTENT_AWARE", "ContentAwareConfig"]
