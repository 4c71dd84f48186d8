"""How long a test waits for another process before it calls it hung."""

# Far more than any needs on a busy machine: only a test that fails anyway waits it out.
PATIENCE_S = 600.0
