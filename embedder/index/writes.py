"""What is written to the truth, inside a transaction that somebody else begins and ends.

Each function looks before it writes, so that what it refuses leaves nothing. Knows nothing of
projections or threads.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from embedder.errors import InvalidVector
from embedder.index.filters import Filter, to_sql
from embedder.index.kinds import IndexKind
from embedder.index.points import Metric
from embedder.index.rows import EncodedRows
from embedder.index.schema import read_meta, write_meta

PURGED_AT_ONCE = 4096
"""Rows of a removed collection that one transaction deletes, so that writers wait little."""

_INSERT_POINT = """
INSERT INTO points(pk, collection, ext_id, seq, crc, text, metadata) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(pk) DO UPDATE SET
    seq = excluded.seq, crc = excluded.crc, text = excluded.text, metadata = excluded.metadata
"""


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A collection as the truth has it; ``name`` is None while it is made or removed."""

    id: int
    uuid: str
    name: str | None
    metric: Metric
    kind: IndexKind
    width: int | None
    model: str | None
    sequence: int
    count: int


@dataclass(frozen=True, slots=True)
class Spec:
    """What a collection is made with."""

    metric: Metric = Metric.COSINE
    kind: IndexKind = IndexKind.AUTO
    width: int | None = None
    model: str | None = None


def as_collection(row: Sequence[object]) -> CollectionRow:
    """Return the record of a row of the table, all columns in their order."""
    return CollectionRow(*row[:3], Metric(row[3]), IndexKind(row[4]), *row[5:])  # type: ignore[arg-type, call-arg] # the columns are as the schema declares them


def find_collection(db: sqlite3.Connection, name: str) -> CollectionRow | None:
    """Return the collection of this name, or None."""
    row = db.execute("SELECT * FROM collections WHERE name = ?", (name,)).fetchone()
    return None if row is None else as_collection(row)


def insert_collection(db: sqlite3.Connection, name: str | None, spec: Spec) -> CollectionRow:
    """Make a collection, unseen while it has no name."""
    identity = uuid.uuid4().hex
    cursor = db.execute(
        "INSERT INTO collections(uuid, name, metric, kind, width, model, sequence, count) "
        "VALUES (?, ?, ?, ?, ?, ?, 0, 0)",
        (identity, name, spec.metric.value, spec.kind.value, spec.width, spec.model),
    )
    assert cursor.lastrowid is not None
    return CollectionRow(
        cursor.lastrowid, identity, name, spec.metric, spec.kind, spec.width, spec.model, 0, 0
    )


def rename_collection(db: sqlite3.Connection, collection: int, name: str | None) -> None:
    """Give a collection a name, or take it away."""
    db.execute("UPDATE collections SET name = ? WHERE id = ?", (name, collection))


def purge(db: sqlite3.Connection) -> bool:
    """Delete some rows of a collection without a name; False when there is none left."""
    row = db.execute("SELECT id FROM collections WHERE name IS NULL ORDER BY id LIMIT 1").fetchone()
    if row is None:
        return False
    pks = db.execute(
        "SELECT pk FROM points INDEXED BY points_by_pk WHERE collection = ? LIMIT ?",
        (row[0], PURGED_AT_ONCE),
    )
    if not _delete(db, [pk for (pk,) in pks]):
        db.execute("DELETE FROM collections WHERE id = ?", (row[0],))
    return True


def upsert(
    db: sqlite3.Connection, collection: CollectionRow, rows: EncodedRows
) -> tuple[NDArray[np.int64], int]:
    """Set the rows of one request; return their pks and the collection's new sequence number.

    Raises:
        InvalidVector: the collection has another width.
    """
    width = rows.vectors.shape[1]
    if collection.width not in (None, width):
        raise InvalidVector(
            "points[0].vector", f"has {width} components; the collection has {collection.width}"
        )
    known = find_pks(db, collection.id, rows.ids)
    fresh = int(read_meta(db, "next_pk"))
    pks = [0] * len(rows)
    for at, name in enumerate(rows.ids):
        pk = known.get(name)
        if pk is None:
            pk, fresh = fresh, fresh + 1
        pks[at] = pk
    write_meta(db, "next_pk", fresh)
    sequence = collection.sequence + 1
    same, seqs = [collection.id] * len(rows), [sequence] * len(rows)
    db.executemany(
        _INSERT_POINT,
        zip(pks, same, rows.ids, seqs, rows.checksums, rows.texts, rows.metadata, strict=True),
    )
    db.executemany(
        "INSERT OR REPLACE INTO vectors(pk, crc, vector) VALUES (?, ?, ?)",
        zip(pks, rows.vector_checksums, rows.blobs, strict=True),
    )
    _advance(db, collection.id, sequence, len(rows) - len(known), width)
    return np.array(pks, np.int64), sequence


def delete(
    db: sqlite3.Connection, collection: CollectionRow, pks: Sequence[int]
) -> tuple[NDArray[np.int64], int]:
    """Delete points; return their pks and the sequence number, the old one if there are none."""
    if not pks:
        return np.empty(0, np.int64), collection.sequence
    deleted = _delete(db, pks)
    sequence = collection.sequence + 1
    _advance(db, collection.id, sequence, -deleted, collection.width)
    return np.array(pks, np.int64), sequence


def find_pks(db: sqlite3.Connection, collection: int, ids: Iterable[str]) -> dict[str, int]:
    """Return the pks of those of the ids that are stored."""
    # The index is named and the join crossed, or SQLite may read the whole collection.
    rows = db.execute(
        "SELECT p.ext_id, p.pk FROM json_each(?) AS j CROSS JOIN points AS p "
        "INDEXED BY points_by_id ON p.collection = ? AND p.ext_id = j.value",
        (orjson.dumps(list(ids)).decode(), collection),
    )
    return dict(rows)


def matching_pks(db: sqlite3.Connection, collection: int, condition: Filter) -> list[int]:
    """Return the pks of all points that meet a filter, in ascending order."""
    sql, parameters = to_sql(condition, "metadata")
    # Only the shape of the condition is in its text; all that a client sent is a parameter.
    query = f"SELECT pk FROM points INDEXED BY points_by_pk WHERE collection = ? AND ({sql})"  # noqa: S608
    return [pk for (pk,) in db.execute(query, (collection, *parameters))]


def _delete(db: sqlite3.Connection, pks: Sequence[int]) -> int:
    chosen = (orjson.dumps(list(pks)).decode(),)
    db.execute("DELETE FROM vectors WHERE pk IN (SELECT value FROM json_each(?))", chosen)
    return db.execute(
        "DELETE FROM points WHERE pk IN (SELECT value FROM json_each(?))", chosen
    ).rowcount


def _advance(
    db: sqlite3.Connection, collection: int, sequence: int, more: int, width: int | None
) -> None:
    db.execute(
        "UPDATE collections SET sequence = ?, count = count + ?, width = ? WHERE id = ?",
        (sequence, more, width, collection),
    )
