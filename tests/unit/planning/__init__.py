"""Tests of how settings for a goal are found."""
