"""The rows of points and vectors: looked up, stored and deleted inside a caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import orjson

from embedder.index.storage.sqlite.meta_table import read_number, write_meta

LOOKUP_IDS = 256
"""Ids of one statement: each is a parameter of it, and SQLite takes at most 32,766."""

PointRow = tuple[int, int, str, int, int, "str | None", str]
"""A row of the table of points: pk, collection, id, seq, checksum, text, metadata."""

VectorRow = tuple[int, int, "bytes | memoryview"]
"""A row of the table of vectors: pk, checksum, vector."""

_PUT_POINT = """
INSERT INTO points(pk, collection, ext_id, seq, crc, text, metadata) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(pk) DO UPDATE SET
    seq = excluded.seq, crc = excluded.crc, text = excluded.text, metadata = excluded.metadata
"""


def put_rows(
    db: sqlite3.Connection, points: Iterable[PointRow], vectors: Iterable[VectorRow]
) -> None:
    """Insert rows, or replace those of the same pk."""
    db.executemany(_PUT_POINT, points)
    db.executemany("INSERT OR REPLACE INTO vectors(pk, crc, vector) VALUES (?, ?, ?)", vectors)


def assign_pks(
    db: sqlite3.Connection, collection: int, ids: Sequence[str]
) -> tuple[list[int], int]:
    """Return the pk of each id, a new one where it is not stored, and how many are new."""
    known = find_pks(db, collection, ids)
    first = following = read_number(db, "next_pk")
    pks = []
    for name in ids:
        pk = known.get(name)
        if pk is None:
            pk, following = following, following + 1
        pks.append(pk)
    write_meta(db, "next_pk", following)
    return pks, following - first


def delete_rows(db: sqlite3.Connection, pks: Sequence[int]) -> int:
    """Delete the rows of these pks; return how many points that were."""
    chosen = (as_json(pks),)
    db.execute("DELETE FROM vectors WHERE pk IN (SELECT value FROM json_each(?))", chosen)
    return db.execute(
        "DELETE FROM points WHERE pk IN (SELECT value FROM json_each(?))", chosen
    ).rowcount


def find_pks(db: sqlite3.Connection, collection: int, ids: Iterable[str]) -> dict[str, int]:
    """Return the pks of those ids that are stored."""
    return dict(select_by_ids(db, "p.ext_id, p.pk", collection, list(ids)))


def select_by_ids(
    db: sqlite3.Connection, columns: str, collection: int, ids: Sequence[str]
) -> Generator[tuple[Any, ...], None, None]:
    """Yield columns of the points ``p`` that have one of the ids, in any order.

    Each id is a parameter: inside JSON, SQLite would end a string at its first U+0000.
    """
    for start in range(0, len(ids), LOOKUP_IDS):
        some = ids[start : start + LOOKUP_IDS]
        marks = ", ".join(["(?)"] * len(some))
        # Without INDEXED BY and CROSS JOIN, SQLite may scan the whole collection.
        yield from db.execute(
            f"WITH given(id) AS (VALUES {marks}) SELECT {columns} "  # noqa: S608
            "FROM given CROSS JOIN points AS p INDEXED BY points_by_id "
            "ON p.collection = ? AND p.ext_id = given.id",
            (*some, collection),
        )


def as_json(values: Sequence[int] | Sequence[str]) -> str:
    """Return numbers, or texts without U+0000, as a JSON array, for ``json_each``."""
    return orjson.dumps(list(values)).decode()
