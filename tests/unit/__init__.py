"""Tests that start no Ray and need no network."""
