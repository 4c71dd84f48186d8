"""What the scores are called, with what each of them is; `table` has the functions."""

from __future__ import annotations

from ganpress.errors import ConfigError, did_you_mean

MEANINGS: dict[str, str] = {
    "content-aware": "gradient of noise on the content (the paper)",
    "diversity": "spread of the gradients along latent directions (DCP-GAN, as released)",
    "diversity-detached": "the same, the shifted picture held fixed (DCP-GAN, as in its paper)",
    "l1-out": "L1 norm of the filters that read a channel",
    "l1-in": "L1 norm of the filters that make a channel",
    "style": "magnitude of the style that scales a channel",
    "asv": "deviation of a channel's map over samples",
    "asv-l1": "that deviation over the map's mean magnitude",
    "asv-l2": "that deviation over the map's L2 norm",
    "l1-map": "mean magnitude of a channel's map",
    "taylor": "map times gradient of the same noise (Molchanov et al. 2017)",
    "random": "drawn",
}
"""Score -> a few words for it."""


def check_name(name: str, setting: str) -> str:
    """The name itself. Raises: ConfigError for no score's, with the nearest one."""
    if name not in MEANINGS:
        raise ConfigError(
            f"{setting}={name}: there is no such score{did_you_mean(name, MEANINGS)}. "
            f"Scores: {', '.join(MEANINGS)}."
        )
    return name
