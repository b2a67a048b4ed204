"""Similarities and clusters of texts or vectors."""
