"""Settings of the search, each with its meaning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ganpress.methods.once_for_all.search.spaces import RATIOS
from ganpress.run.settings import Settings

Ratio = Annotated[float, Field(gt=0, le=1)]


class SearchSettings(Settings):
    """How width sets of the trained supernet are searched (GAN Compression, section 3.3)."""

    kind: Literal["evolution", "brute-force", "random"] = Field(
        default="evolution",
        description="evolution; brute-force: every width set within the budget; random: sets drawn "
        "independently of each other",
    )
    evaluations: int | None = Field(
        default=None,
        ge=1,
        description="width sets to score at most; None: all of the generations (evolution), all "
        "within the budget (brute-force), 100 (random)",
    )
    space: str = Field(
        default="default",
        description="width sets: default (a slot for each group, or for what the paper sets "
        "together), a published space (channels-32, channels-48, ...), or a .toml file",
    )
    ratios: tuple[Ratio, ...] = Field(
        default=RATIOS,
        min_length=1,
        description="widths of a slot of the default space, as fractions of the network's, 0 to 1",
    )
    objective: Literal["quality", "macs", "params", "bytes", "latency_ms"] = Field(
        default="quality",
        description="quality: alone, within the budget; a cost: quality against it, so that the "
        "whole Pareto front is searched (latency_ms: measured as of target.latency_ms)",
    )
    population: int = Field(default=100, ge=2, description="width sets scored in a generation")
    parents: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="best sets so far that the next generation descends from, as a fraction of the "
        "population",
    )
    mutants: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="fraction of a generation made by mutation of one parent; the rest is uniform "
        "crossover of two",
    )
    mutation: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="probability that a mutation draws a slot anew (the authors: 0.2 to 0.4)",
    )
    small_bias: float = Field(
        default=1.0,
        gt=0,
        description="in the first generation, each next smaller number of a slot is so many times "
        "as likely; 1: all alike",
    )
    widen: bool = Field(
        default=False,
        description="every drawn set is widened, slot by slot, for as long as it is within the "
        "budget; means nothing without a target, or where the whole front is searched (objective)",
    )
    generations: int = Field(default=500, ge=1, description="generations at most")
    patience: int | None = Field(
        default=20,
        ge=1,
        description="generations without a better set after which the search ends; None: never",
    )
    images: int = Field(
        default=256, ge=1, description="held-out inputs that a width set is scored on"
    )
    calibrate: int = Field(
        default=512,
        ge=1,
        description="training images for BatchNorm's statistics of each width set",
    )
    storage: str | None = Field(
        default=None,
        description="URL of the Optuna storage that workers share, such as "
        "postgresql://user@host/name; None: SQLite in the run's folder",
    )
    study: str = Field(
        default="once-for-all", min_length=1, description="name of the study in the storage"
    )
    storage_wait_minutes: float = Field(
        default=30.0,
        ge=0,
        description="how long a storage that went away is waited for, minutes",
    )
