"""The database of the index as `embedder serve` finds it: its check, and its password."""
