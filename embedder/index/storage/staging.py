"""The staged collection: a copy of a collection with vectors of another model, not yet in use.

Clients cannot name it: ``.docs`` is the staged collection of ``docs`` during the fill, ``..docs``
after it is frozen. Writes to ``docs`` are refused from then on until ``..docs`` replaces it. A
staged point is up to date if it has the ``seq`` of its source point, so an interrupted fill
continues where it stopped, and finds overwritten points again. Each function runs inside a
transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.types import Vectors
from embedder.index.storage.row_encoding import check_payload, checksum, vector_checksum, versioned
from embedder.index.storage.sqlite.collection_rows import (
    CollectionRow,
    find_collection,
    remember_deleted,
    rename_collection,
    update_collection,
)
from embedder.index.storage.sqlite.point_rows import as_json, assign_pks, delete, put_rows
from embedder.index.storage.sqlite.schema import FILE_NAME

FILLING_PREFIX = "."
FROZEN_PREFIX = ".."

PAGE_POINTS = 1024
PAGE_CHARACTERS = 4 << 20
"""A page of outdated points ends with the point whose text exceeds this."""

_OUTDATED = """
FROM points AS p INDEXED BY points_by_pk
WHERE p.collection = ? AND p.pk > ? AND p.text IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM points AS s INDEXED BY points_by_id
    WHERE s.collection = ? AND s.ext_id = p.ext_id AND s.seq = p.seq)
"""
_CURRENT = """
SELECT p.pk, p.seq, p.ext_id, p.text, p.metadata
FROM json_each(?) AS j CROSS JOIN points AS p ON p.pk = j.value
WHERE p.collection = ? AND p.text IS NOT NULL ORDER BY p.pk
"""
_STAGED_PKS = """
SELECT s.pk FROM points AS p CROSS JOIN points AS s INDEXED BY points_by_id
ON s.collection = ? AND s.ext_id = p.ext_id
"""
_OF_DELETED = f"{_STAGED_PKS} WHERE p.pk IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants
_OF_TEXTLESS = f"{_STAGED_PKS} WHERE p.collection = ? AND p.text IS NULL"


@dataclass(frozen=True, slots=True)
class OutdatedPoint:
    """A point whose current text has no staged vector; ``seq`` is the version of the text."""

    pk: int
    seq: int
    id: str
    text: str


def is_staged_name(name: str | None) -> bool:
    """Say whether a name belongs to a staged collection, which no client may use."""
    return name is not None and name.startswith(FILLING_PREFIX)


def require_collection(db: sqlite3.Connection, name: str) -> CollectionRow:
    """Return the collection of a client's name.

    Raises:
        UnknownCollection: no collection has this name, or it is the name of a staged one.
    """
    row = None if is_staged_name(name) else find_collection(db, name)
    if row is None:
        raise UnknownCollection("collection", name)
    return row


def find_staged(db: sqlite3.Connection, name: str) -> CollectionRow | None:
    """Return the staged collection of a collection, or None."""
    return find_collection(db, FILLING_PREFIX + name) or find_collection(db, FROZEN_PREFIX + name)


def refuse_if_frozen(db: sqlite3.Connection, name: str) -> None:
    """Refuse a write to a collection whose staged collection is frozen.

    Raises:
        Unavailable: it is frozen.
    """
    if find_collection(db, FROZEN_PREFIX + name) is not None:
        raise Unavailable(
            f"collection {name!r} takes no writes while it changes its model; if this lasts, "
            f"'embedder index reembed {name}' completes it"
        )


def outdated(
    db: sqlite3.Connection, source: CollectionRow, staged: CollectionRow, after: int
) -> list[OutdatedPoint]:
    """Return one page of the outdated points with a pk above ``after``, by ascending pk.

    Raises:
        StorageDamaged: a row fails its checksum.
    """
    found: list[OutdatedPoint] = []
    characters = 0
    columns = "SELECT p.pk, p.seq, p.ext_id, p.text, p.metadata, p.crc"
    rows = db.execute(
        f"{columns} {_OUTDATED} ORDER BY p.pk LIMIT ?", (source.id, after, staged.id, PAGE_POINTS)
    )
    for pk, seq, name, text, metadata, crc in rows:
        check_payload(FILE_NAME, name, text, metadata, (seq, crc))
        found.append(OutdatedPoint(pk, seq, name, text))
        characters += len(text)
        if characters > PAGE_CHARACTERS:
            break
    rows.close()
    return found


def is_complete(db: sqlite3.Connection, source: CollectionRow, staged: CollectionRow) -> bool:
    """Say whether the staged collection is frozen and has a vector for every current text."""
    if not _is_frozen(staged):
        return False
    left = db.execute(f"SELECT 1 {_OUTDATED} LIMIT 1", (source.id, 0, staged.id)).fetchone()
    return left is None


def fill(
    db: sqlite3.Connection,
    source: CollectionRow,
    staged: CollectionRow,
    points: Sequence[OutdatedPoint],
    vectors: Vectors,
) -> None:
    """Store points in the staged collection; ``vectors`` is float32[n, width].

    A point that was overwritten since it was read is stored to keep its place in the insertion
    order, and stays outdated. A point that was deleted or lost its text is skipped.
    """
    given = np.ascontiguousarray(vectors, np.float32)
    blobs = {point.pk: row.tobytes() for point, row in zip(points, given, strict=True)}
    seqs = {point.pk: point.seq for point in points}
    rows = db.execute(_CURRENT, (as_json(list(seqs)), source.id)).fetchall()
    if _is_frozen(staged):
        # A late call must not make a point of a frozen collection outdated.
        rows = [row for row in rows if row[1] == seqs[row[0]]]
    pks, added = assign_pks(db, staged.id, [row[2] for row in rows])
    pairs = list(zip(pks, rows, strict=True))
    put_rows(
        db,
        (
            (pk, staged.id, name, seqs[of], versioned(checksum(name, *rest), seqs[of]), *rest)
            for pk, (of, _, name, *rest) in pairs
        ),
        ((pk, vector_checksum(row[2], blobs[row[0]]), blobs[row[0]]) for pk, row in pairs),
    )
    update_collection(db, replace(staged, count=staged.count + added))


def delete_points(db: sqlite3.Connection, name: str, pks: Sequence[int]) -> None:
    """Delete the copies of points from the staged collection, if there is one."""
    staged = find_staged(db, name)
    if staged is not None:
        found = db.execute(_OF_DELETED, (staged.id, as_json(pks)))
        delete(db, staged, [pk for (pk,) in found])


def count_without_text(db: sqlite3.Connection, source: CollectionRow) -> int:
    """Return how many points have no text that could be embedded."""
    query = (
        "SELECT count(*) FROM points INDEXED BY points_by_pk WHERE collection = ? AND text IS NULL"
    )
    return int(db.execute(query, (source.id,)).fetchone()[0])


def freeze(
    db: sqlite3.Connection, source: CollectionRow, staged: CollectionRow, *, dropping: bool
) -> None:
    """Block writes to the collection until its staged collection replaces it; idempotent.

    Raises:
        InvalidInput: points have no text, and ``dropping`` is not set.
    """
    if _is_frozen(staged):
        return
    left_out = count_without_text(db, source)
    if left_out and not dropping:
        raise InvalidInput("collection", missing_texts(left_out))
    # Points that had a text when they were staged, and have none now.
    pks = [pk for (pk,) in db.execute(_OF_TEXTLESS, (staged.id, source.id))]
    delete(db, staged, pks)
    updated = replace(staged, count=staged.count - len(pks))
    rename_collection(db, updated, FROZEN_PREFIX + str(source.name))


def missing_texts(count: int) -> str:
    """Return why a collection with ``count`` points without a text is refused."""
    return (
        f"has {count:,} points with a vector and no text, which no model can embed again; with "
        "--drop-without-text they are left out"
    )


def promote(db: sqlite3.Connection, source: CollectionRow, staged: CollectionRow) -> CollectionRow:
    """Give the staged collection the name of its source; record the source as deleted."""
    remember_deleted(db, source.identity)
    rename_collection(db, source, None)
    return update_collection(db, replace(staged, name=source.name, sequence=source.sequence))


def discard(db: sqlite3.Connection, name: str) -> None:
    """Delete the staged collection, if there is one, and record its identity as deleted."""
    staged = find_staged(db, name)
    if staged is not None:
        remember_deleted(db, staged.identity)
        rename_collection(db, staged, None)


def _is_frozen(staged: CollectionRow) -> bool:
    return str(staged.name).startswith(FROZEN_PREFIX)
