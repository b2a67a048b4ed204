"""Vectors that no change may alter."""
