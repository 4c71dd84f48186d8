"""What a network is calibrated on, checked as it is read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import numpy as np

from ganpress.errors import ConfigError
from ganpress.formats.exporters.graph.editor import Array

Feeds: TypeAlias = Iterable[Mapping[str, Array]]
"""What a network is calibrated on: for each of its inputs, by name, a batch."""


class Reader:
    """Feeds as onnxruntime's quantiser reads them: one at a time, then None."""

    def __init__(
        self, feeds: Feeds, inputs: list[str], progress: Callable[[int], None] | None
    ) -> None:
        self.inputs, self.progress, self.count = inputs, progress, 0
        self.feeds: Iterator[Mapping[str, Array]] = iter(feeds)

    def ahead(self, count: int) -> list[dict[str, Array]]:
        """The first feeds, which `get_next` gives once more."""
        first = [feed for feed in (self._next() for _ in range(count)) if feed is not None]
        self.feeds, self.count = itertools.chain(first, self.feeds), 0
        return first

    def get_next(self) -> dict[str, Array] | None:
        """The next feed; ConfigError where it does not fit the file."""
        feed = self._next()
        if feed is not None and self.progress is not None:
            self.progress(self.count)
        return feed

    def _next(self) -> dict[str, Array] | None:
        feed = next(self.feeds, None)
        if feed is None:
            if not self.count:
                raise ConfigError(
                    "There is nothing to calibrate on: 8 bits after training need at least one "
                    "picture, better 50 to 300 of the kind that the network will see."
                )
            return None
        self.count += 1
        if sorted(feed) != sorted(self.inputs):
            raise ConfigError(
                f"Calibration: feed {self.count} has {', '.join(sorted(feed)) or 'no inputs'}; the "
                f"network reads {', '.join(self.inputs)}."
            )
        for name, array in feed.items():
            if not np.isfinite(array).all():
                raise ConfigError(
                    f"Calibration: '{name}' of feed {self.count} has values that are no finite "
                    "numbers: leave that picture out."
                )
        return dict(feed)
