"""What a file really is, by its first bytes, and what to do with it. No torch, nothing is run."""

from ganpress.sniff.advice import dead_link, folder_of, misplaced, no_toml, not_there
from ganpress.sniff.look import HEIC_EXTRA, Seen, has_heif, is_heif, look

__all__ = [
    "HEIC_EXTRA",
    "Seen",
    "dead_link",
    "folder_of",
    "has_heif",
    "is_heif",
    "look",
    "misplaced",
    "no_toml",
    "not_there",
]
