"""Settings of methods and of training, and how they are read (``settings``)."""

from __future__ import annotations

from ganpress.config.settings import Settings, as_toml, checked, describe, names, pairs, read_config
from ganpress.config.slim import (
    CriticSettings,
    DataSettings,
    DistanceSettings,
    FinetuneSettings,
    QuantiseSettings,
    SlimConfig,
    SparsifySettings,
    TargetSettings,
    settled,
)
from ganpress.config.train import TrainConfig, TrainData

__all__ = [
    "CriticSettings",
    "DataSettings",
    "DistanceSettings",
    "FinetuneSettings",
    "QuantiseSettings",
    "Settings",
    "SlimConfig",
    "SparsifySettings",
    "TargetSettings",
    "TrainConfig",
    "TrainData",
    "as_toml",
    "checked",
    "describe",
    "names",
    "pairs",
    "read_config",
    "settled",
]
