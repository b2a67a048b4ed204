"""The log of changes, which replicas of a shard follow.

A point is its own entry in the log: its seq is the number of the write that stored its present
content, so that earlier contents take no space. A deletion is a row of its own, until
`embedder.index.storage.postgres.writing.upkeep` removes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from embedder.core.errors import StageUnavailable
from embedder.index.storage.change_log import Changes
from embedder.index.storage.postgres.collection_table import decoded
from embedder.index.storage.postgres.connection.error_codes import translate_database_errors
from embedder.index.storage.postgres.connection.idle_connections import IdleConnections
from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection
from embedder.index.storage.postgres.filter_sql import Parameters
from embedder.index.storage.postgres.reading import PostgresReader
from embedder.index.storage.postgres.snapshot import PostgresSnapshot
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import decode_vectors
from embedder.index.storage.staging import is_staged_name

_HEAD = "SELECT sequence, log_start, width FROM embedder.collections WHERE id = %s"
_STORED = """
SELECT p.pk, p.seq, p.id, v.crc, v.vector
FROM embedder.points AS p LEFT JOIN embedder.vectors AS v USING (collection, pk)
WHERE p.collection = %s AND p.seq > %s
ORDER BY p.seq FETCH FIRST %s ROWS WITH TIES
"""
_DELETED = """
SELECT pk FROM embedder.deletions WHERE collection = %s AND seq > %s AND seq <= %s ORDER BY seq, pk
"""

LIMIT = 4096
"""About how many stored points one answer has."""


class PostgresPinnedReader(PostgresReader):
    """Implements `PinnedReader` on a connection whose caller has begun a transaction."""

    def __init__(self, location: str, shard: int, db: LimitedConnection) -> None:
        self.location = location
        self._moment = PostgresSnapshot(db, shard, location)

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """Yield the rows at the moment of this reader."""
        yield self._moment

    def changes(self, collection: int, after: int, limit: int = LIMIT) -> Changes | None:
        """Return whole writes after a sequence number, with about ``limit`` stored points."""
        return changes_since(self._moment, collection, after, limit)

    def _fetch(self, query: str, given: Sequence[object] | Parameters) -> list[tuple[Any, ...]]:
        return self._moment.db.execute(query, given, binary=True).fetchall()


class PostgresLog:
    """Implements `ChangeLog`."""

    def __init__(self, location: str, shard: int, connections: IdleConnections) -> None:
        self._location = location
        self._shard = shard
        self._connections = connections

    def heads(self, names: Collection[str] | None) -> tuple[str, list[CollectionRow]]:
        """Return the history and the collections of these names, as their last writes left them.

        None: all collections.
        """

        def read(db: LimitedConnection) -> tuple[str, list[CollectionRow]]:
            return db.history, self._snapshot(db).collections(names)

        history, found = self._connections.run(read)
        return history, [row for row in found if not is_staged_name(row.name)]

    @contextmanager
    def pinned(self) -> Iterator[PostgresPinnedReader]:
        """Yield a reader of one moment, which is after all writes committed before this call."""
        with ExitStack() as stack:
            try:
                db = stack.enter_context(self._transaction())
            except StageUnavailable:  # an idle connection was lost
                db = stack.enter_context(self._transaction(checked=True))
            yield PostgresPinnedReader(self._location, self._shard, db)

    @contextmanager
    def _transaction(self, *, checked: bool = False) -> Iterator[LimitedConnection]:
        with (
            self._connections.take(checked=checked) as db,
            translate_database_errors(self._location),
            db.transaction(),
        ):
            yield db

    def _snapshot(self, db: LimitedConnection) -> PostgresSnapshot:
        return PostgresSnapshot(db, self._shard, self._location)


def changes_since(
    snapshot: PostgresSnapshot, collection: int, after: int, limit: int
) -> Changes | None:
    """Return whole writes after a sequence number, with about ``limit`` stored points.

    None says that deletions after this number have been forgotten, or that the collection is gone:
    the caller compares the pairs of all points instead.

    Raises:
        StorageDamaged: a vector fails its checksum, or is missing.
    """
    heads = snapshot.rows(_HEAD, collection)
    if not heads or heads[0][1] > after:
        return None
    ((head, _, width),) = heads
    rows = snapshot.rows(_STORED, collection, after, limit)
    sequence = head if len(rows) < limit else rows[-1][1]
    deleted = snapshot.rows(_DELETED, collection, after, sequence)
    names = [decoded(row[2]) for row in rows]
    blobs, crcs = [row[4] for row in rows], [row[3] for row in rows]
    return Changes(
        snapshot.history,
        sequence,
        head,
        np.array([row[:2] for row in rows], np.int64).reshape(-1, 2),
        names,
        decode_vectors(snapshot.location, names, blobs, crcs, width or 0),
        np.array([pk for (pk,) in deleted], np.int64),
    )
