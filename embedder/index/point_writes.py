"""Upsert and delete points: each request is checked, committed as one write, and made visible."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.checks import check_ids, check_name, check_points
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Deleted, Points, Spec
from embedder.index.lifecycle import follow_model
from embedder.index.segments.scoring import normalize
from embedder.index.shard import Shard
from embedder.index.storage import staging
from embedder.index.storage.change_log import Changes
from embedder.index.storage.protocol import Effect, Transaction, Write
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import encode

logger = logging.getLogger(__name__)

Choice = Callable[[Transaction, CollectionRow], Sequence[int]]
"""Selects the pks to delete, inside the transaction."""


def upsert(shard: Shard, name: str, points: Points, spec: Spec | None = None) -> int:
    """Store points; create a missing collection as ``spec`` says, by default with cosine.

    An existing collection must have the identity and the model of ``spec``, if these are given;
    ``spec.stored`` is the model that computed the vectors. Return the collection's sequence
    number. Repeating a request does not change the points.

    Raises:
        InvalidInput: the name, an id or a vector is invalid; nothing was stored.
        StaleCollection: the collection has another identity or another model than ``spec``.
    """
    spec = spec or Spec()
    check_name(name)
    try:
        collection = _checked(shard, name, points, spec)
    except (InvalidInput, StaleCollection):
        # Another process may have created or replaced the collection.
        shard.follow([name])
        collection = _checked(shard, name, points, spec)
    while True:
        sequence = shard.commit(_upsert(shard, name, collection, points, spec))
        if sequence is not None:
            return sequence
        # Another collection has taken the name: check the points against its metric and width.
        shard.follow([name])
        collection = _checked(shard, name, points, spec)


def delete_points(shard: Shard, name: str, ids: Sequence[str]) -> Deleted:
    """Delete the points that have one of the ids.

    Raises:
        InvalidInput: an id is invalid.
    """
    check_ids(ids, "ids[{}]")

    distinct = list(dict.fromkeys(ids))
    return _delete(shard, name, lambda rows, row: rows.find_pks(row.id, distinct))


def delete_documents(shard: Shard, name: str, documents: Sequence[str]) -> Deleted:
    """Delete the chunks of documents, and points with the ids of these, as one write.

    Raises:
        InvalidInput: an id is invalid.
    """
    check_ids(documents, "documents[{}]")
    distinct = list(dict.fromkeys(documents))
    return _delete(shard, name, lambda rows, row: _document_pks(rows, row.id, distinct))


def delete_matching(shard: Shard, name: str, condition: Filter) -> Deleted:
    """Delete all points that meet a filter at the time of the write, atomically."""
    return _delete(shard, name, lambda rows, row: rows.matching_pks(row.id, condition))


def _checked(shard: Shard, name: str, points: Points, spec: Spec) -> OpenCollection | None:
    """Check points against the collection as it is open, and return it."""
    collection = shard.find_or_none(name)
    if collection is not None:
        collection.check(spec.identity, spec.stored)
    metric = collection.metric if collection else spec.metric
    width = collection.width if collection else spec.width
    check_points(points, width=width, metric=metric)
    return collection


def _upsert(
    shard: Shard, name: str, checked: OpenCollection | None, points: Points, spec: Spec
) -> Write[int | None]:
    """Return the write; its result is None if ``checked`` is no longer the collection."""
    encoded = encode(points)
    vectors = normalize(checked.metric if checked else spec.metric, encoded.vectors)

    def write(rows: Transaction) -> Effect[int | None]:
        row = rows.find_collection(name)
        if row is None and checked is None:
            row = rows.insert_collection(name, spec)
        elif row is None or checked is None or row.id != checked.id:
            return lambda: None if row is None else _register(shard, row)
        staging.refuse_if_frozen(rows, name)
        pks, updated = rows.upsert(row.with_model(spec.stored), encoded)
        changes = Changes.of_upsert(rows.history, updated.sequence, pks, encoded.ids, vectors)
        if points.documents:
            earlier = set(_document_pks(rows, row.id, points.documents))
            if gone := sorted(earlier.difference(pks.tolist())):
                staging.delete_points(rows, row, gone)
                updated = rows.delete(updated, gone)
                changes = changes.with_deletion(updated.sequence, gone)

        def effect() -> int:
            # Without a width, the new collection does not read these rows from the file again.
            collection = checked or shard.register(replace(row, width=None))
            follow_model(collection, row, updated)
            with _reloading(shard, collection):
                collection.apply(changes)
            shard.collections.notify_if_changed(collection)
            if len(changes.deleted):
                shard.reclaim()
            return updated.sequence

        return effect

    return write


def _document_pks(rows: Transaction, collection: int, documents: Sequence[str]) -> list[int]:
    """Return the pks of the chunks of documents, and of points with the ids of these."""
    plain = rows.find_pks(collection, documents)
    return sorted({*plain, *rows.chunk_pks(collection, documents)})


def _register(shard: Shard, row: CollectionRow) -> None:
    # The collection was committed, but the effect that makes it available may have failed. With a
    # log, it may also be large, and the caller follows.
    if shard.store.log is None:
        shard.register(row)


def _delete(shard: Shard, name: str, choose: Choice) -> Deleted:
    def write(rows: Transaction) -> Effect[Deleted]:
        row = staging.require_collection(rows, name)
        staging.refuse_if_frozen(rows, name)
        chosen = choose(rows, row)
        staging.delete_points(rows, row, chosen)
        sequence, history = rows.delete(row, chosen).sequence, rows.history

        def effect() -> Deleted:
            collection = shard.collections.find(name)
            if chosen and collection is not None and collection.id == row.id:
                with _reloading(shard, collection):
                    collection.apply(Changes.of_deletion(history, sequence, chosen))
                shard.collections.notify_if_changed(collection)
                shard.reclaim()
            return Deleted(len(chosen), sequence)

        return effect

    shard.find(name)  # raises if the collection is unknown or damaged
    return shard.commit(write, frees=True)


@contextmanager
def _reloading(shard: Shard, collection: OpenCollection) -> Iterator[None]:
    """Load a collection again if the block fails to make a committed write visible."""
    try:
        yield
    except Exception:
        try:
            with suppress(UnknownCollection):
                collection.reload()
        except Unavailable:
            logger.warning("collection %r: the next read applies the write", collection.name)
        except Exception as error:  # noqa: BLE001 - its index is out of date: close it
            problem = f"committed writes are not searchable until a restart: {error!r}"
            location = shard.store.reader.location
            shard.fail(StorageDamaged(location, problem, collection.name))
        raise
