"""Caches of vectors between requests. A cache may lose entries; it never returns wrong ones."""
