"""Sharing models: what is pushed to a repository of the hub, pulled from one, and model cards."""
