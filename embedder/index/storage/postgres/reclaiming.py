"""Deletes the rows of collections without a name, in steps between writes.

PostgreSQL gives the space of deleted rows to later ones by itself (autovacuum).
"""

from __future__ import annotations

from collections.abc import Collection

from embedder.index.storage.postgres.collection_table import COLUMNS, as_collection
from embedder.index.storage.postgres.transaction import PostgresTransaction

PURGE_ROWS = 4096
"""Rows of a deleted collection that one step deletes."""

_UNNAMED = f"""
SELECT {COLUMNS} FROM embedder.collections
WHERE shard = %s AND name IS NULL AND id <> ALL(%b) ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants
_STEPS = [
    f"DELETE FROM embedder.{table} WHERE ctid = ANY(ARRAY("  # noqa: S608 - constants
    f"SELECT ctid FROM embedder.{table} WHERE collection = %s LIMIT %s))"
    for table in ("vectors", "points", "deletions")
]
_DELETE = "DELETE FROM embedder.collections WHERE id = %s"


def purge(transaction: PostgresTransaction, spared: Collection[int]) -> bool:
    """Delete some rows of a collection without a name; return False if no such one is left.

    Collections whose numbers are in ``spared`` stay, and so do those that another process locks.

    Raises:
        StorageDamaged: the collection fails its checksum, and so may have a name.
    """
    found = transaction.rows(_UNNAMED, transaction.shard, list(spared))
    if not found:
        return False
    row = as_collection(found[0], transaction.location)
    for step in _STEPS:
        if transaction.db.execute(step, (row.id, PURGE_ROWS)).rowcount:
            return True
    transaction.db.execute(_DELETE, (row.id,))
    return True
