"""Tests of `embedder.index.filters`."""
