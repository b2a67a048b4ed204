"""Give a complete restored or copied collection its name.

The shards do this at different moments. Meanwhile a service that finds the collection in one shard
creates it in the others, so that a shard may already have points of clients in it.
"""

from __future__ import annotations

from dataclasses import replace

from embedder.core.errors import InvalidInput
from embedder.core.storage_errors import StaleCollection
from embedder.index.storage import staging
from embedder.index.storage.change_log import Changes
from embedder.index.storage.protocol import Transaction
from embedder.index.storage.records import CollectionRow

Published = tuple[CollectionRow, list[Changes]]
"""A collection with its name, and the writes that stored in it what a service has written."""


def publish(
    rows: Transaction, row: CollectionRow, name: str, taken: InvalidInput | None
) -> Published:
    """Give a collection its name; it takes over the points of one with the same identity.

    Another collection of the name is deleted, unless ``taken`` is the error that refuses it.

    Raises:
        InvalidInput: ``taken``.
        StaleCollection: the collection was deleted meanwhile, or has recorded another model.
    """
    existing = rows.find_collection(name)
    if rows.deleted_among([row.identity]):
        raise StaleCollection(name)
    changes: list[Changes] = []
    if existing is not None:
        staging.discard(rows, name)
        if existing.identity == row.identity:
            row, changes = _take_over(rows, existing, row)
        elif taken is None:
            rows.delete_collection(existing)
        else:
            raise taken
    return rows.update_collection(replace(row, name=name)), changes


def _take_over(rows: Transaction, existing: CollectionRow, row: CollectionRow) -> Published:
    row, changes = row.with_model(existing.stored), []
    for chunk in rows.scan(existing):
        pks, row = rows.upsert(row, chunk)
        written = (rows.history, row.sequence)
        changes.append(Changes.of_upsert(*written, pks, chunk.ids, chunk.vectors))
    # Not `delete_collection`, which would record the identity of both as deleted.
    rows.update_collection(replace(existing, name=None))
    return row, changes
