"""The index: its methods, stated once, and its implementation by one shard.

A method is a function of a shard, in the file of its subject. A replica, its clients and the index
of several shards take the methods from `VectorIndex`, with these signatures.
"""

from __future__ import annotations

import threading
import weakref
from _thread import start_new_thread
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from embedder.index import (
    backup,
    lifecycle,
    parquet,
    point_reads,
    point_writes,
    posting_reads,
    reembedding,
)
from embedder.index.contract.health import IndexHealth, IndexStats, health_of
from embedder.index.shard import Shard
from embedder.measurements.index import CommitStats, StoreMeasurements
from embedder.settings.model import IndexSettings

P = ParamSpec("P")
T = TypeVar("T")


def _of_shard(
    work: Callable[Concatenate[Shard, P], T],
) -> Callable[Concatenate[VectorIndex, P], T]:
    """Return a method that works on the shard of the index, unless the shard has failed."""

    @wraps(work)
    def method(index: VectorIndex, /, *arguments: P.args, **named: P.kwargs) -> T:
        with index._shard.guard():
            return work(index._shard, *arguments, **named)

    return method


def _of_collection(
    work: Callable[Concatenate[Shard, str, P], T],
) -> Callable[Concatenate[VectorIndex, str, P], T]:
    """Return a method as `_of_shard`, which records damage that it finds for the collection."""

    @wraps(work)
    def method(index: VectorIndex, name: str, /, *arguments: P.args, **named: P.kwargs) -> T:
        with index._shard.guard(name):
            return work(index._shard, name, *arguments, **named)

    return method


def _close_unused(shard: Shard) -> None:
    """Close the shard of an index that was collected, or that is open when the process ends.

    The collector runs in any thread: in the writer of this shard it would close the connection
    in the middle of a statement, and wait for itself. `threading.Thread` would take a lock that the
    interrupted code may hold.
    """
    if threading.current_thread() is threading.main_thread():
        shard.close()
    else:
        start_new_thread(shard.close, ())


class VectorIndex:
    """Keeps collections in a store; safe from any thread.

    The store is the database of ``settings.url``, which several processes may open and write, or
    else the files in ``settings.directory``, or those of a temporary one. A write returns when it
    is durable and visible to every later read of any process. Only reads that ask for ``stale``
    results may miss writes of the last seconds; without the database they still answer as far as
    they need no stored rows. Without ``background``,
    only `run_maintenance` merges and saves segments. The index may be one of ``shards``, and
    ``name`` tells it from the others in backups.

    Raises:
        DirectoryInUse, NewerFormat: at creation, if it has an owner, or a later version wrote it.
        UnknownCollection: in each method with a name, if no collection has it.
        StorageDamaged: in any method, if stored data is damaged.
        StageUnavailable: in any method, if the database does not answer.
        StorageFull, StorageReadOnly: in a write, if the disk is full, has failed or is read-only.
        NotWritten: in a backup or export, if the target exists or cannot be written.
    """

    def __init__(
        self,
        settings: IndexSettings | None = None,
        name: str = "",
        shards: int = 1,
        *,
        background: bool = True,
    ) -> None:
        self._shard = Shard(settings or IndexSettings(), name, shards, background=background)
        if self._shard.opened is not None:
            self._shard.opened.index_postings()  # of an earlier version
        self._closer = weakref.finalize(self, _close_unused, self._shard)

    def close(self) -> None:
        """Finish the queued writes and release the directory; idempotent."""
        if self._closer.detach() is not None:
            self._shard.close()

    create = _of_collection(lifecycle.create)
    record_model = _of_collection(lifecycle.record_model)
    delete = _of_collection(lifecycle.delete)
    deleted = _of_shard(lifecycle.deleted)

    collections = _of_shard(point_reads.collections)
    describe = _of_collection(point_reads.describe)
    fetch = _of_collection(point_reads.fetch)
    count = _of_collection(point_reads.count)
    scroll = _of_collection(point_reads.scroll)
    search = _of_shard(point_reads.search)
    text_statistics = _of_collection(posting_reads.text_statistics)
    search_text = _of_shard(posting_reads.search_text)
    search_sparse = _of_shard(posting_reads.search_sparse)

    upsert = _of_collection(point_writes.upsert)
    delete_points = _of_collection(point_writes.delete_points)
    delete_documents = _of_collection(point_writes.delete_documents)
    delete_matching = _of_collection(point_writes.delete_matching)

    back_up = _of_collection(backup.back_up)
    finish_backup = _of_shard(backup.finish_backup)
    restore = _of_shard(lifecycle.restore)
    export = _of_collection(parquet.export)

    count_without_text = _of_collection(reembedding.count_without_text)
    staged = _of_collection(reembedding.staged)
    begin_staged = _of_collection(reembedding.begin_staged)
    outdated = _of_collection(reembedding.outdated)
    fill_staged = _of_collection(reembedding.fill_staged)
    freeze = _of_collection(reembedding.freeze)
    switch = _of_collection(reembedding.switch)
    discard_staged = _of_collection(reembedding.discard_staged)

    def run_maintenance(self) -> None:
        """Merge, save and upload all segments that are due, and return when none is left."""
        with self._shard.guard():
            for collection in self._shard.collections.open.values():
                while collection.maintain():
                    pass
            if self._shard.objects is not None:
                self._shard.objects.upload()

    def known_points(self, name: str) -> int:
        """Return how many points a collection has in this process, at once; 0 if it is not open."""
        collection = self._shard.collections.open.get(name)
        return 0 if collection is None else collection.describe().count

    def health(self) -> IndexHealth:
        """Return whether the shard can be used, in constant time and without the disk."""
        shard = self._shard
        refusal = shard.opened.refusal if shard.opened else None
        damaged = list(shard.collections.damaged.values())
        lost = shard.follower.problem if shard.follower else None
        return health_of(shard.failure or shard.open_error, refusal, damaged, lost)

    def measurements(self) -> StoreMeasurements:
        """Return what the store has done since it was opened."""
        store, follower = self._shard.opened, self._shard.follower
        return StoreMeasurements(
            CommitStats() if store is None else store.commits,
            {} if store is None else store.connections,
            0.0 if follower is None else follower.lag_s,
        )

    def stats(self) -> IndexStats:
        """Return the health and the counters of the shard, even if it has failed."""
        collections, health = list(self._shard.collections.open.values()), self.health()
        objects = self._shard.objects
        return IndexStats(
            status=health.status,
            problem=health.problem,
            collections=len(collections),
            points=self._shard.collections.count_points(),
            damaged_snapshots=sum(one.damaged_snapshots for one in collections)
            + (objects.damaged if objects else 0),
            save_failures=sum(one.save_failures for one in collections),
            object_failures=objects.failures if objects else 0,
            recovery=self._shard.recovery,
        )
