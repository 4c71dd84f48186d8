"""The words of GAN Slimming: for the reports of its runs, and of its ablation."""

from __future__ import annotations

from ganpress.report.words import Words

SLIMMING = Words(
    method="GAN Slimming",
    charts={
        "loss": "Losses",
        "cost": "Cost, share of the teacher",
        "width": "Widths, channels",
        "scale": "Scales, mean size",
    },
    arms={
        "gd": "narrow student, distillation alone",
        "cp": "pruning in the game, no distillation",
        "cp+d": "cp, then distillation",
        "d+cp": "distillation, then cp",
        "gs-32": "the joint method",
        "gs-32+postq": "gs-32, then rounded to 8 bits",
        "gs-8": "the joint method in 8 bits",
        "gs-8-mse": "gs-8 with squared error",
        "cec": "gs-32 with a fixed discriminator",
    },
    claims=(
        ("GS-32 better than GD", "gs-32", "gd"),
        ("GS-32 better than CP", "gs-32", "cp"),
        ("GS-32 better than CP+D", "gs-32", "cp+d"),
        ("GS-32 better than D+CP", "gs-32", "d+cp"),
        ("GS-8 better than GS-32+postQ", "gs-8", "gs-32+postq"),
        ("perceptual better than MSE", "gs-8", "gs-8-mse"),
        ("joint D better than fixed D", "gs-32", "cec"),
    ),
    restarted="rho and learning rates halved",
)
