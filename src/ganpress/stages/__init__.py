"""One function, one training loop each."""
