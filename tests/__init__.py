"""The tests of this repository."""
