"""Corrects the count of a collection that an earlier version has kept too low.

It took an id with U+0000 for what stands before that, and so counted some new points as known ones.
Knows nothing of projections.
"""

from __future__ import annotations

import logging
import sqlite3

from embedder.index.storage.committer import Effect
from embedder.index.storage.store import ShardStore
from embedder.index.storage.writes import CollectionRow, correct_count

logger = logging.getLogger(__name__)

_POINTS = "SELECT count(*) FROM points INDEXED BY points_by_pk WHERE collection = ?"
_WITH_NUL = (
    "SELECT count(*) FROM points INDEXED BY points_by_id "
    "WHERE collection = ? AND instr(ext_id, char(0))"
)


def recounted(store: ShardStore, row: CollectionRow) -> CollectionRow:
    """Return a collection with its count corrected, or as it is where its ids explain no error."""
    with store.reader.snapshot() as db:
        more = int(db.execute(_POINTS, (row.id,)).fetchone()[0]) - row.count
        if more <= 0 or more > db.execute(_WITH_NUL, (row.id,)).fetchone()[0]:
            return row
    logger.warning("collection %r has %d points more than were counted", row.name, more)

    def write(db: sqlite3.Connection) -> Effect[CollectionRow]:
        corrected = correct_count(db, row, row.count + more)
        return lambda: corrected

    return store.submit(write).result()
