"""Layers and blocks whose tensors know their channel groups."""
