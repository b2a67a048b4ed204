"""Correct the count of a collection that an earlier version has stored too low.

That version cut an id at its first U+0000, and counted such a new point as an existing one.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import replace

from embedder.index.storage.collection_rows import CollectionRow, update_collection
from embedder.index.storage.committer import Effect
from embedder.index.storage.store import ShardStore

logger = logging.getLogger(__name__)

_POINTS = "SELECT count(*) FROM points INDEXED BY points_by_pk WHERE collection = ?"
_WITH_NUL = (
    "SELECT count(*) FROM points INDEXED BY points_by_id "
    "WHERE collection = ? AND instr(ext_id, char(0))"
)


def repair_count(store: ShardStore, row: CollectionRow) -> CollectionRow:
    """Return the collection with its count corrected, if ids with U+0000 explain the difference."""
    with store.reader.snapshot() as db:
        missing = int(db.execute(_POINTS, (row.id,)).fetchone()[0]) - row.count
        if missing <= 0 or missing > db.execute(_WITH_NUL, (row.id,)).fetchone()[0]:
            return row
    logger.warning("collection %r has %d points more than were counted", row.name, missing)

    def write(db: sqlite3.Connection) -> Effect[CollectionRow]:
        corrected = update_collection(db, replace(row, count=row.count + missing))
        return lambda: corrected

    return store.submit(write).result()
