"""The collections of one shard by name: the in-process interface of the index."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from embedder.core.cancellation import stop_if_cancelled
from embedder.index import point_writes
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
from embedder.index.reembedding import Reembedding
from embedder.index.restoring import restore
from embedder.index.segments.segment import SearchParams
from embedder.index.shard import Shard
from embedder.settings.model import IndexSettings


class VectorIndex:
    """Keeps collections in ``settings.directory``, or until it is closed; safe from any thread.

    A write returns when it is durable and visible to every later search. Without ``background``,
    only `run_maintenance` merges and saves segments.

    Raises:
        DirectoryInUse, NewerFormat: at creation, if it has an owner, or a later version wrote it.
        UnknownCollection: in each method with a name, if no collection has it.
        StorageDamaged: in any method, if stored data is damaged.
        StorageFull, StorageReadOnly: in a write, if the disk is full, has failed or is read-only.
        NotWritten: in a backup or export, if the target exists or cannot be written.
    """

    def __init__(self, settings: IndexSettings | None = None, *, background: bool = True) -> None:
        self._shard = Shard(settings or IndexSettings(), background=background)
        self.lifecycle = CollectionLifecycle(self._shard)
        self.reembedding = Reembedding(self._shard)
        given = self._shard.settings
        self._search_params = SearchParams(
            given.hnsw_ef_search, given.ivf_probes, given.search_threads
        )
        # Without a call of `close`, runs when the object is collected or the process ends.
        self._closer = weakref.finalize(self, self._shard.close)

    def close(self) -> None:
        """Finish the queued writes and release the directory; idempotent."""
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
        """Create a collection, as `CollectionLifecycle.create`."""
        return self.lifecycle.create(name, Spec(metric, kind, width, model))

    def collections(self) -> list[CollectionInfo]:
        """Return descriptions of all collections, by name."""
        with self._shard.guard():
            collections = self._shard.collections.open
            return [collections[name].describe() for name in sorted(collections)]

    def describe(self, name: str) -> CollectionInfo:
        """Return the description of a collection."""
        with self._shard.guard(name):
            return self._shard.find(name).describe()

    def delete(self, name: str) -> None:
        """Delete a collection with all its points."""
        self.lifecycle.delete(name)

    def upsert(self, name: str, points: Points, spec: Spec | None = None) -> int:
        """Store points; create a missing collection as ``spec`` says, by default with cosine.

        ``spec.stored`` is the model that computed the vectors. Return the collection's sequence
        number. Repeating a request does not change the points.

        Raises:
            InvalidInput: the name, an id or a vector is invalid; nothing was stored.
            StaleCollection: the collection has another identity or another model than ``spec``.
        """
        with self._shard.guard(name):
            return point_writes.upsert_points(self._shard, name, points, spec or Spec())

    def delete_points(self, name: str, ids: Sequence[str]) -> Deleted:
        """Delete the points that have one of the ids; raise `InvalidInput` for an invalid id."""
        with self._shard.guard(name):
            return point_writes.delete_by_ids(self._shard, name, ids)

    def delete_matching(self, name: str, condition: Filter) -> Deleted:
        """Delete all points that meet a filter, atomically."""
        with self._shard.guard(name):
            return point_writes.delete_matching(self._shard, name, condition)

    def fetch(
        self,
        name: str,
        ids: Sequence[str],
        include: Sequence[PointField] = PAYLOAD,
        max_bytes: int | None = None,
    ) -> list[Record]:
        """Return the stored points among the ids, in the order of the ids, each once.

        Raises:
            LimitExceeded: the points take more than ``max_bytes`` in a response as JSON.
        """
        check_ids(ids, "ids[{}]")
        given = (ids, include, max_bytes)
        return self._read(name, lambda reader, one: records_by_id(reader, one, *given))

    def count(self, name: str, condition: Filter | None = None) -> int:
        """Return the number of points, or of those that meet a filter."""
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
        """Return the page of points after the cursor of the previous page, in insertion order.

        Points that are not deleted meanwhile come exactly once. ``max_bytes`` may end a page early.

        Raises:
            InvalidInput: the cursor is invalid, or ``limit`` is not 1 to 1000.
        """
        given = (cursor, limit, condition)
        budget = partial(ResponseBudget, include, max_bytes=max_bytes)
        return self._read(
            name, lambda db, one: scroll_page(db, one, *given, budget(width=one.width))
        )

    def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of each query; similar queries share one FAISS call per segment.

        Raises:
            NotFound: a query is by the id of a point that does not exist.
            InvalidInput: a vector or a parameter of a query is invalid.
            StaleCollection: the collection has another identity or model than a query states.
        """
        for query in queries:
            check_query(query)
        answers: list[list[Hit]] = [[] for _ in queries]
        for rows in group_queries(queries):
            stop_if_cancelled()
            found = self._search_group([queries[row] for row in rows])
            for row, hits in zip(rows, found, strict=True):
                answers[row] = hits
        return answers

    def run_maintenance(self) -> None:
        """Merge and save all segments that are due, and return when none is left."""
        with self._shard.guard():
            for collection in self._shard.collections.open.values():
                while collection.maintain():
                    pass

    def optimize(self, name: str) -> None:
        """Merge all segments of a collection into one."""
        with self._shard.guard(name):
            self._shard.find(name).merge_all()

    def snapshot(self, name: str) -> None:
        """Save all segments of a collection, so that the next start need not rebuild them."""
        with self._shard.guard(name):
            self._shard.save(self._shard.find(name))

    def back_up(self, name: str, directory: Path) -> BackupManifest:
        """Copy a collection, as it is at one moment, into a directory that does not exist."""
        with self._shard.guard(name):
            self._shard.find(name)
            return back_up(self._shard.store.reader, name, directory)

    def restore(
        self,
        directory: Path,
        name: str | None = None,
        identity: str | None = None,
        *,
        replacing: bool = False,
    ) -> CollectionInfo:
        """Create a collection from a backup; None is the name in the backup, and a new identity.

        With ``replacing``, it replaces an existing collection of the name, even a damaged one.

        Raises:
            BadBackup: the backup is damaged or incomplete; nothing of it is kept.
            InvalidInput: the name is invalid, or is taken and ``replacing`` is not set.
        """
        with self._shard.guard():
            return restore(self._shard, directory, name, identity, replacing=replacing)

    def export_parquet(self, name: str, path: Path) -> int:
        """Write a collection, as it is at one moment, to a Parquet file; return its points.

        The columns are ``id``, ``vector``, ``text`` and ``metadata`` (JSON). Without pyarrow, raise
        `MissingExtra`.
        """
        with self._shard.guard(name):
            self._shard.find(name)
            return export_parquet(self._shard.store.reader, name, path)

    def health(self) -> IndexHealth:
        """Return whether the shard can be used, without waiting for anything."""
        return self._shard.health()

    def stats(self) -> IndexStats:
        """Return the health and the counters of the shard, even if it has failed."""
        return self._shard.stats()

    def _search_group(self, queries: Sequence[Query]) -> list[list[Hit]]:
        given = (self._search_params, self._shard.store.run_exclusively)
        name = queries[0].collection
        return self._read(name, lambda reader, one: Searcher(one, reader, *given).search(queries))

    def _read(self, name: str, read: Read[ReadT]) -> ReadT:
        with self._shard.guard(name):
            return read_current(self._shard.find, name, self._shard.store.reader, read)
