"""The draft of a collection: its points with vectors of another model, until it takes the place.

A draft is a collection that no client can name: ``.docs`` is the draft of ``docs`` while it is
filled, and ``..docs`` once it is frozen, from when on ``docs`` takes no writes. A point of the
draft is up to date if it has the seq of the point that it was made from, so an interrupted filling
goes on where it was, and overwritten points are found. Each function is a part of a transaction
that its caller begins and ends. Knows nothing of projections or of models.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import orjson

from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.types import Vectors
from embedder.index.storage.rows import check_payload, checksum, sealed, vector_checksum
from embedder.index.storage.schema import FILE_NAME, read_number, write_meta
from embedder.index.storage.writes import (
    CollectionRow,
    delete,
    find_collection,
    find_pks,
    remember_deleted,
    rename_collection,
)

FILLED = "."
FROZEN = ".."

PAGE_POINTS = 1024
PAGE_CHARACTERS = 4 << 20
"""What one page of points to embed holds at most, its last point aside."""

_OUTDATED = """
FROM points AS p INDEXED BY points_by_pk
WHERE p.collection = ? AND p.pk > ? AND p.text IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM points AS d INDEXED BY points_by_id
    WHERE d.collection = ? AND d.ext_id = p.ext_id AND d.seq = p.seq)
"""
_DRAFT_PKS = """
SELECT d.pk FROM points AS p CROSS JOIN points AS d INDEXED BY points_by_id
ON d.collection = ? AND d.ext_id = p.ext_id
"""
_OF_DELETED = f"{_DRAFT_PKS} WHERE p.pk IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants
_OF_TEXTLESS = f"{_DRAFT_PKS} WHERE p.collection = ? AND p.text IS NULL"


@dataclass(frozen=True, slots=True)
class Outdated:
    """A point whose text the draft has no vector of; ``seq`` is its version."""

    pk: int
    seq: int
    id: str
    text: str


def is_draft(name: str | None) -> bool:
    """Say whether this is the name of a draft, which no caller may use."""
    return name is not None and name.startswith(FILLED)


def named(db: sqlite3.Connection, name: str) -> CollectionRow:
    """Return the collection that a client calls ``name``.

    Raises:
        UnknownCollection: there is none; the name of a draft is none either.
    """
    row = None if is_draft(name) else find_collection(db, name)
    if row is None:
        raise UnknownCollection("collection", name)
    return row


def find_draft(db: sqlite3.Connection, name: str) -> CollectionRow | None:
    """Return the draft of a collection, or None."""
    return find_collection(db, FILLED + name) or find_collection(db, FROZEN + name)


def refuse_if_frozen(db: sqlite3.Connection, name: str) -> None:
    """Refuse a write to a collection that its draft is about to replace.

    Raises:
        Unavailable: it is.
    """
    if find_collection(db, FROZEN + name) is not None:
        raise Unavailable(
            f"collection {name!r} takes no writes while it changes its model; if this lasts, "
            f"'embedder index reembed {name}' completes it"
        )


def outdated(
    db: sqlite3.Connection, source: CollectionRow, draft: CollectionRow, after: int
) -> list[Outdated]:
    """Return the next points with a pk above ``after`` that are missing from the draft.

    Raises:
        StorageDamaged: a row fails its checksum.
    """
    found: list[Outdated] = []
    characters = 0
    columns = "SELECT p.pk, p.seq, p.ext_id, p.text, p.metadata, p.crc"
    rows = db.execute(
        f"{columns} {_OUTDATED} ORDER BY p.pk LIMIT ?", (source.id, after, draft.id, PAGE_POINTS)
    )
    for pk, seq, name, text, metadata, crc in rows:
        check_payload(FILE_NAME, name, text, metadata, (seq, crc))
        found.append(Outdated(pk, seq, name, text))
        characters += len(text)
        if characters > PAGE_CHARACTERS:
            break
    rows.close()
    return found


def is_complete(db: sqlite3.Connection, source: CollectionRow, draft: CollectionRow) -> bool:
    """Say whether the draft is frozen and has every text of the collection in its last version."""
    if not _is_frozen(draft):
        return False
    left = db.execute(f"SELECT 1 {_OUTDATED} LIMIT 1", (source.id, 0, draft.id)).fetchone()
    return left is None


def fill(
    db: sqlite3.Connection,
    source: CollectionRow,
    draft: CollectionRow,
    points: Sequence[Outdated],
    vectors: Vectors,
) -> CollectionRow:
    """Set points of the draft, and return it as it is then; ``vectors`` are float32[n, width].

    One that was overwritten meanwhile is set too, which keeps its place in the order, and stays
    outdated. One that was deleted, or has no text any more, is left out.
    """
    given = np.ascontiguousarray(vectors, np.float32)
    blobs = {one.pk: row.tobytes() for one, row in zip(points, given, strict=True)}
    seqs = {one.pk: one.seq for one in points}
    known = find_pks(db, draft.id, [one.id for one in points])
    fresh = first = read_number(db, "next_pk")
    rows = db.execute(
        "SELECT p.pk, p.seq, p.ext_id, p.text, p.metadata FROM json_each(?) AS j "
        "CROSS JOIN points AS p ON p.pk = j.value "
        "WHERE p.collection = ? AND p.text IS NOT NULL ORDER BY p.pk",
        (_json(list(seqs)), source.id),
    ).fetchall()
    for of, seq, name, text, metadata in rows:
        if seq != seqs[of] and _is_frozen(draft):
            continue  # a late call: nothing of a frozen draft becomes outdated
        pk = known.get(name)
        if pk is None:
            pk, fresh = fresh, fresh + 1
        crc = sealed(checksum(name, text, metadata), seqs[of])
        db.execute(
            "INSERT OR REPLACE INTO points(pk, collection, ext_id, seq, crc, text, metadata) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (pk, draft.id, name, seqs[of], crc, text, metadata),
        )
        db.execute(
            "INSERT OR REPLACE INTO vectors(pk, crc, vector) VALUES (?, ?, ?)",
            (pk, vector_checksum(name, blobs[of]), blobs[of]),
        )
    write_meta(db, "next_pk", fresh)
    after = replace(draft, count=draft.count + fresh - first)
    rename_collection(db, after, after.name)
    return after


def forget(db: sqlite3.Connection, name: str, pks: Sequence[int]) -> None:
    """Delete from the draft of a collection, if there is one, what is deleted from it."""
    draft = find_draft(db, name)
    if draft is not None:
        found = db.execute(_OF_DELETED, (draft.id, _json(pks)))
        delete(db, draft, [pk for (pk,) in found])


def without_text(db: sqlite3.Connection, source: CollectionRow) -> int:
    """Return how many points have no text that could be embedded."""
    query = (
        "SELECT count(*) FROM points INDEXED BY points_by_pk WHERE collection = ? AND text IS NULL"
    )
    return int(db.execute(query, (source.id,)).fetchone()[0])


def freeze(
    db: sqlite3.Connection, source: CollectionRow, draft: CollectionRow, *, dropping: bool
) -> None:
    """Let the collection take no writes until its draft has replaced it; again changes nothing.

    Raises:
        InvalidInput: points have no text, and ``dropping`` is not set.
    """
    if _is_frozen(draft):
        return
    left_out = without_text(db, source)
    if left_out and not dropping:
        raise InvalidInput("collection", missing_texts(left_out))
    # What had a text when it was copied, and has none now.
    pks = [pk for (pk,) in db.execute(_OF_TEXTLESS, (draft.id, source.id))]
    delete(db, draft, pks)
    after = replace(draft, count=draft.count - len(pks))
    rename_collection(db, after, FROZEN + str(source.name))


def missing_texts(count: int) -> str:
    """Return why a collection with points without a text is refused."""
    return (
        f"has {count:,} points with a vector and no text, which no model can embed again; with "
        "--drop-without-text they are left out"
    )


def promote(db: sqlite3.Connection, source: CollectionRow, draft: CollectionRow) -> CollectionRow:
    """Give the draft the place of its collection, whose identity is deleted from now on."""
    remember_deleted(db, source.identity)
    rename_collection(db, source, None)
    after = replace(draft, name=source.name, sequence=source.sequence)
    rename_collection(db, after, after.name)
    return after


def discard(db: sqlite3.Connection, name: str) -> None:
    """Delete the draft of a collection, if there is one; its identity never comes back."""
    draft = find_draft(db, name)
    if draft is not None:
        remember_deleted(db, draft.identity)
        rename_collection(db, draft, None)


def _is_frozen(draft: CollectionRow) -> bool:
    return str(draft.name).startswith(FROZEN)


def _json(numbers: Sequence[int]) -> str:
    return orjson.dumps(list(numbers)).decode()
