"""Numbers that no change may move."""
