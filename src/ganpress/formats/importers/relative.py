"""One network that ganpress names and does not import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ganpress.types import State


@dataclass(frozen=True)
class Relative:
    """A network that is named but not imported.

    Attributes:
        what: its name in words, with an article.
        signs: regular expressions, each of which some tensor's name has to match.
        far: how far ganpress goes; a sentence or two for the message.
        also: what else must hold of the tensors (their shapes).
    """

    what: str
    signs: tuple[str, ...]
    far: str
    also: Callable[[State], bool] = lambda state: True
