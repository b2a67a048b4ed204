"""Tests of where a model comes from and what its files say."""
