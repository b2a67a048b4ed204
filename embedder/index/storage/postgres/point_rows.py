"""Stores, finds and deletes the rows of points and vectors of one write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedder.index.contract.documents import chunk_ids, document_of
from embedder.index.storage.postgres.collection_table import decoded, encoded
from embedder.index.storage.postgres.jsonb_fields import fields_of
from embedder.index.storage.row_encoding import (
    checksum,
    decode_metadata,
    vector_checksum,
    versioned,
)

if TYPE_CHECKING:
    from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection

# One statement for all rows of a table: the index that finds an existing point is stated, so that
# PostgreSQL cannot choose to scan the collection, as it does before it has statistics.
_PUT_POINTS = """
WITH own AS (SELECT id, next_pk FROM embedder.collections WHERE id = %s)
INSERT INTO embedder.points(collection, pk, id, seq, crc, text, metadata, fields)
SELECT own.id, own.next_pk + n.at - 1, n.id, n.seq, n.crc, n.text, n.metadata, n.fields::jsonb
FROM own, unnest(%b::bytea[], %b::bigint[], %b::bigint[], %b::bytea[], %b::text[], %b::text[])
    WITH ORDINALITY AS n(id, seq, crc, text, metadata, fields, at)
ON CONFLICT (collection, id) DO UPDATE SET seq = excluded.seq, crc = excluded.crc,
    text = excluded.text, metadata = excluded.metadata, fields = excluded.fields
RETURNING id, pk, pk >= (SELECT next_pk FROM own)
"""
_PUT_VECTORS = """
INSERT INTO embedder.vectors(collection, pk, crc, vector)
SELECT %s, n.pk, n.crc, n.vector
FROM unnest(%b::bigint[], %b::bigint[], %b::bytea[]) AS n(pk, crc, vector)
ON CONFLICT (collection, pk) DO UPDATE SET crc = excluded.crc, vector = excluded.vector
"""
_DELETE = """
WITH gone AS (
    DELETE FROM embedder.points WHERE collection = %s AND pk = ANY(%b) RETURNING pk
), rest AS (
    DELETE FROM embedder.vectors WHERE collection = %s AND pk = ANY(%b)
), logged AS (
    INSERT INTO embedder.deletions(collection, seq, pk) SELECT %s, %s, pk FROM gone
)
SELECT count(*) FROM gone
"""

_CHUNKS = """
SELECT given.id, p.pk, p.metadata
FROM unnest(%b::bytea[], %b::bytea[], %b::bytea[]) AS given(id, low, high) CROSS JOIN LATERAL (
    SELECT pk, metadata FROM embedder.points
    WHERE collection = %s AND id >= given.low AND id < given.high) AS p
"""


@dataclass(frozen=True, slots=True)
class NewRows:
    """Rows to store: lists of length n; checksums are those of the stored versions."""

    ids: Sequence[str]
    seqs: Sequence[int]
    checksums: Sequence[int]
    texts: Sequence[str | None]
    metadata: Sequence[str]
    vector_checksums: Sequence[int]
    blobs: Sequence[bytes | memoryview]


def copied_rows(
    found: Sequence[tuple[Any, ...]], seqs: Mapping[int, int], blobs: Mapping[int, bytes]
) -> NewRows:
    """Return copies of points with other vectors, given pk, seq, id, text and metadata of each.

    ``seqs`` and ``blobs`` are the sequence numbers and the vectors of the copies, by pk.
    """
    of = [one[0] for one in found]
    ids, texts = ([decoded(one[column]) for one in found] for column in (2, 3))
    metadata = [one[4] for one in found]
    sealed = [
        versioned(checksum(name, text, value), seqs[pk])
        for pk, name, text, value in zip(of, ids, texts, metadata, strict=True)
    ]
    crcs = [vector_checksum(name, blobs[pk]) for pk, name in zip(of, ids, strict=True)]
    return NewRows(
        *(ids, [seqs[pk] for pk in of], sealed, texts, metadata),
        *(crcs, [blobs[pk] for pk in of]),
    )


def put_points(db: LimitedConnection, collection: int, rows: NewRows) -> tuple[list[int], int]:
    """Insert points, or replace those of the same id; return their pks and how many are new.

    A new point takes the pk of its position from the collection's next pk on; the pks in between
    stay unused. The caller then raises the next pk by the number of rows.
    """
    given = (
        *(collection, list(map(encoded, rows.ids)), list(rows.seqs), list(rows.checksums)),
        *(list(map(encoded, rows.texts)), list(rows.metadata), list(map(fields_of, rows.metadata))),
    )
    found = db.fetched(db.execute(_PUT_POINTS, given, binary=True))
    pks = {decoded(name): pk for name, pk, _ in found}
    return [pks[name] for name in rows.ids], sum(is_new for *_, is_new in found)


def put_vectors(db: LimitedConnection, collection: int, pks: Sequence[int], rows: NewRows) -> None:
    """Store the vectors of points."""
    blobs = list(map(bytes, rows.blobs))
    db.execute(_PUT_VECTORS, (collection, list(pks), list(rows.vector_checksums), blobs))


def delete_rows(db: LimitedConnection, collection: int, seq: int, pks: Sequence[int]) -> int:
    """Delete the rows of these pks, record it in the log, and return how many points that were."""
    chosen = list(pks)
    given = (collection, chosen, collection, chosen, collection, seq)
    ((deleted,),) = db.fetched(db.execute(_DELETE, given))
    return int(deleted)


def find_chunks(db: LimitedConnection, collection: int, documents: Sequence[str]) -> list[int]:
    """Return the pks of the chunks of documents, in any order."""
    bounds = [chunk_ids(one) for one in documents]
    ids = [one.encode() for one in documents]
    low, high = ([one[at].encode() for one in bounds] for at in (0, 1))
    found = db.fetched(db.execute(_CHUNKS, (ids, low, high, collection), binary=True))
    return [
        pk
        for document, pk, metadata in found
        if document_of(decode_metadata(metadata)) == decoded(document)
    ]
