"""Conditions on the metadata of points: read from JSON, judged in memory or by SQLite."""

from embedder.index.filters.conditions import Filter
from embedder.index.filters.matching import matches
from embedder.index.filters.parsing import parse
from embedder.index.filters.sql import to_sql

__all__ = ["Filter", "matches", "parse", "to_sql"]
