"""Tests of what remembers vectors."""
