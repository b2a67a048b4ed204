"""Reads what all processes have changed in a collection since a write."""

from __future__ import annotations

from dataclasses import replace

from embedder.index.segments.scoring import normalize
from embedder.index.storage.change_log import Changes, PinnedReader
from embedder.index.storage.records import CollectionRow

MAX_PAGES = 64
"""Pages of some thousand points that are applied at once: 400 MB at 384 components."""


def read_pages(reader: PinnedReader, row: CollectionRow, after: int) -> list[Changes] | None:
    """Return all changes after a sequence number, with normalized vectors.

    None says that the collection must be loaded again: the changes are more than `MAX_PAGES`, the
    log has forgotten deletions, or the database has lost writes, as a standby that was promoted too
    early or a restored copy has.
    """
    pages: list[Changes] = []
    reached = after
    while reached < row.sequence:
        page = reader.changes(row.id, reached)
        if page is None or len(pages) == MAX_PAGES:
            return None
        pages.append(replace(page, vectors=normalize(row.metric, page.vectors)))
        reached = page.sequence
    return pages if reached == row.sequence else None
