"""The records, limits, checks and filters of the index, on which its callers rely."""
