"""What a method calls its own things on the pages: given to them, so that they know no method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Claim = tuple[str, str, str]
"""A statement of a paper: (the sentence, the better arm, the worse arm)."""


@dataclass(frozen=True)
class Words:
    """The words of one method, where the run's own files do not hold them."""

    method: str
    """The method's name, such as 'GAN Slimming'."""
    charts: Mapping[str, str] = field(default_factory=dict)
    """Prefix of logged names, such as 'loss' -> title of their chart, in the order of the page."""
    arms: Mapping[str, str] = field(default_factory=dict)
    """Arm of the ablation -> what it is, in a few words."""
    claims: Sequence[Claim] = ()
    restarted: str = "learning rates halved"
    """What a stage halves each time it diverges and goes back."""
