"""Fake quantisation of weights and activations (GAN Slimming, eq. 7-10)."""
