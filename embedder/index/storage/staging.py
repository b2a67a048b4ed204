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
import orjson

from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.types import Vectors
from embedder.index.storage.rows import check_payload, checksum, vector_checksum, versioned
from embedder.index.storage.schema import FILE_NAME, read_number, write_meta
from embedder.index.storage.writes import (
    CollectionRow,
    delete,
    find_collection,
    find_pks,
    remember_deleted,
    rename_collection,
)

FILLING_PREFIX = "."
FROZEN_PREFIX = ".."

PAGE_POINTS = 1024
PAGE_CHARACTERS = 4 << 20
"""What one page of points to embed holds at most, its last point aside."""

_OUTDATED = """
FROM points AS p INDEXED BY points_by_pk
WHERE p.collection = ? AND p.pk > ? AND p.text IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM points AS d INDEXED BY points_by_id
    WHERE d.collection = ? AND d.ext_id = p.ext_id AND d.seq = p.seq)
"""
_STAGED_PKS = """
SELECT d.pk FROM points AS p CROSS JOIN points AS d INDEXED BY points_by_id
ON d.collection = ? AND d.ext_id = p.ext_id
"""
_OF_DELETED = f"{_STAGED_PKS} WHERE p.pk IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants
_OF_TEXTLESS = f"{_STAGED_PKS} WHERE p.collection = ? AND p.text IS NULL"


@dataclass(frozen=True, slots=True)
class OutdatedPoint:
    """A point whose text the staged collection has no vector of; ``seq`` is its version."""

    pk: int
    seq: int
    id: str
    text: str


def is_staged_name(name: str | None) -> bool:
    """Say whether this is the name of a staged collection, which no caller may use."""
    return name is not None and name.startswith(FILLING_PREFIX)


def require_collection(db: sqlite3.Connection, name: str) -> CollectionRow:
    """Return the collection that a client calls ``name``.

    Raises:
        UnknownCollection: there is none; the name of a staged collection is none either.
    """
    row = None if is_staged_name(name) else find_collection(db, name)
    if row is None:
        raise UnknownCollection("collection", name)
    return row


def find_staged(db: sqlite3.Connection, name: str) -> CollectionRow | None:
    """Return the staged collection of a collection, or None."""
    return find_collection(db, FILLING_PREFIX + name) or find_collection(db, FROZEN_PREFIX + name)


def refuse_if_frozen(db: sqlite3.Connection, name: str) -> None:
    """Refuse a write to a collection that its staged collection is about to replace.

    Raises:
        Unavailable: it is.
    """
    if find_collection(db, FROZEN_PREFIX + name) is not None:
        raise Unavailable(
            f"collection {name!r} takes no writes while it changes its model; if this lasts, "
            f"'embedder index reembed {name}' completes it"
        )


def outdated(
    db: sqlite3.Connection, source: CollectionRow, staged: CollectionRow, after: int
) -> list[OutdatedPoint]:
    """Return the next points with a pk above ``after`` that are missing from the staged collection.

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
) -> CollectionRow:
    """Set points of the staged collection and return its new row; ``vectors`` is float32[n, width].

    A point that was overwritten since it was read is stored to keep its place in the insertion
    order, and stays outdated. A point that was deleted or lost its text is skipped.
    """
    given = np.ascontiguousarray(vectors, np.float32)
    blobs = {one.pk: row.tobytes() for one, row in zip(points, given, strict=True)}
    seqs = {one.pk: one.seq for one in points}
    known = find_pks(db, staged.id, [one.id for one in points])
    fresh = first = read_number(db, "next_pk")
    rows = db.execute(
        "SELECT p.pk, p.seq, p.ext_id, p.text, p.metadata FROM json_each(?) AS j "
        "CROSS JOIN points AS p ON p.pk = j.value "
        "WHERE p.collection = ? AND p.text IS NOT NULL ORDER BY p.pk",
        (_json(list(seqs)), source.id),
    ).fetchall()
    for of, seq, name, text, metadata in rows:
        if seq != seqs[of] and _is_frozen(staged):
            continue  # a late call: nothing of a frozen staged becomes outdated
        pk = known.get(name)
        if pk is None:
            pk, fresh = fresh, fresh + 1
        crc = versioned(checksum(name, text, metadata), seqs[of])
        db.execute(
            "INSERT OR REPLACE INTO points(pk, collection, ext_id, seq, crc, text, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (pk, staged.id, name, seqs[of], crc, text, metadata),
        )
        db.execute(
            "INSERT OR REPLACE INTO vectors(pk, crc, vector) VALUES (?, ?, ?)",
            (pk, vector_checksum(name, blobs[of]), blobs[of]),
        )
    write_meta(db, "next_pk", fresh)
    after = replace(staged, count=staged.count + fresh - first)
    rename_collection(db, after, after.name)
    return after


def delete_points(db: sqlite3.Connection, name: str, pks: Sequence[int]) -> None:
    """Delete the copies of points from the staged collection, if there is one."""
    staged = find_staged(db, name)
    if staged is not None:
        found = db.execute(_OF_DELETED, (staged.id, _json(pks)))
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
    # What had a text when it was copied, and has none now.
    pks = [pk for (pk,) in db.execute(_OF_TEXTLESS, (staged.id, source.id))]
    delete(db, staged, pks)
    after = replace(staged, count=staged.count - len(pks))
    rename_collection(db, after, FROZEN_PREFIX + str(source.name))


def missing_texts(count: int) -> str:
    """Return why a collection with points without a text is refused."""
    return (
        f"has {count:,} points with a vector and no text, which no model can embed again; with "
        "--drop-without-text they are left out"
    )


def promote(db: sqlite3.Connection, source: CollectionRow, staged: CollectionRow) -> CollectionRow:
    """Rename the staged collection to the name of its source; record the source as deleted."""
    remember_deleted(db, source.identity)
    rename_collection(db, source, None)
    after = replace(staged, name=source.name, sequence=source.sequence)
    rename_collection(db, after, after.name)
    return after


def discard(db: sqlite3.Connection, name: str) -> None:
    """Delete the staged collection, if there is one, and record its identity as deleted."""
    staged = find_staged(db, name)
    if staged is not None:
        remember_deleted(db, staged.identity)
        rename_collection(db, staged, None)


def _is_frozen(staged: CollectionRow) -> bool:
    return str(staged.name).startswith(FROZEN_PREFIX)


def _json(numbers: Sequence[int]) -> str:
    return orjson.dumps(list(numbers)).decode()
