"""Seeds of what is drawn: the whole numbers that torch and numpy take alike."""

from __future__ import annotations

from ganpress.errors import ConfigError

MAX_SEED = 2**63 - 1


def check_seed(seed: int) -> int:
    """The seed itself. Raises: ConfigError below 0 and above `MAX_SEED`."""
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"The seed is {seed}: give a whole number from 0 to {MAX_SEED}.")
    return seed
