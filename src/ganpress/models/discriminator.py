"""A discriminator as a teacher's file stores it: how it was built, and its training objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ganpress.errors import ConfigError, did_you_mean

OBJECTIVES = ("cross-entropy", "least-squares", "hinge", "logistic")
"""Adversarial objectives: pix2pix's, CycleGAN's, SNGAN's and SPADE's, StyleGAN2's."""
USUAL_OBJECTIVE = {
    "patch": "least-squares",
    "munit": "least-squares",
    "spade": "hinge",
    "sngan": "hinge",
    "stylegan2": "logistic",
}
"""The objective of a kind of discriminator where its file does not name it."""


@dataclass
class Discriminator:
    """A discriminator that knows how it was built and trained.

    Attributes:
        kind, options: of `nn.discriminators`, enough to build it again.
        objective: the adversarial loss it was trained with, one of `OBJECTIVES`; "": the usual one
            of its kind.
        pooled: its logits are averaged to one per picture before the loss.
        r1, r1_every: weight of the R1 penalty on real pictures, and the steps between two of them.
    Raises: ConfigError for an objective that does not exist.
    """

    net: nn.Module
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    objective: str = ""
    pooled: bool = False
    r1: float = 0.0
    r1_every: int = 16

    def __post_init__(self) -> None:
        self.objective = self.objective or USUAL_OBJECTIVE[self.kind]
        if self.objective not in OBJECTIVES:
            raise ConfigError(
                f"There is no objective '{self.objective}'"
                f"{did_you_mean(self.objective, OBJECTIVES)}. Objectives: {', '.join(OBJECTIVES)}."
            )

    def card(self) -> dict[str, Any]:
        """Its fields as JSON values, for the card of a model file."""
        names = ("kind", "options", "objective", "pooled", "r1", "r1_every")
        return {name: getattr(self, name) for name in names}


def of_format_1(fields: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a discriminator from a file of format 1, which had its kind and options only: the
    rest is what the teacher's recipe says."""
    names = {"vanilla": "cross-entropy", "lsgan": "least-squares", "hinge": "hinge"}
    usual = "logistic" if recipe.get("train") == "cartoongan" else ""
    found = {"objective": names.get(str(recipe.get("objective")), usual)}
    penalty = {name: recipe[name] for name in ("r1", "r1_every") if name in recipe}
    return {**fields, **found, **penalty}
