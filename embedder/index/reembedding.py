"""The steps of one shard to replace the vectors of a collection by those of another model.

Begin a staged collection, fill it, freeze it, and switch to it; or discard it before the switch.
The caller takes each step in every shard, and in the first shard first: that shard decides whether
a concurrent switch or discard wins. Each step may be repeated.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from embedder.core.errors import InvalidInput, Unavailable
from embedder.core.storage_errors import StaleCollection
from embedder.core.types import Vectors
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.checks import check_points
from embedder.index.contract.points import Points, Spec, StoredModel
from embedder.index.shard import Shard
from embedder.index.storage import staging
from embedder.index.storage.committer import Effect
from embedder.index.storage.failpoints import reach
from embedder.index.storage.staging import OutdatedPoint
from embedder.index.storage.writes import CollectionRow, insert_collection


@dataclass(frozen=True, slots=True)
class StagedCollection:
    """The identity and the model that a collection has after the switch."""

    identity: str
    stored: StoredModel


def exchange(shard: Shard, collection: OpenCollection) -> None:
    """Serve a collection that is open in the place of that of its name; each search has one."""
    old = shard.collections.get(collection.name)
    shard.adopt(collection)
    if old is not None:
        old.drop()
        shard.notify_maintenance(old)
    shard.reclaim()


class Reembedding:
    """The staged collections of one shard; ``sound`` refuses a shard that has failed.

    Any step raises `UnknownCollection` without the collection, and `StaleCollection` where it or
    its staged has another identity.
    """

    def __init__(self, shard: Shard, sound: Callable[[str], AbstractContextManager[None]]) -> None:
        self._shard = shard
        self._sound = sound

    def count_without_text(self, name: str) -> int:
        """Return how many points of a collection have no text."""
        with self._sound(name), self._shard.store.reader.snapshot() as db:
            return staging.count_without_text(db, staging.require_collection(db, name))

    def staged(self, name: str) -> StagedCollection | None:
        """Return the identity and model of the staged collection, or None."""
        with self._sound(name), self._shard.store.reader.snapshot() as db:
            row = staging.find_staged(db, name)
            return None if row is None else _staged(row)

    def begin(self, name: str, source: str, spec: Spec) -> StagedCollection:
        """Return the staged collection of a collection; create it if it is missing.

        Raises:
            StaleCollection: the collection does not have the identity ``source``.
        """

        def write(db: sqlite3.Connection) -> Effect[StagedCollection]:
            if staging.require_collection(db, name).identity != source:
                raise StaleCollection(name)
            row = staging.find_staged(db, name)
            if row is None:
                row = insert_collection(db, staging.FILLING_PREFIX + name, spec)
            return lambda: _staged(row)

        with self._sound(name):
            return self._shard.store.submit(write).result()

    def outdated(self, name: str, identity: str, after: int) -> list[OutdatedPoint]:
        """Return points whose current text has no vector in the staged collection.

        Return one page by ascending pk, starting above ``after``; an empty page is the last one.
        """
        with self._sound(name), self._shard.store.reader.snapshot() as db:
            return staging.outdated(db, *_both(db, name, identity), after)

    def fill(
        self, name: str, identity: str, points: Sequence[OutdatedPoint], vectors: Vectors
    ) -> None:
        """Set the vectors float32[n, width] of points in the staged collection.

        Raises:
            InvalidInput: a vector cannot be stored.
        """

        def write(db: sqlite3.Connection) -> Effect[None]:
            source, staged = _both(db, name, identity)
            ids, none = [one.id for one in points], [None] * len(points)
            given = Points(ids, vectors, none, [{}] * len(points))
            check_points(given, width=staged.width, metric=staged.metric)
            staging.fill(db, source, staged, points, vectors)
            return lambda: None

        with self._sound(name):
            self._shard.store.submit(write).result()

    def freeze(self, name: str, identity: str, dropping: bool) -> None:
        """Let the collection take no writes until its staged collection has replaced it.

        Raises:
            InvalidInput: points have no text, and ``dropping`` is not set.
        """

        def write(db: sqlite3.Connection) -> Effect[None]:
            staging.freeze(db, *_both(db, name, identity), dropping=dropping)
            return lambda: None

        with self._sound(name):
            self._shard.store.submit(write).result()

    def switch(self, name: str, identity: str) -> None:
        """Replace the collection by its staged collection, atomically for all callers.

        Raises:
            Unavailable: the staged is not frozen, or lacks points.
        """
        with self._sound(name):
            with self._shard.store.reader.snapshot() as db:
                if staging.require_collection(db, name).identity == identity:
                    return  # switched before
                source, staged = _both(db, name, identity)
                row = replace(staged, name=name, sequence=source.sequence)
            # Searchable before it has the name, so that the writer waits for nothing.
            collection = self._shard.open(row)
            reach("reembed.before_switch")

            def write(db: sqlite3.Connection) -> Effect[None]:
                source, staged = _both(db, name, identity)
                if not staging.is_complete(db, source, staged):
                    raise Unavailable(f"the new vectors of collection {name!r} are not complete")
                staging.promote(db, source, staged)
                return lambda: exchange(self._shard, collection)

            self._shard.store.submit(write).result()

    def discard(self, name: str, identity: str) -> None:
        """Delete the staged collection of this identity, if there is one, and take writes again.

        Raises:
            InvalidInput: it has replaced its collection.
        """

        def write(db: sqlite3.Connection) -> Effect[None]:
            if staging.require_collection(db, name).identity == identity:
                raise InvalidInput("collection", "has its new vectors already")
            staged = staging.find_staged(db, name)
            if staged is not None and staged.identity == identity:
                staging.discard(db, name)
            return self._shard.reclaim

        with self._sound(name):
            self._shard.store.submit(write, frees=True).result()


def _both(db: sqlite3.Connection, name: str, identity: str) -> tuple[CollectionRow, CollectionRow]:
    """Return a collection and its staged collection."""
    source, staged = staging.require_collection(db, name), staging.find_staged(db, name)
    if staged is None or staged.identity != identity:
        raise StaleCollection(name)
    return source, staged


def _staged(row: CollectionRow) -> StagedCollection:
    assert row.stored is not None, "a staged is begun with its model"
    return StagedCollection(row.identity, row.stored)
