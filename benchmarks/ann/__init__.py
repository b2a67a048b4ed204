"""Indexes of nearest neighbours beside each other: build time, memory, recall and speed."""
