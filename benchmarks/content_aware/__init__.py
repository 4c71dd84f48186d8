"""The evidence for Content-Aware GAN Compression (`python -m benchmarks.content_aware`)."""
