"""Read points, pages and filter matches of a collection while the writer runs.

The checksum of every row is verified.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Payload, PointField
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.contract.texts import TextStatistics
from embedder.index.lexical.blocks import Postings
from embedder.index.sparse.sparse_index import SparseTotals
from embedder.index.sparse.weight_blocks import WeightPostings
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import DISAGREE, check_payload, decode_vectors
from embedder.index.storage.sqlite.collection_table import COLUMNS, as_collection
from embedder.index.storage.sqlite.error_codes import translate_storage_errors
from embedder.index.storage.sqlite.filter_sql import selection
from embedder.index.storage.sqlite.point_rows import as_json, select_by_ids
from embedder.index.storage.sqlite.rows.sparse_rows import SqliteSparse
from embedder.index.storage.sqlite.rows.text_rows import SqliteTexts
from embedder.index.storage.sqlite.schema import open_reader
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot

_PAYLOAD = "p.pk, p.seq, p.ext_id, p.text, p.metadata, p.crc"
_CHOSEN = "FROM json_each(?) AS j CROSS JOIN points AS p"


class SqliteReader:
    """Implements `Reader` on one file, with one connection per concurrent call."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path
        self._free: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Close the idle connections; close the others when their calls end."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for connection in free:
            connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[SqliteSnapshot]:
        """Yield the rows at one moment, whatever is committed meanwhile.

        The log cannot be reset while a snapshot is open, and grows with every commit.
        """
        with self._connection() as db:
            db.execute("BEGIN")
            try:
                yield SqliteSnapshot(db, self._path)
            finally:
                # Some errors have already ended the transaction.
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextmanager
    def pinned(self) -> Iterator[SqlitePinnedReader]:
        """Yield a reader of the rows at one moment; see `snapshot`."""
        with self.snapshot() as moment:
            yield SqlitePinnedReader(self._path, moment)

    def collections(self) -> list[CollectionRow]:
        """Return all collections with a name that clients can use."""
        with self._connection() as db:
            query = f"SELECT {COLUMNS} FROM collections WHERE name NOT GLOB '.*'"  # noqa: S608
            rows = db.execute(query).fetchall()
            return [as_collection(row) for row in rows]

    def payloads(
        self, collection: int, pks: Sequence[int], budget: ResponseBudget
    ) -> dict[int, Payload]:
        """Return the stored points among the pks, by pk, within the response budget."""
        query = f"SELECT {_PAYLOAD} {_CHOSEN} ON p.pk = j.value WHERE p.collection = ?"
        with (
            self._connection() as db,
            closing(db.execute(query, (as_json(pks), collection))) as rows,
        ):
            return {found.pk: found for found in budget.within(self._checked(rows, budget.include))}

    def by_ids(self, collection: int, ids: Sequence[str], budget: ResponseBudget) -> list[Payload]:
        """Return the stored points among the ids, in any order, within the response budget."""
        with (
            self.snapshot() as snapshot,
            closing(select_by_ids(snapshot.db, _PAYLOAD, collection, ids)) as rows,
        ):
            return list(budget.within(self._checked(rows, budget.include)))

    def page(
        self,
        collection: int,
        after: int,
        limit: int,
        condition: Filter | None,
        budget: ResponseBudget,
    ) -> tuple[list[Payload], bool]:
        """Return points with a pk above ``after``, by ascending pk; see `ResponseBudget.page`."""
        query, parameters = selection(_PAYLOAD, condition, "AND p.pk > ?")
        query += " ORDER BY p.pk LIMIT ?"
        given = (collection, after, *parameters, limit + 1)
        with self._connection() as db, closing(db.execute(query, given)) as rows:
            return budget.page(self._checked(rows, budget.include), limit)

    def count(self, collection: int, condition: Filter) -> int:
        """Return how many points meet a filter."""
        query, parameters = selection("count(*)", condition)
        with self._connection() as db:
            return int(db.execute(query, (collection, *parameters)).fetchone()[0])

    def matching(
        self, collection: int, condition: Filter, after: int = -1
    ) -> tuple[NDArray[np.int64], int]:
        """Return pk and seq int64[n, 2] of points with a seq above ``after`` that meet a filter.

        The second value is the collection's sequence number at that moment.
        """
        query, parameters = selection("p.pk, p.seq", condition, "AND p.seq > ?")
        with self.snapshot() as snapshot:
            pairs = self._pairs(snapshot.db.execute(query, (collection, after, *parameters)))
            row = snapshot.db.execute(
                "SELECT sequence FROM collections WHERE id = ?", (collection,)
            ).fetchone()
        return pairs, int(row[0]) if row else 0

    def pairs(self, collection: int) -> NDArray[np.int64]:
        """Return pk and seq int64[n, 2] of every point of a collection, by ascending pk.

        Raises:
            StorageDamaged: the index of the table holds a point twice.
        """
        query, _ = selection("p.pk, p.seq", None)
        with self._connection() as db:
            pairs = self._pairs(db.execute(f"{query} ORDER BY p.pk", (collection,)))
        if (np.diff(pairs[:, 0]) <= 0).any():
            raise StorageDamaged(self.location, DISAGREE, UNNAMED)
        return pairs

    def text_statistics(self, collection: int, terms: Sequence[str]) -> TextStatistics | None:
        """Return the statistics of terms; None if the texts are not all indexed."""
        with self.snapshot() as snapshot:
            return SqliteTexts(snapshot.db).statistics(collection, terms)

    def postings(self, collection: int, terms: Sequence[str]) -> dict[str, Postings]:
        """Return the postings of distinct terms."""
        with self._connection() as db:
            return SqliteTexts(db).postings(collection, terms)

    def sparse_totals(self, collection: int) -> SparseTotals | None:
        """Return the totals of sparse vectors; None if no point of the collection had one."""
        with self._connection() as db:
            return SqliteSparse(db, self.location).totals(collection)

    def sparse_postings(self, collection: int, ids: Sequence[int]) -> dict[int, WeightPostings]:
        """Return the postings of distinct vocabulary ids that some point has."""
        with self._connection() as db:
            return SqliteSparse(db, self.location).postings(collection, ids)

    def vectors(
        self, collection: int, pks: NDArray[np.int64], width: int
    ) -> tuple[NDArray[np.int64], list[str], Vectors]:
        """Return pk and seq int64[n, 2], ids, and vectors float32[n, width] of the stored pks.

        The order is that of ``pks``.

        Raises:
            StorageDamaged: a row fails its checksum, or has no vector.
        """
        query = (
            f"SELECT p.pk, p.seq, p.ext_id, v.crc, v.vector {_CHOSEN} ON p.pk = j.value "
            "LEFT JOIN vectors AS v ON v.pk = p.pk WHERE p.collection = ?"
        )
        with self._connection() as db:
            rows = db.execute(query, (as_json(pks.tolist()), collection)).fetchall()
        names, blobs = [row[2] for row in rows], [row[4] for row in rows]
        vectors = decode_vectors(self.location, names, blobs, [row[3] for row in rows], width)
        return self._pairs(row[:2] for row in rows), names, vectors

    def _checked(
        self, rows: Iterable[tuple[Any, ...]], include: Sequence[PointField]
    ) -> Iterator[Payload]:
        """Check and yield rows one by one, without their texts unless these are included."""
        for pk, seq, name, text, metadata, crc in rows:
            check_payload(self.location, name, text, metadata, (seq, crc))
            yield Payload(pk, seq, name, text if "text" in include else None, metadata)

    def _pairs(self, rows: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
        # One flat iterator: building a list of tuples first takes several times as long.
        try:
            numbers = np.fromiter((number for row in rows for number in row), np.int64)
        except (TypeError, ValueError) as error:
            # A flipped bit has changed the type of a stored column.
            raise StorageDamaged(self.location, f"not a number: {error}", UNNAMED) from error
        return numbers.reshape(-1, 2)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._free.pop() if self._free else None
        if connection is None:
            connection = open_reader(self._path)
        try:
            with translate_storage_errors(self._path):
                yield connection
        finally:
            with self._lock:
                if not self._closed:
                    self._free.append(connection)
            if self._closed:
                connection.close()


class SqlitePinnedReader(SqliteReader):
    """Reads the rows of one moment, for one thread."""

    def __init__(self, path: Path, moment: SqliteSnapshot) -> None:
        super().__init__(path)
        self._moment = moment

    @contextmanager
    def snapshot(self) -> Iterator[SqliteSnapshot]:
        """Yield the rows at the moment of this reader."""
        yield self._moment

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        yield self._moment.db
