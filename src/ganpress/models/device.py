"""Where a network is to run."""

from __future__ import annotations

import re

import torch

from ganpress.errors import ConfigError


def check_device(device: str) -> None:
    """Refuse what is neither the CPU nor a CUDA device that torch sees: ConfigError."""
    if not re.fullmatch(r"(cpu|cuda)(:\d+)?", device):
        raise ConfigError(
            f"device is '{device}': it is one of cpu, cuda. Give cpu or cuda, with a number for "
            "one of several (cuda:1)."
        )
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is '{device}', but torch sees no CUDA device: leave it out.")
