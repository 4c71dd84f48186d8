"""Exported files, ours and other people's: what they read, what they cost."""
