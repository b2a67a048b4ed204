"""What is written to the truth, inside a transaction that somebody else begins and ends.

Each function looks before it writes, so that what it refuses leaves nothing. Knows nothing of
projections or threads.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from embedder.core.errors import InvalidVector
from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.limits import MAX_DELETED
from embedder.index.contract.points import Metric, Spec, StoredModel, stored_model
from embedder.index.storage.migration import COLUMNS, checksum
from embedder.index.storage.rows import EncodedRows, versioned
from embedder.index.storage.schema import FILE_NAME, read_number, write_meta

LOOKED_UP_AT_ONCE = 256
"""Ids of one statement: each is a parameter of it, and SQLite takes 32,766 at most."""

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
    identity: str
    revision: str | None = None
    digest: str | None = None
    pooling: str | None = None

    @property
    def spec(self) -> Spec:
        """Return what the collection is made with, its recorded model included."""
        return Spec(
            self.metric, self.kind, self.width, self.model, self.stored, identity=self.identity
        )

    @property
    def stored(self) -> StoredModel | None:
        """Return the model that computed the vectors, None before the first text."""
        return stored_model(self.model, self.revision, self.digest, self.pooling)


def as_collection(values: Sequence[object]) -> CollectionRow:
    """Return the record of a row of the table, `COLUMNS` in their order.

    Raises:
        StorageDamaged: the row fails its checksum.
    """
    if checksum(values[:-1]) != values[-1]:
        raise StorageDamaged(FILE_NAME, f"collection {values[2]!r} fails its checksum")
    number, identity, name, metric, kind, *rest = values[:-1]
    return CollectionRow(number, identity, name, Metric(metric), IndexKind(kind), *rest)  # type: ignore[arg-type] # checked, so the types are those that were written


def find_collection(db: sqlite3.Connection, name: str) -> CollectionRow | None:
    """Return the collection of this name, or None.

    Raises:
        StorageDamaged: its row fails its checksum.
    """
    query = f"SELECT {COLUMNS} FROM collections WHERE name = ?"  # noqa: S608
    row = db.execute(query, (name,)).fetchone()
    return None if row is None else as_collection(row)


def insert_collection(db: sqlite3.Connection, name: str | None, spec: Spec) -> CollectionRow:
    """Make a collection, unseen while it has no name.

    Raises:
        StaleCollection: the collection of this identity was deleted.
    """
    if is_deleted(db, spec.identity):
        raise StaleCollection(str(name))
    own = uuid.uuid4().hex
    cursor = db.execute(
        "INSERT INTO collections(uuid, metric, kind, sequence, count, crc) "
        "VALUES (?, ?, ?, 0, 0, 0)",
        (own, spec.metric.value, spec.kind.value),
    )
    assert cursor.lastrowid is not None
    row = CollectionRow(
        *(cursor.lastrowid, own, name, spec.metric, spec.kind, spec.width, spec.model, 0, 0),
        identity=spec.identity or uuid.uuid4().hex,
    )
    return record_model(db, row, spec.stored)


def record_model(
    db: sqlite3.Connection, row: CollectionRow, model: StoredModel | None
) -> CollectionRow:
    """Store which model computes the vectors of a collection; None changes nothing.

    Raises:
        StaleCollection: another model is recorded.
    """
    if row.stored is not None:
        if model is not None and not row.stored.is_same(model):
            raise StaleCollection(str(row.name))
        model = None
    if model is not None:
        row = replace(
            row,
            model=row.model or model.name,
            revision=model.revision,
            digest=model.digest,
            pooling=model.pooling,
        )
    return _store(db, row)


def rename_collection(db: sqlite3.Connection, row: CollectionRow, name: str | None) -> None:
    """Give a collection a name, or take it away."""
    _store(db, replace(row, name=name))


def correct_count(db: sqlite3.Connection, row: CollectionRow, count: int) -> CollectionRow:
    """Set how many points a collection has, where it was counted wrongly."""
    return _store(db, replace(row, count=count))


def remember_deleted(db: sqlite3.Connection, identity: str) -> None:
    """Keep the identity of a deleted collection, and forget those of the oldest ones."""
    db.execute("INSERT OR IGNORE INTO deleted(identity) VALUES (?)", (identity,))
    oldest = "SELECT max(at) FROM deleted"
    db.execute(f"DELETE FROM deleted WHERE at <= ({oldest}) - ?", (MAX_DELETED,))  # noqa: S608


def is_deleted(db: sqlite3.Connection, identity: str | None) -> bool:
    """Say whether a collection of this identity is known to be deleted."""
    row = db.execute("SELECT 1 FROM deleted WHERE identity = ?", (identity,)).fetchone()
    return row is not None


def purge(db: sqlite3.Connection, spared: Collection[int] = ()) -> bool:
    """Delete some rows of a collection without a name; False when there is none left.

    ``spared`` are the numbers of those that are being made.
    """
    query = f"SELECT {COLUMNS} FROM collections WHERE name IS NULL ORDER BY id"  # noqa: S608
    found = db.execute(query).fetchall()
    # The checksum covers the missing name: damage must not have anything deleted.
    rows = [row for row in map(as_collection, found) if row.id not in spared]
    if not rows:
        return False
    row = rows[0]
    pks = db.execute(
        "SELECT pk FROM points INDEXED BY points_by_pk WHERE collection = ? LIMIT ?",
        (row.id, PURGED_AT_ONCE),
    )
    if not _delete(db, [pk for (pk,) in pks]):
        db.execute("DELETE FROM collections WHERE id = ?", (row.id,))
    return True


def upsert(
    db: sqlite3.Connection, collection: CollectionRow, rows: EncodedRows
) -> tuple[NDArray[np.int64], CollectionRow]:
    """Set the rows of one request; return their pks and the collection as it is then.

    Raises:
        InvalidVector: the collection has another width.
    """
    width = rows.vectors.shape[1]
    if collection.width not in (None, width):
        raise InvalidVector(
            "points[0].vector", f"has {width} components; the collection has {collection.width}"
        )
    known = find_pks(db, collection.id, rows.ids)
    fresh = read_number(db, "next_pk")
    pks = [0] * len(rows)
    for at, name in enumerate(rows.ids):
        pk = known.get(name)
        if pk is None:
            pk, fresh = fresh, fresh + 1
        pks[at] = pk
    write_meta(db, "next_pk", fresh)
    sequence = collection.sequence + 1
    same, seqs = [collection.id] * len(rows), [sequence] * len(rows)
    checksums = [versioned(crc, sequence) for crc in rows.checksums]
    db.executemany(
        _INSERT_POINT,
        zip(pks, same, rows.ids, seqs, checksums, rows.texts, rows.metadata, strict=True),
    )
    db.executemany(
        "INSERT OR REPLACE INTO vectors(pk, crc, vector) VALUES (?, ?, ?)",
        zip(pks, rows.vector_checksums, rows.blobs, strict=True),
    )
    count = collection.count + len(rows) - len(known)
    after = _store(db, replace(collection, sequence=sequence, count=count, width=width))
    return np.array(pks, np.int64), after


def delete(
    db: sqlite3.Connection, collection: CollectionRow, pks: Sequence[int]
) -> tuple[NDArray[np.int64], int]:
    """Delete points; return their pks and the sequence number, the old one if there are none."""
    if not pks:
        return np.empty(0, np.int64), collection.sequence
    deleted = _delete(db, pks)
    sequence = collection.sequence + 1
    _store(db, replace(collection, sequence=sequence, count=collection.count - deleted))
    return np.array(pks, np.int64), sequence


def find_pks(db: sqlite3.Connection, collection: int, ids: Iterable[str]) -> dict[str, int]:
    """Return the pks of those of the ids that are stored."""
    return dict(select_by_ids(db, "p.ext_id, p.pk", collection, list(ids)))


def select_by_ids(
    db: sqlite3.Connection, columns: str, collection: int, ids: Sequence[str]
) -> Generator[tuple[Any, ...], None, None]:
    """Yield columns of the points ``p`` that have one of the ids, in no order.

    Every id is a parameter of its own: SQLite ends a string inside JSON at its first U+0000.
    """
    for start in range(0, len(ids), LOOKED_UP_AT_ONCE):
        some = ids[start : start + LOOKED_UP_AT_ONCE]
        marks = ", ".join(["(?)"] * len(some))
        # The index is named and the join crossed, or SQLite may read the whole collection.
        yield from db.execute(
            f"WITH given(id) AS (VALUES {marks}) SELECT {columns} "  # noqa: S608
            "FROM given CROSS JOIN points AS p INDEXED BY points_by_id "
            "ON p.collection = ? AND p.ext_id = given.id",
            (*some, collection),
        )


def matching_pks(
    db: sqlite3.Connection, collection: int, condition: tuple[str, list[str]]
) -> list[int]:
    """Return the pks of all points that meet a filter, in ascending order.

    ``condition`` is the filter as `to_sql` compiles it for the column ``metadata``.
    """
    sql, parameters = condition
    # Only the shape of the condition is in its text; all that a client sent is a parameter.
    query = f"SELECT pk FROM points INDEXED BY points_by_pk WHERE collection = ? AND ({sql})"  # noqa: S608
    return [pk for (pk,) in db.execute(query, (collection, *parameters))]


def _delete(db: sqlite3.Connection, pks: Sequence[int]) -> int:
    chosen = (orjson.dumps(list(pks)).decode(),)
    db.execute("DELETE FROM vectors WHERE pk IN (SELECT value FROM json_each(?))", chosen)
    return db.execute(
        "DELETE FROM points WHERE pk IN (SELECT value FROM json_each(?))", chosen
    ).rowcount


def _store(db: sqlite3.Connection, row: CollectionRow) -> CollectionRow:
    values = [
        *(row.id, row.uuid, row.name, row.metric.value, row.kind.value),
        *(row.width, row.model, row.sequence, row.count),
        *(row.identity, row.revision, row.digest, row.pooling),
    ]
    db.execute(
        "UPDATE collections SET name = ?, metric = ?, kind = ?, width = ?, model = ?, "
        "sequence = ?, count = ?, identity = ?, revision = ?, digest = ?, pooling = ?, crc = ? "
        "WHERE id = ?",
        (*values[2:], checksum(values), row.id),
    )
    return row
