"""What a file really is, by its first bytes, and what to do with it. No torch, nothing is run."""

from ganpress.sniff.advice import dead_link, misplaced
from ganpress.sniff.look import Seen, look

__all__ = ["Seen", "dead_link", "look", "misplaced"]
