"""Tests of what outlives the process of a cache."""
