"""The changes to a shard: each checks what it is given, and becomes one write and its effect.

Knows nothing of searches.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.storage_errors import StaleCollection
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.checks import (
    byte_count,
    check_ids,
    check_kind,
    check_name,
    check_points,
    check_width,
)
from embedder.index.contract.filter_sql import to_sql
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import CollectionInfo, Deleted, Points, Spec, StoredModel
from embedder.index.reembedding import exchange
from embedder.index.segments.scoring import normalize
from embedder.index.shard import Shard
from embedder.index.storage import staging
from embedder.index.storage.committer import Effect
from embedder.index.storage.rows import encode
from embedder.index.storage.writes import (
    CollectionRow,
    delete,
    find_collection,
    find_pks,
    insert_collection,
    is_deleted,
    matching_pks,
    record_model,
    remember_deleted,
    rename_collection,
    upsert,
)

logger = logging.getLogger(__name__)

Choice = Callable[[sqlite3.Connection, CollectionRow], Sequence[int]]
"""Chooses the pks that are deleted, inside the transaction."""


def create(shard: Shard, name: str, spec: Spec) -> CollectionInfo:
    """Create a collection, or confirm one that is there and was made with the same."""
    check_name(name)
    check_kind(spec.kind, spec.metric)
    check_width(spec.width)
    byte_count(spec.model or "", "model")

    def write(db: sqlite3.Connection) -> Effect[OpenCollection]:
        row = find_collection(db, name) or insert_collection(db, name, spec)
        return lambda: shard.register(row)

    collection = shard.find_or_none(name)
    if collection is None:
        collection = shard.store.submit(write).result()
    _check_same(name, collection.spec, spec, collection.width)
    return collection.describe()


def record(shard: Shard, name: str, identity: str | None, model: StoredModel) -> CollectionInfo:
    """Record the model of texts in a collection that records none; the same again is confirmed."""

    def write(db: sqlite3.Connection) -> Effect[CollectionInfo]:
        row = staging.require_collection(db, name)
        # By the row: a collection that is made in the same transaction is not registered yet.
        if identity not in (None, row.identity):
            raise StaleCollection(name)
        after = record_model(db, row, model)

        def effect() -> CollectionInfo:
            collection = shard.find(name)
            _recorded(collection, row, after)
            return collection.describe()

        return effect

    shard.find_or_none(name)  # a damaged one takes no writes
    return shard.store.submit(write).result()


def drop(shard: Shard, name: str, identity: str | None = None) -> None:
    """Delete a collection with all its points; None is any identity.

    With an ``identity``, another shard has deleted that collection. A complete staged collection
    then replaces it: the other shard has switched to the staged one, or has deleted it as well.
    """
    byte_count(name, "collection")

    def write(db: sqlite3.Connection) -> Effect[None]:
        if is_deleted(db, identity):
            return lambda: None  # another caller was first
        row = staging.require_collection(db, name)
        if identity not in (None, row.identity):
            raise StaleCollection(name)
        staged = staging.find_staged(db, name)
        if identity is not None and staged is not None and staging.is_complete(db, row, staged):
            after = staging.promote(db, row, staged)
            return lambda: exchange(shard, shard.open(after))
        staging.discard(db, name)
        rename_collection(db, row, None)
        remember_deleted(db, row.identity)
        return lambda: shard.forget(name)

    shard.store.submit(write, frees=True).result()


def put(shard: Shard, name: str, points: Points, wanted: Spec) -> int:
    """Set all points or none, and return the sequence number; make the collection if need be.

    One that is there must have the identity of ``wanted``, and its model is recorded.
    """
    check_name(name)
    while True:
        collection = shard.find_or_none(name)
        if collection is not None:
            collection.check(wanted.identity, wanted.stored)
        metric = collection.metric if collection else wanted.metric
        width = collection.width if collection else wanted.width
        check_points(points, width=width, metric=metric)
        sequence = shard.store.submit(_upsert(shard, name, collection, points, wanted)).result()
        if sequence is not None:
            return sequence
        # Another collection has the name since: what was checked may not hold for its metric.


def delete_ids(shard: Shard, name: str, ids: Sequence[str]) -> Deleted:
    """Delete those of the points that are there."""
    check_ids(ids, "ids[{}]")
    shard.find(name)

    def choose(db: sqlite3.Connection, row: CollectionRow) -> Sequence[int]:
        return sorted(find_pks(db, row.id, set(ids)).values())

    return shard.store.submit(_delete(shard, name, choose), frees=True).result()


def delete_matching(shard: Shard, name: str, condition: Filter) -> Deleted:
    """Delete the points that meet a filter when the write is made."""
    shard.find(name)
    compiled = to_sql(condition, "metadata")

    def choose(db: sqlite3.Connection, row: CollectionRow) -> Sequence[int]:
        return matching_pks(db, row.id, compiled)

    return shard.store.submit(_delete(shard, name, choose), frees=True).result()


def _upsert(
    shard: Shard, name: str, checked: OpenCollection | None, points: Points, wanted: Spec
) -> Callable[[sqlite3.Connection], Effect[int | None]]:
    rows = encode(points)
    placed = normalize(checked.metric if checked else wanted.metric, rows.vectors)

    def write(db: sqlite3.Connection) -> Effect[int | None]:
        row = find_collection(db, name)
        if row is None and checked is None:
            row = insert_collection(db, name, wanted)
        elif row is None or checked is None or row.id != checked.id:
            return lambda: None if row is None else _register(shard, row)
        staging.refuse_if_frozen(db, name)
        pks, after = upsert(db, record_model(db, row, wanted.stored), rows)

        def effect() -> int:
            # Without its width: with one, its rows would be read back from the file.
            collection = checked or shard.register(replace(row, width=None))
            _recorded(collection, row, after)
            with shard.reloading(collection):
                collection.put(pks, after.sequence, rows.ids, placed)
            shard.notify_if_changed(collection)
            return after.sequence

        return effect

    return write


def _delete(
    shard: Shard, name: str, choose: Choice
) -> Callable[[sqlite3.Connection], Effect[Deleted]]:
    def write(db: sqlite3.Connection) -> Effect[Deleted]:
        row = staging.require_collection(db, name)
        staging.refuse_if_frozen(db, name)
        chosen = choose(db, row)
        staging.delete_points(db, name, chosen)
        pks, sequence = delete(db, row, chosen)

        def effect() -> Deleted:
            if len(pks):
                _remove(shard, name, pks, sequence)
            return Deleted(len(pks), sequence)

        return effect

    return write


def _remove(shard: Shard, name: str, pks: NDArray[np.int64], sequence: int) -> None:
    collection = shard.find(name)
    with shard.reloading(collection):
        collection.remove(pks, sequence)
    shard.notify_if_changed(collection)
    shard.reclaim()


def _register(shard: Shard, row: CollectionRow) -> None:
    # Its creation was committed, and may have failed to become visible.
    shard.register(row)


def _recorded(collection: OpenCollection, before: CollectionRow, after: CollectionRow) -> None:
    """Let a collection serve under the model that is recorded since this write."""
    if after.stored == before.stored:
        return
    collection.record(after)
    if before.count:
        logger.info(
            "collection %r has %d points and recorded no model; from now on its model is %s",
            *(after.name, before.count, after.stored),
        )


def _check_same(name: str, there: Spec, wanted: Spec, width: int | None) -> None:
    """Refuse to take a collection for another."""
    for field, asked, known in (
        ("metric", wanted.metric.value, there.metric.value),
        ("index", wanted.kind.value, there.kind.value),
        ("model", wanted.model, there.model),
        ("width", wanted.width, width),
    ):
        if asked is not None and asked != known:
            raise InvalidInput(field, f"is {asked}; {name!r} exists with {known}")
