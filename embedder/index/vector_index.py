"""The collections of one shard: created, filled, searched and kept, by name.

The front door of `embedder.index`: other modules do the work. Knows nothing of shards elsewhere,
nor of who calls.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.storage_errors import StorageDamaged
from embedder.index import changes
from embedder.index.backup import BackupManifest, back_up
from embedder.index.collection.lookup import Read, ReadT, read_current, records_by_id, scroll_page
from embedder.index.collection.searcher import Searcher, group_queries
from embedder.index.contract.checks import check_ids, check_query
from embedder.index.contract.filters import Filter
from embedder.index.contract.health import IndexHealth, IndexStats
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import (
    PAYLOAD,
    CollectionInfo,
    Deleted,
    Hit,
    Metric,
    Page,
    PointField,
    Points,
    Query,
    Record,
    Spec,
)
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.lifecycle import CollectionLifecycle
from embedder.index.parquet import export_parquet
from embedder.index.restoring import restore
from embedder.index.segments.segment import SearchParams
from embedder.index.shard import Shard
from embedder.settings.model import IndexSettings


class VectorIndex:
    """Keeps collections in ``settings.directory``, or until it is closed; safe from any thread.

    A write returns when it is durable and every later search sees it. Any method raises
    `StorageDamaged` once stored data turned out to be damaged; a write raises `StorageFull` or
    `StorageReadOnly` where it cannot be kept. Without ``background``, segments are merged and saved
    by `settle` alone. Making one raises `DirectoryInUse`, or `NewerFormat` for a later version's.
    """

    def __init__(self, settings: IndexSettings | None = None, *, background: bool = True) -> None:
        self._shard = Shard(settings or IndexSettings(), background=background)
        given = self._shard.settings
        self._effort = SearchParams(
            given.hnsw_search_effort, given.ivf_probes, given.search_threads
        )
        # Threads and files go with the object, or at the end of the process, if nobody closes it.
        self._closer = weakref.finalize(self, self._shard.close)

    def close(self) -> None:
        """Finish the queued writes and let another owner in; doing it twice is harmless."""
        self._closer()

    def create(
        self,
        name: str,
        metric: Metric = Metric.COSINE,
        *,
        kind: IndexKind = IndexKind.AUTO,
        width: int | None = None,
        model: str | None = None,
    ) -> CollectionInfo:
        """Create a collection, or confirm one that is there and was made with the same.

        Raises:
            InvalidInput: the name is not plain, the kind has no such metric, or the name is taken
                by a collection that is made otherwise.
        """
        return self.lifecycle.create(name, Spec(metric, kind, width, model))

    @property
    def lifecycle(self) -> CollectionLifecycle:
        """Return the calls about creations of collections and their models."""
        return CollectionLifecycle(self._shard, self._sound)

    def collections(self) -> list[CollectionInfo]:
        """Return what is known of every collection, by name."""
        with self._sound():
            served = self._shard.collections
            return [served[name].describe() for name in sorted(served)]

    def describe(self, name: str) -> CollectionInfo:
        """Return what is known of a collection; raise `UnknownCollection` without one."""
        with self._sound(name):
            return self._shard.find(name).describe()

    def delete(self, name: str) -> None:
        """Delete a collection with all its points.

        Raises:
            UnknownCollection: there is none of this name.
        """
        with self._sound(name):
            changes.drop(self._shard, name)

    def upsert(self, name: str, points: Points, spec: Spec | None = None) -> int:
        """Set points of a collection, made as ``spec`` says or with the cosine if it is not there.

        ``spec.stored`` is the model that computed the vectors. Returns the collection's sequence
        number. The same request again changes nothing.

        Raises:
            InvalidInput: a name, an id or a vector cannot be stored; nothing was stored.
            StaleCollection: the collection has another identity than ``spec``, or another model.
        """
        with self._sound(name):
            return changes.put(self._shard, name, points, spec or Spec())

    def delete_points(self, name: str, ids: Sequence[str]) -> Deleted:
        """Delete those of the points that are there.

        Raises:
            UnknownCollection: there is none of this name.
            InvalidInput: an id could never have been stored.
        """
        with self._sound(name):
            return changes.delete_ids(self._shard, name, ids)

    def delete_matching(self, name: str, condition: Filter) -> Deleted:
        """Delete all points that meet a filter, at one moment.

        Raises:
            UnknownCollection: there is none of this name.
        """
        with self._sound(name):
            return changes.delete_matching(self._shard, name, condition)

    def fetch(
        self,
        name: str,
        ids: Sequence[str],
        include: Sequence[PointField] = PAYLOAD,
        max_bytes: int | None = None,
    ) -> list[Record]:
        """Return those of the points that are stored, in the order asked for, each once.

        Raises:
            LimitExceeded: they take more than ``max_bytes`` in an answer as JSON.
            UnknownCollection: there is none of this name.
        """
        check_ids(ids, "ids[{}]")
        given = (ids, include, max_bytes)
        return self._read(name, lambda reader, one: records_by_id(reader, one, *given))

    def count(self, name: str, condition: Filter | None = None) -> int:
        """Return how many points there are, or how many meet a filter.

        Raises:
            UnknownCollection: there is none of this name.
        """
        if condition is None:
            return self.describe(name).count
        return self._read(name, lambda reader, one: reader.count(one.id, condition))

    def scroll(
        self,
        name: str,
        cursor: str | None = None,
        limit: int = 100,
        condition: Filter | None = None,
        include: Sequence[PointField] = PAYLOAD,
        max_bytes: int | None = None,
    ) -> Page:
        """Return the points behind a cursor of the page before, in the order of first insertion.

        Points that stay come exactly once, whatever is written. ``max_bytes`` ends a page earlier.

        Raises:
            UnknownCollection: there is none of this name.
            InvalidInput: the cursor is none of ours, or ``limit`` is not 1 to 1000.
        """
        budget = partial(ResponseBudget, include, max_bytes=max_bytes)
        read = partial(scroll_page, cursor=cursor, limit=limit, condition=condition)
        return self._read(
            name, lambda reader, one: read(reader, one, budget=budget(width=one.width))
        )

    def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Answer several queries, those that are alike by one FAISS call a segment.

        Raises:
            UnknownCollection: a query names a collection that is not there.
            NotFound: a query is by the id of a point that is not there.
            InvalidInput: a query's vector or numbers cannot be answered.
            StaleCollection: a query is for another identity or model than the collection has.
        """
        for query in queries:
            check_query(query)
        answers: list[list[Hit]] = [[] for _ in queries]
        for rows in group_queries(queries):
            stop_if_cancelled()
            found = self._answer([queries[row] for row in rows])
            for row, hits in zip(rows, found, strict=True):
                answers[row] = hits
        return answers

    def run_maintenance(self) -> None:
        """Merge and save now whatever is due, and return when nothing is."""
        with self._sound():
            for collection in self._shard.collections.values():
                while collection.maintain():
                    pass

    def optimize(self, name: str) -> None:
        """Merge all segments of a collection into one; raise `UnknownCollection` without one."""
        with self._sound(name):
            self._shard.find(name).merge_all()

    def snapshot(self, name: str) -> None:
        """Save all segments of a collection now, so that the next start reads no point anew.

        Raises:
            UnknownCollection: there is none of this name.
            StorageFull: the disk has no space for it; what was saved before is intact.
        """
        with self._sound(name):
            self._shard.save(self._shard.find(name))

    def back_up(self, name: str, directory: Path) -> BackupManifest:
        """Copy a collection, as it is at one moment, into a directory that does not exist yet.

        Raises:
            UnknownCollection: there is none of this name.
            NotWritten: the directory exists or cannot be written; nothing is left of the copy.
        """
        with self._sound(name):
            collection = self._shard.find(name)
            return back_up(self._shard.store.reader, name, collection.id, directory)

    def restore(
        self,
        directory: Path,
        name: str | None = None,
        identity: str | None = None,
        *,
        replacing: bool = False,
    ) -> CollectionInfo:
        """Make a collection of a backup, under its own name or another.

        With ``replacing`` it takes the place of a collection of the name, sound or damaged. It gets
        the ``identity``, the same in all shards; None: make one.

        Raises:
            BadBackup: the backup is not whole; nothing of it is kept.
            InvalidInput: the name is not plain, or taken and ``replacing`` is not set.
        """
        with self._sound():
            return restore(self._shard, directory, name, identity, replacing=replacing)

    def export_parquet(self, name: str, path: Path) -> int:
        """Write a collection, as it is at one moment, to a Parquet file; return its points.

        The columns are ``id``, ``vector``, ``text`` and ``metadata``, which is JSON.

        Raises:
            UnknownCollection: there is none of this name.
            MissingExtra: pyarrow is not installed.
            NotWritten: the file exists or cannot be written; nothing of it is left.
        """
        with self._sound(name):
            return export_parquet(self._shard.store.reader, name, self._shard.find(name).id, path)

    def health(self) -> IndexHealth:
        """Return whether the shard can be used, at once whatever else runs."""
        return self._shard.health()

    def stats(self) -> IndexStats:
        """Return how the shard is; of a failed one too."""
        return self._shard.stats()

    def _answer(self, queries: Sequence[Query]) -> list[list[Hit]]:
        given = (self._effort, self._shard.search_exclusively)
        name = queries[0].collection
        return self._read(name, lambda reader, one: Searcher(one, reader, *given).search(queries))

    def _read(self, name: str, read: Read[ReadT]) -> ReadT:
        with self._sound(name):
            return read_current(self._shard.find, name, self._shard.store.reader, read)

    @contextmanager
    def _sound(self, name: str = "") -> Iterator[None]:
        """Refuse a failed shard, and remember where it fails; ``name`` is whose rows are read."""
        self._shard.check()
        try:
            yield
        except StorageDamaged as error:
            named = error.of(name)
            self._shard.fail(named)
            raise named from error
