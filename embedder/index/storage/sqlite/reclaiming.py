"""Reclaim the space of deleted collections and points: first rows, then pages of the file.

The work is done in small steps between other writes, so that no write waits for more than one step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import suppress

from embedder.core.errors import EmbedderError
from embedder.index.storage.failpoints import reach
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.storage.sqlite.collection_table import COLUMNS, FILE_NAME, as_collection
from embedder.index.storage.sqlite.committer import Committer
from embedder.index.storage.sqlite.point_rows import delete_rows
from embedder.index.storage.sqlite.rows.sparse_rows import SqliteSparse
from embedder.index.storage.sqlite.rows.text_rows import SqliteTexts
from embedder.index.storage.sqlite.schema import release_free_pages

PURGE_ROWS = 4096
"""Rows of a deleted collection that one step deletes."""

FREE_SHARE = 4
"""One page in so many may stay free, for the points of later writes."""

FREE_PAGES = 4096
"""Free pages that are never released, 16 MiB."""

STEP_PAGES = 2048
"""Pages that one step releases, 8 MiB."""


def reclaim(committer: Committer, db: sqlite3.Connection, spared: Collection[int]) -> None:
    """Queue one step, which queues the next one; keep the unnamed collections ``spared``.

    ``db`` is the connection of the committer.
    """

    def write(_: Transaction) -> Effect[None]:
        more = purge(db, spared) or shrink(db)
        reach("purge.before_commit")
        return lambda: reclaim(committer, db, spared) if more else None

    # A step that a closing or failing store refuses runs after the next start.
    with suppress(EmbedderError):
        committer.submit(write, frees=True)


def purge(db: sqlite3.Connection, spared: Collection[int]) -> bool:
    """Delete some rows of a collection without a name; return False if no such one is left."""
    query = f"SELECT {COLUMNS} FROM collections WHERE name IS NULL ORDER BY id"  # noqa: S608
    found = db.execute(query).fetchall()
    # `as_collection` checks the checksum, which covers the name: damage must not delete anything.
    rows = [row for row in map(as_collection, found) if row.id not in spared]
    if not rows:
        return False
    row = rows[0]
    pks = db.execute(
        "SELECT pk FROM points INDEXED BY points_by_pk WHERE collection = ? LIMIT ?",
        (row.id, PURGE_ROWS),
    )
    texts, sparse = SqliteTexts(db), SqliteSparse(db, FILE_NAME)
    if not (
        delete_rows(db, [pk for (pk,) in pks])
        or texts.clear(row.id, PURGE_ROWS)
        or sparse.clear(row.id, PURGE_ROWS)
    ):
        texts.forget(row.id)
        db.execute("DELETE FROM collections WHERE id = ?", (row.id,))
    return True


def shrink(db: sqlite3.Connection) -> bool:
    """Release some free pages; return False if few are free, or the file cannot shrink."""
    free, pages = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("freelist_count", "page_count")
    )
    return free > max(FREE_PAGES, pages // FREE_SHARE) and release_free_pages(db, STEP_PAGES) > 0
