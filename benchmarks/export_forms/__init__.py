"""Which form of an operation a runtime is fast at."""
