"""The evidence for GAN Compression on a CPU."""
