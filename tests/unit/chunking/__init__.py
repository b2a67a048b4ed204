"""Tests of the chunks of long texts."""
