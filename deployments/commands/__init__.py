"""The commands of ``embedder``: one module each, which adds its arguments and runs."""
