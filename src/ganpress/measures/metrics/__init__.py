"""Metrics as pure functions of features or logits; a metric's name must fix its whole protocol.

What is here knows nothing of where the features come from. A Frechet distance is called FID, a
kernel distance KID and an Inception score IS only on the outputs of the Inception network that
defines them; on other networks they carry that network's name (ADR 0007).
"""

from __future__ import annotations

from ganpress.measures.metrics.classifier import CifarResNet, load_classifier
from ganpress.measures.metrics.frechet import Moments, frechet_distance, moments_distance
from ganpress.measures.metrics.inception_score import inception_score
from ganpress.measures.metrics.kernel import kernel_distance
from ganpress.measures.metrics.path_length import trimmed_mean

__all__ = [
    "CifarResNet",
    "Moments",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "load_classifier",
    "moments_distance",
    "trimmed_mean",
]
