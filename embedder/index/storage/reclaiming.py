"""Gives back the space of deleted collections and points: rows first, then pages of the file.

Little by little between other writes, so that none of them waits for more than one step. Knows
nothing of searches.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import suppress

from embedder.core.errors import EmbedderError
from embedder.index.storage.committer import Effect
from embedder.index.storage.failpoints import reach
from embedder.index.storage.schema import release_free_pages
from embedder.index.storage.store import ShardStore
from embedder.index.storage.writes import purge

FREE_SHARE = 4
"""One page in so many may be free: the next points go there."""

FREE_PAGES = 4096
"""Free pages that are never given back, 16 MiB."""

STEP_PAGES = 2048
"""Pages that one write gives back."""


def reclaim(store: ShardStore, spared: Collection[int]) -> None:
    """Queue one step, which queues the next one; ``spared`` are collections that are being made."""

    def write(db: sqlite3.Connection) -> Effect[None]:
        more = purge(db, spared) or shrink(db)
        reach("purge.before_commit")
        return lambda: reclaim(store, spared) if more else None

    # What is left when the shard closes goes after its next start.
    with suppress(EmbedderError):
        store.submit(write, frees=True)


def shrink(db: sqlite3.Connection) -> bool:
    """Take some free pages out of the file; False where there are few, or it cannot shrink."""
    free, pages = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("freelist_count", "page_count")
    )
    return free > max(FREE_PAGES, pages // FREE_SHARE) and release_free_pages(db, STEP_PAGES) > 0
