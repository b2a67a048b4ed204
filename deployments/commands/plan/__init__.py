"""``embedder plan``: settings of a process, the capacity for a rate, and its calibration."""
