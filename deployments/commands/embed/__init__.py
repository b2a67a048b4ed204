"""``embedder embed``: vectors of texts, and of files that are too large for one run."""
