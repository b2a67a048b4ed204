"""The index: what it accepts, keeps and finds."""
