"""How important each channel is: one function a score, group -> one number a channel."""
