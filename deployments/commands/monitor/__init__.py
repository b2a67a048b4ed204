"""``embedder monitor``."""
