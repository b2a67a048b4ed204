"""Which backend computes a model: the configured one, or the fastest that supports it."""
