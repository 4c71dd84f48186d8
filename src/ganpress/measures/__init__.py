"""Measurements: cost and latency, fidelity to the teacher, quality against real pictures."""
