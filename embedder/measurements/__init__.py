"""Measurements in plain Python, which cost less than a microsecond: histograms and counters."""
