"""What a process does for the tables after many writes: statistics, and forgetting old deletions.

PostgreSQL collects statistics by itself within a minute; until then, pages of a collection that was
just imported are read by a scan. The log keeps the latest deletions of each collection: a replica
that is further behind compares all points, which costs less than so many deletions.
"""

from __future__ import annotations

from embedder.index.storage.postgres.transaction import PostgresTransaction
from embedder.index.storage.protocol import Effect, Transaction, Write

FIRST_ROWS, LAST_ROWS = 1000, 100_000
"""Statistics are collected after so many stored points, and after ten times as many, up to this."""

KEPT_DELETIONS = 100_000
"""Deletions of a collection that the log keeps."""

FORGET_EVERY = 10_000
"""Points that a process deletes before it looks for deletions to forget."""

_ANALYZE = (
    "ANALYZE (SKIP_LOCKED) embedder.points, embedder.vectors, embedder.deletions, "
    "embedder.text_documents, embedder.text_postings, embedder.sparse_vectors, "
    "embedder.sparse_postings"
)
_FORGET = """
WITH cut AS (
    SELECT c.id, (
        SELECT d.seq FROM embedder.deletions AS d WHERE d.collection = c.id
        ORDER BY d.seq DESC, d.pk DESC OFFSET %s LIMIT 1) AS seq
    FROM embedder.collections AS c WHERE c.shard = %s
), moved AS (
    UPDATE embedder.collections AS c SET log_start = greatest(c.log_start, cut.seq)
    FROM cut WHERE cut.id = c.id AND cut.seq IS NOT NULL RETURNING c.id, cut.seq
)
DELETE FROM embedder.deletions AS d USING moved WHERE d.collection = moved.id AND d.seq <= moved.seq
"""


class Upkeep:
    """Counts what a process stores and deletes; it begins with forgetting."""

    def __init__(self) -> None:
        self._stored = 0
        self._deleted = FORGET_EVERY
        self._next_rows = FIRST_ROWS

    def count(self, stored: int, deleted: int) -> None:
        """Count the points of a committed transaction."""
        self._stored += stored
        self._deleted += deleted

    def due(self) -> Write[None] | None:
        """Return the work that is due, once, or None."""
        if self._deleted >= FORGET_EVERY:
            self._deleted = 0
            return forget_deletions
        if self._stored >= self._next_rows <= LAST_ROWS:
            self._next_rows *= 10
            return _analyze
        return None


def forget_deletions(rows: Transaction) -> Effect[None]:
    """Remove all but the latest deletions of each collection from the log."""
    assert isinstance(rows, PostgresTransaction)
    rows.db.execute(_FORGET, (KEPT_DELETIONS, rows.shard))
    return lambda: None


def _analyze(rows: Transaction) -> Effect[None]:
    assert isinstance(rows, PostgresTransaction)
    rows.db.execute(_ANALYZE)
    return lambda: None
