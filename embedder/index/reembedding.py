"""The steps of one shard to replace the vectors of a collection by those of another model.

Begin a staged collection, fill it, freeze it, and switch to it; or discard it before the switch.
The caller takes each step in every shard, and in the first shard first: that shard decides whether
a concurrent switch or discard wins. Each step may be repeated. A step raises `StaleCollection` if
the collection or its staged collection has another identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedder.core.errors import InvalidInput, Unavailable
from embedder.core.storage_errors import StaleCollection
from embedder.core.types import Vectors
from embedder.index.contract.checks import check_points
from embedder.index.contract.points import Points, Spec, StoredModel
from embedder.index.contract.sparse import SparseVector
from embedder.index.shard import Shard
from embedder.index.storage import staging
from embedder.index.storage.failpoints import reach
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.records import CollectionRow, OutdatedPoint


@dataclass(frozen=True, slots=True)
class StagedCollection:
    """The identity and the model that a collection has after the switch."""

    identity: str
    stored: StoredModel


def count_without_text(shard: Shard, name: str) -> int:
    """Return how many points of the collection have no text."""
    with shard.store.reader.snapshot() as rows:
        return rows.count_without_text(staging.require_collection(rows, name).id)


def staged(shard: Shard, name: str) -> StagedCollection | None:
    """Return the identity and model of the staged collection, or None."""
    with shard.store.reader.snapshot() as rows:
        row = staging.find_staged(rows, name)
        return None if row is None else _staged(row)


def begin_staged(shard: Shard, name: str, source: str, spec: Spec) -> StagedCollection:
    """Return the staged collection of a collection; create it if it is missing.

    Raises:
        StaleCollection: the collection does not have the identity ``source``.
    """

    def write(rows: Transaction) -> Effect[StagedCollection]:
        if staging.require_collection(rows, name).identity != source:
            raise StaleCollection(name)
        row = staging.find_staged(rows, name)
        if row is None:
            row = rows.insert_collection(staging.FILLING_PREFIX + name, spec)
        return lambda: _staged(row)

    return shard.commit(write)


def outdated(shard: Shard, name: str, identity: str, after: int) -> list[OutdatedPoint]:
    """Return points whose current text has no vector in the staged collection.

    Return one page by ascending pk, starting above ``after``; an empty page is the last one.
    """
    with shard.store.reader.snapshot() as rows:
        source, copy = _both(rows, name, identity)
        return rows.outdated(source.id, copy.id, after)


def fill_staged(
    shard: Shard,
    name: str,
    identity: str,
    points: Sequence[OutdatedPoint],
    vectors: Vectors,
    sparse: Sequence[SparseVector | None] = (),
) -> None:
    """Set the vectors float32[n, width] of points in the staged collection.

    ``sparse`` has the sparse vector of each point, or nothing if no point has one.

    Raises:
        InvalidInput: a vector cannot be stored.
    """

    def write(rows: Transaction) -> Effect[None]:
        source, copy = _both(rows, name, identity)
        ids, none = [one.id for one in points], [None] * len(points)
        given = Points(ids, vectors, none, [{}] * len(points), sparse=sparse)
        check_points(given, width=copy.width, metric=copy.metric)
        staging.fill(rows, source, copy, points, vectors, sparse or none)
        return lambda: None

    shard.commit(write)


def freeze(shard: Shard, name: str, identity: str, dropping: bool) -> None:
    """Block writes to the collection until its staged collection replaces it.

    Raises:
        InvalidInput: points have no text, and ``dropping`` is not set.
    """

    def write(rows: Transaction) -> Effect[None]:
        staging.freeze(rows, *_both(rows, name, identity), dropping=dropping)
        return lambda: None

    shard.commit(write)


def switch(shard: Shard, name: str, identity: str) -> None:
    """Replace the collection by its staged collection, atomically for all callers.

    Raises:
        Unavailable: the staged collection is not frozen, or lacks points.
    """
    with shard.store.reader.snapshot() as rows:
        if staging.require_collection(rows, name).identity == identity:
            return  # an earlier call has switched
        source, copy = _both(rows, name, identity)
        row = replace(copy, name=name, sequence=source.sequence)
    # Loaded before the switch, so that the writer does not wait for it.
    collection = shard.open(row)
    reach("reembed.before_switch")

    def write(rows: Transaction) -> Effect[None]:
        source, copy = _both(rows, name, identity)
        if not staging.is_complete(rows, source, copy):
            raise Unavailable(f"the new vectors of collection {name!r} are not complete")
        staging.promote(rows, source, copy)
        return lambda: shard.replace(collection)

    shard.commit(write)


def discard_staged(shard: Shard, name: str, identity: str) -> None:
    """Delete the staged collection of this identity, if there is one, and unblock writes.

    Raises:
        InvalidInput: it has already replaced the collection.
    """

    def write(rows: Transaction) -> Effect[None]:
        if staging.require_collection(rows, name).identity == identity:
            raise InvalidInput("collection", "has its new vectors already")
        copy = staging.find_staged(rows, name)
        if copy is not None and copy.identity == identity:
            staging.discard(rows, name)
        return shard.reclaim

    shard.commit(write, frees=True)


def _both(rows: Snapshot, name: str, identity: str) -> tuple[CollectionRow, CollectionRow]:
    """Return a collection and its staged collection, which must have this identity."""
    source, copy = staging.require_collection(rows, name), staging.find_staged(rows, name)
    if copy is None or copy.identity != identity:
        raise StaleCollection(name)
    return source, copy


def _staged(row: CollectionRow) -> StagedCollection:
    assert row.stored is not None, "a staged collection is created with its model"
    return StagedCollection(row.identity, row.stored)
