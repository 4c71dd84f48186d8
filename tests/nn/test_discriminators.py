"""Discriminators by name: what is refused, and formulas that no published file covers."""

from __future__ import annotations

import pytest
import torch

from ganpress.errors import ConfigError
from ganpress.nn.discriminators import build_discriminator


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("pach", {}, "no discriminator 'pach'.*did you mean 'patch'"),
        ("patch", {"norm": "bacth"}, "'norm' is one of instance.*got 'bacth'.*mean 'batch'"),
        ("patch", {"widht": 4}, "'patch' cannot be built: .*'widht'"),
        ("stylegan2", {"size": 24}, "'stylegan2' cannot be built: size 24"),
    ],
)
def test_what_no_discriminator_has_is_refused(
    kind: str, options: dict[str, object], said: str
) -> None:
    with torch.device("meta"), pytest.raises(ConfigError, match=said):
        build_discriminator(kind, **options)
