"""The reference files of other code bases."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from torch import Tensor


class Reference(NamedTuple):
    """One reference file: weights by upstream key, inputs and outputs by name, its own remarks."""

    weights: dict[str, Tensor]
    input: dict[str, Tensor]
    output: dict[str, Tensor]
    said: dict[str, str]
    other: dict[str, Tensor]


@cache
def reference(name: str) -> Reference:
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "input": {}, "output": {}, "other": {}}
    with safe_open(Path(os.environ["GANPRESS_INTEROP"]) / f"{name}.safetensors", "pt") as file:
        for key in file.keys():  # noqa: SIM118
            part, _, rest = key.partition("/")
            place = part if part in parts else "other"
            parts[place][rest if place != "other" else key] = file.get_tensor(key).clone()
        return Reference(**parts, said=file.metadata())


def largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())
