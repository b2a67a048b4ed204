"""Deletes the rows of collections without a name, in steps between writes.

PostgreSQL gives the space of deleted rows to later ones by itself (autovacuum).
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from threading import Event

from embedder.core.errors import EmbedderError
from embedder.index.storage.failpoints import reach
from embedder.index.storage.postgres.collection_table import COLUMNS, as_collection
from embedder.index.storage.postgres.rows.posting_blocks import deletion
from embedder.index.storage.postgres.transaction import PostgresTransaction
from embedder.index.storage.postgres.writing.committer import Committer
from embedder.index.storage.protocol import Effect, Transaction

PURGE_ROWS = 4096
"""Rows of a deleted collection that one step deletes."""

PURGE_LOCK = 0x45565047
"""With the number of the shard, the advisory lock of the process that deletes rows."""

_LOCK = "SELECT pg_try_advisory_xact_lock(%s, %s)"
_UNNAMED = f"""
SELECT {COLUMNS} FROM embedder.collections AS c
WHERE shard = %s AND name IS NULL AND id <> ALL(%b) AND NOT EXISTS (
    SELECT FROM embedder.writers AS w
    WHERE w.id = c.restorer AND w.id <> %s AND w.used_at > now() - interval '1 hour')
ORDER BY id LIMIT 1 FOR UPDATE OF c SKIP LOCKED
"""  # noqa: S608 - constants
_STEPS = [
    deletion(table)
    for table in (
        *("points", "vectors", "deletions"),
        *("text_documents", "text_postings", "text_totals"),
        *("sparse_vectors", "sparse_postings", "sparse_totals"),
    )
]
"""Vectors after their points, because a reader would take a point without a vector for damage."""
_DELETE = "DELETE FROM embedder.collections WHERE id = %s"


def reclaim(committer: Committer, has_unnamed: Event, spared: Collection[int]) -> None:
    """Queue one step, which queues the next one; keep the unnamed collections ``spared``.

    Without ``has_unnamed`` nothing is queued; the last step clears it.
    """

    def write(rows: Transaction) -> Effect[None]:
        assert isinstance(rows, PostgresTransaction)
        ((is_alone,),) = rows.rows(_LOCK, PURGE_LOCK, rows.shard)
        more = is_alone and purge(rows, spared)
        if is_alone and not more and not spared:
            has_unnamed.clear()
        reach("purge.before_commit")
        return lambda: reclaim(committer, has_unnamed, spared) if more else None

    # A step that a closing or failing store refuses runs after the next start.
    with suppress(EmbedderError):
        if has_unnamed.is_set():
            committer.submit(write)


def purge(transaction: PostgresTransaction, spared: Collection[int]) -> bool:
    """Delete some rows of a collection without a name; return False if no such one is left.

    Collections whose numbers are in ``spared`` stay, and so do those that another process restores:
    a process that has committed nothing for an hour restores nothing.

    Raises:
        StorageDamaged: the collection fails its checksum, and so may have a name.
    """
    found = transaction.rows(_UNNAMED, transaction.shard, list(spared), transaction.writer)
    if not found:
        return False
    row = as_collection(found[0], transaction.location)
    for step in _STEPS:
        if transaction.rows(step, row.id, PURGE_ROWS):
            return True
    transaction.db.execute(_DELETE, (row.id,))
    return True
