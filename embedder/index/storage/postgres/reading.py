"""Reads points, pages and filter matches of one shard, each call at one moment.

The checksum of every row is verified. No call waits for a write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Payload
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.contract.texts import TextStatistics
from embedder.index.lexical.blocks import Postings
from embedder.index.sparse.sparse_index import SparseTotals
from embedder.index.sparse.weight_blocks import WeightPostings
from embedder.index.storage.postgres.collection_table import decoded
from embedder.index.storage.postgres.connection.error_codes import translate_database_errors
from embedder.index.storage.postgres.connection.idle_connections import IdleConnections
from embedder.index.storage.postgres.filter_sql import Parameters, to_sql
from embedder.index.storage.postgres.rows.sparse_rows import PostgresSparse
from embedder.index.storage.postgres.rows.text_rows import PostgresTexts
from embedder.index.storage.postgres.snapshot import PostgresSnapshot
from embedder.index.storage.row_encoding import DISAGREE, check_payload, decode_vectors

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_PAYLOAD = "p.pk, p.seq, p.id, p.text, p.metadata, p.crc"
_POINTS = "FROM embedder.points AS p WHERE p.collection = %(collection)s"
_BYTES = "CASE WHEN %(text)s THEN coalesce(octet_length(p.text), 0) ELSE 0 END"
_WITHIN = """
SELECT pk, seq, id, text, metadata, crc FROM (
    SELECT p.*, sum(bytes) OVER (
        ORDER BY pk ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS before
    FROM ({}) AS p) AS p
WHERE coalesce(before, 0) <= %(most)s ORDER BY pk
"""
_BY_PK, _BY_ID = (
    f"FROM unnest(%(given)b::{kind}[]) AS given({column}) CROSS JOIN LATERAL (SELECT * FROM "  # noqa: S608 - constants
    f"embedder.points WHERE collection = %(collection)s AND {column} = given.{column} LIMIT 1) AS p"
    for kind, column in (("bigint", "pk"), ("bytea", "id"))
)
"""Looked up one by one: before PostgreSQL has statistics, a join would scan the collection."""
_MATCHING = """
SELECT c.sequence, p.pk, p.seq FROM embedder.collections AS c LEFT JOIN embedder.points AS p
    ON p.collection = c.id AND p.seq > %(after)s AND {}
WHERE c.id = %(collection)s
ORDER BY p.pk
"""
_VECTORS = """
SELECT p.pk, p.seq, p.id, v.crc, v.vector
FROM unnest(%b::bigint[]) WITH ORDINALITY AS given(pk, at)
CROSS JOIN LATERAL (
    SELECT * FROM embedder.points WHERE collection = %s AND pk = given.pk LIMIT 1) AS p
LEFT JOIN LATERAL (
    SELECT * FROM embedder.vectors WHERE collection = p.collection AND pk = p.pk LIMIT 1) AS v
    ON TRUE
ORDER BY given.at
"""

NO_LIMIT = 2**62


class PostgresReader:
    """Implements `Reader`.

    The connections are in autocommit mode: one statement sees one moment without a transaction,
    which would cost two more round trips.
    """

    def __init__(self, location: str, shard: int, connections: IdleConnections) -> None:
        self.location = location
        self._shard = shard
        self._connections = connections

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """Yield the rows at one moment, from the first one that is read."""
        with (
            self._connections.take(checked=True) as db,
            translate_database_errors(self.location),
            db.transaction(),
        ):
            yield PostgresSnapshot(db, self._shard, self.location)

    def payloads(
        self, collection: int, pks: Sequence[int], budget: ResponseBudget
    ) -> dict[int, Payload]:
        """Return the stored points among the pks, by pk, within the response budget."""
        found = self._payloads(collection, _BY_PK, {"given": list(pks)}, budget)
        return {one.pk: one for one in budget.within(found)}

    def by_ids(self, collection: int, ids: Sequence[str], budget: ResponseBudget) -> list[Payload]:
        """Return the stored points among the ids, in any order, within the response budget."""
        given: Parameters = {"given": [one.encode() for one in ids]}
        found = self._payloads(collection, _BY_ID, given, budget)
        return list(budget.within(found))

    def page(
        self,
        collection: int,
        after: int,
        limit: int,
        condition: Filter | None,
        budget: ResponseBudget,
    ) -> tuple[list[Payload], bool]:
        """Return points with a pk above ``after``, by ascending pk; see `ResponseBudget.page`."""
        sql, parameters = _compiled(condition)
        found = self._payloads(
            collection,
            f"{_POINTS} AND p.pk > %(after)s AND {sql} ORDER BY p.pk LIMIT %(limit)s",
            {**parameters, "after": after, "limit": limit + 1},
            budget,
        )
        return budget.page(found, limit)

    def count(self, collection: int, condition: Filter) -> int:
        """Return how many points meet a filter."""
        sql, parameters = _compiled(condition)
        ((count,),) = self._rows(f"SELECT count(*) {_POINTS} AND {sql}", collection, parameters)
        return int(count)

    def matching(
        self, collection: int, condition: Filter, after: int = -1
    ) -> tuple[NDArray[np.int64], int]:
        """Return pk and seq int64[n, 2] of points with a seq above ``after`` that meet a filter.

        The second value is the collection's sequence number at that moment.
        """
        sql, parameters = _compiled(condition)
        # One statement, so that both are of one moment.
        rows = self._rows(_MATCHING.format(sql), collection, {**parameters, "after": after})
        found = [row[1:] for row in rows if row[1] is not None]
        return _pairs(found), int(rows[0][0]) if rows else 0

    def pairs(self, collection: int) -> NDArray[np.int64]:
        """Return pk and seq int64[n, 2] of every point of a collection, by ascending pk.

        Raises:
            StorageDamaged: the index of the table holds a point twice.
        """
        pairs = _pairs(self._rows(f"SELECT p.pk, p.seq {_POINTS} ORDER BY p.pk", collection, {}))
        if (np.diff(pairs[:, 0]) <= 0).any():
            raise StorageDamaged(self.location, DISAGREE, UNNAMED)
        return pairs

    def text_statistics(self, collection: int, terms: Sequence[str]) -> TextStatistics | None:
        """Return the statistics of terms; None if the texts are not all indexed."""
        return PostgresTexts(self._fetch).statistics(collection, terms)

    def postings(self, collection: int, terms: Sequence[str]) -> dict[str, Postings]:
        """Return the postings of distinct terms."""
        return PostgresTexts(self._fetch).postings(collection, terms)

    def sparse_totals(self, collection: int) -> SparseTotals | None:
        """Return the totals of sparse vectors; None if no point of the collection had one."""
        return PostgresSparse(self.location, self._fetch).totals(collection)

    def sparse_postings(self, collection: int, ids: Sequence[int]) -> dict[int, WeightPostings]:
        """Return the postings of distinct vocabulary ids that some point has."""
        return PostgresSparse(self.location, self._fetch).postings(collection, ids)

    def vectors(
        self, collection: int, pks: NDArray[np.int64], width: int
    ) -> tuple[NDArray[np.int64], list[str], Vectors]:
        """Return pk and seq int64[n, 2], ids, and vectors float32[n, width] of the stored pks.

        The order is that of ``pks``.

        Raises:
            StorageDamaged: a row fails its checksum, or has no vector.
        """
        rows = self._fetch(_VECTORS, (pks.tolist(), collection))
        names, blobs = [decoded(row[2]) for row in rows], [row[4] for row in rows]
        found = decode_vectors(self.location, names, blobs, [row[3] for row in rows], width)
        return _pairs([row[:2] for row in rows]), names, found

    def _payloads(
        self, collection: int, source: str, parameters: Parameters, budget: ResponseBudget
    ) -> Iterator[Payload]:
        """Yield points by ascending pk, and check them; ``source`` is the end of the query.

        Points beyond the budget stay in the database, except the first two of them: one exceeds it,
        and the next one tells that more follow.
        """
        include, most = budget.include, budget.max_bytes
        columns = f"{_PAYLOAD}, {_BYTES} + octet_length(p.metadata) * %(metadata)s AS bytes"
        query = _WITHIN.format(f"SELECT {columns} {source}")
        given = {
            "text": "text" in include,
            "metadata": int("metadata" in include),
            "most": NO_LIMIT if most is None else most,
        }
        for pk, seq, stored, value, metadata, crc in self._rows(
            query, collection, {**parameters, **given}
        ):
            name, text = decoded(stored), None if value is None else decoded(value)
            check_payload(self.location, name, text, metadata, (seq, crc))
            yield Payload(pk, seq, name, text if "text" in include else None, metadata)

    def _rows(self, query: str, collection: int, parameters: Parameters) -> list[tuple[Any, ...]]:
        return self._fetch(query, {**parameters, "collection": collection})

    def _fetch(self, query: str, given: Sequence[object] | Parameters) -> list[tuple[Any, ...]]:
        return self._connections.run(lambda db: db.execute(query, given, binary=True).fetchall())


def _compiled(condition: Filter | None) -> tuple[str, Parameters]:
    return ("TRUE", {}) if condition is None else to_sql(condition, "p.fields")


def _pairs(rows: Sequence[Sequence[Any]]) -> NDArray[np.int64]:
    numbers = np.fromiter((number for row in rows for number in row), np.int64, 2 * len(rows))
    return numbers.reshape(-1, 2)
