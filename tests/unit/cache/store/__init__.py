"""Tests of the stores behind a cache."""
