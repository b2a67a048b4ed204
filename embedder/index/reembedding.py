"""The steps by which a shard takes part in giving a collection the vectors of another model.

Begin a draft, fill it, freeze it, switch to it; or discard it before the switch. The caller takes
each step in every shard, and in the first shard first: that shard decides whether the switch or the
discarding came first. Each step may be repeated. Knows nothing of models or of other shards.
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
from embedder.index.storage import drafts
from embedder.index.storage.committer import Effect
from embedder.index.storage.drafts import Outdated
from embedder.index.storage.failpoints import reach
from embedder.index.storage.writes import CollectionRow, insert_collection


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of a draft: its identity, which the collection gets, and its model."""

    identity: str
    stored: StoredModel


def exchange(shard: Shard, collection: OpenCollection) -> None:
    """Serve a collection that is open in the place of that of its name; each search has one."""
    old = shard.collections.get(collection.name)
    shard.adopt(collection)
    if old is not None:
        old.drop()
        shard.nudge(old)
    shard.reclaim()


class Reembedding:
    """The drafts of one shard; ``sound`` refuses a shard that has failed.

    Any step raises `UnknownCollection` without the collection, and `StaleCollection` where it or
    its draft has another identity.
    """

    def __init__(self, shard: Shard, sound: Callable[[str], AbstractContextManager[None]]) -> None:
        self._shard = shard
        self._sound = sound

    def without_text(self, name: str) -> int:
        """Return how many points of a collection have no text."""
        with self._sound(name), self._shard.truth.reader.snapshot() as db:
            return drafts.without_text(db, drafts.named(db, name))

    def draft(self, name: str) -> Draft | None:
        """Return what is known of the draft of a collection, None where there is none."""
        with self._sound(name), self._shard.truth.reader.snapshot() as db:
            row = drafts.find_draft(db, name)
            return None if row is None else _draft(row)

    def begin(self, name: str, source: str, spec: Spec) -> Draft:
        """Return the draft of the collection of identity ``source``, made if there is none."""

        def write(db: sqlite3.Connection) -> Effect[Draft]:
            if drafts.named(db, name).identity != source:
                raise StaleCollection(name)
            row = drafts.find_draft(db, name)
            if row is None:
                row = insert_collection(db, drafts.FILLED + name, spec)
            return lambda: _draft(row)

        with self._sound(name):
            return self._shard.truth.submit(write).result()

    def outdated(self, name: str, identity: str, after: int) -> list[Outdated]:
        """Return points with a pk above ``after`` whose present texts the draft has no vectors of.

        By ascending pk; none where it has all.
        """
        with self._sound(name), self._shard.truth.reader.snapshot() as db:
            return drafts.outdated(db, *_both(db, name, identity), after)

    def fill(self, name: str, identity: str, points: Sequence[Outdated], vectors: Vectors) -> None:
        """Set the vectors float32[n, width] of points in the draft.

        Raises:
            InvalidInput: a vector cannot be stored.
        """

        def write(db: sqlite3.Connection) -> Effect[None]:
            source, draft = _both(db, name, identity)
            ids, none = [one.id for one in points], [None] * len(points)
            given = Points(ids, vectors, none, [{}] * len(points))
            check_points(given, width=draft.width, metric=draft.metric)
            drafts.fill(db, source, draft, points, vectors)
            return lambda: None

        with self._sound(name):
            self._shard.truth.submit(write).result()

    def freeze(self, name: str, identity: str, dropping: bool) -> None:
        """Let the collection take no writes until its draft has replaced it.

        Raises:
            InvalidInput: points have no text, and ``dropping`` is not set.
        """

        def write(db: sqlite3.Connection) -> Effect[None]:
            drafts.freeze(db, *_both(db, name, identity), dropping=dropping)
            return lambda: None

        with self._sound(name):
            self._shard.truth.submit(write).result()

    def switch(self, name: str, identity: str) -> None:
        """Let the draft replace its collection, at one moment for all that is asked of the shard.

        Raises:
            Unavailable: the draft is not frozen, or lacks points.
        """
        with self._sound(name):
            with self._shard.truth.reader.snapshot() as db:
                if drafts.named(db, name).identity == identity:
                    return  # switched before
                source, draft = _both(db, name, identity)
                row = replace(draft, name=name, sequence=source.sequence)
            # Searchable before it has the name, so that the writer waits for nothing.
            collection = self._shard.open(row)
            reach("reembed.before_switch")

            def write(db: sqlite3.Connection) -> Effect[None]:
                source, draft = _both(db, name, identity)
                if not drafts.is_complete(db, source, draft):
                    raise Unavailable(f"the new vectors of collection {name!r} are not complete")
                drafts.promote(db, source, draft)
                return lambda: exchange(self._shard, collection)

            self._shard.truth.submit(write).result()

    def discard(self, name: str, identity: str) -> None:
        """Delete the draft of this identity, if there is one, and take writes again.

        Raises:
            InvalidInput: it has replaced its collection.
        """

        def write(db: sqlite3.Connection) -> Effect[None]:
            if drafts.named(db, name).identity == identity:
                raise InvalidInput("collection", "has its new vectors already")
            draft = drafts.find_draft(db, name)
            if draft is not None and draft.identity == identity:
                drafts.discard(db, name)
            return self._shard.reclaim

        with self._sound(name):
            self._shard.truth.submit(write, frees=True).result()


def _both(db: sqlite3.Connection, name: str, identity: str) -> tuple[CollectionRow, CollectionRow]:
    """Return a collection and its draft."""
    source, draft = drafts.named(db, name), drafts.find_draft(db, name)
    if draft is None or draft.identity != identity:
        raise StaleCollection(name)
    return source, draft


def _draft(row: CollectionRow) -> Draft:
    assert row.stored is not None, "a draft is begun with its model"
    return Draft(row.identity, row.stored)
