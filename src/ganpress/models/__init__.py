"""A generator that knows itself: its family, its file, and what it reads."""
