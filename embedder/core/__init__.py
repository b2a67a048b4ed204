"""Errors, types and protocols that all other packages share."""
