"""``embedder index``: the commands that work on collections."""
