"""The rows of the table of collections: read, inserted and updated inside a caller's transaction.

Each function checks before it writes, so that a refused call changes nothing.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.limits import MAX_DELETED
from embedder.index.contract.points import Metric, Spec, StoredModel, stored_model
from embedder.index.storage.sqlite.migration import COLUMNS, checksum
from embedder.index.storage.sqlite.schema import FILE_NAME


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A stored collection; ``name`` is None while it is created, restored or purged."""

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
        """Return the settings of the collection, with its recorded model."""
        return Spec(
            self.metric, self.kind, self.width, self.model, self.stored, identity=self.identity
        )

    @property
    def stored(self) -> StoredModel | None:
        """Return the model that computed the vectors, None before the first text."""
        return stored_model(self.model, self.revision, self.digest, self.pooling)


def as_collection(values: Sequence[object]) -> CollectionRow:
    """Return the collection of a table row, given its `COLUMNS` in order.

    Raises:
        StorageDamaged: the row fails its checksum.
    """
    if checksum(values[:-1]) != values[-1]:
        raise StorageDamaged(FILE_NAME, f"collection {values[2]!r} fails its checksum")
    number, identity, name, metric, kind, *rest = values[:-1]
    return CollectionRow(number, identity, name, Metric(metric), IndexKind(kind), *rest)  # type: ignore[arg-type] # the checksum has proved the types


def find_collection(db: sqlite3.Connection, name: str) -> CollectionRow | None:
    """Return the collection of this name, or None.

    Raises:
        StorageDamaged: its row fails its checksum.
    """
    query = f"SELECT {COLUMNS} FROM collections WHERE name = ?"  # noqa: S608
    row = db.execute(query, (name,)).fetchone()
    return None if row is None else as_collection(row)


def insert_collection(db: sqlite3.Connection, name: str | None, spec: Spec) -> CollectionRow:
    """Insert a collection; without a name, no reader sees it.

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
    """Record the model that computes the vectors of a collection; None changes nothing.

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
    return update_collection(db, row)


def rename_collection(db: sqlite3.Connection, row: CollectionRow, name: str | None) -> None:
    """Set the name of a collection; with None, its rows are purged in the background."""
    update_collection(db, replace(row, name=name))


def update_collection(db: sqlite3.Connection, row: CollectionRow) -> CollectionRow:
    """Store all columns of a collection with their checksum, and return the row."""
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


def remember_deleted(db: sqlite3.Connection, identity: str) -> None:
    """Record the identity of a deleted collection; keep the latest `MAX_DELETED` of them."""
    db.execute("INSERT OR IGNORE INTO deleted(identity) VALUES (?)", (identity,))
    latest = "SELECT max(at) FROM deleted"
    db.execute(f"DELETE FROM deleted WHERE at <= ({latest}) - ?", (MAX_DELETED,))  # noqa: S608


def is_deleted(db: sqlite3.Connection, identity: str | None) -> bool:
    """Say whether the collection of this identity is recorded as deleted."""
    row = db.execute("SELECT 1 FROM deleted WHERE identity = ?", (identity,)).fetchone()
    return row is not None
