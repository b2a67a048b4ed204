"""The records, limits, checks and filters of the index: what its callers may rely on."""
