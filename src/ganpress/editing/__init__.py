"""What a small generator is used for: projection, mixing, morphing, directions."""
