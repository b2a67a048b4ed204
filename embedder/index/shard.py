"""One shard of the index: its directory, store, open collections and maintenance thread.

A shard whose stored data is damaged stays open to report it, and deletes nothing.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from tempfile import mkdtemp

from embedder.core.disk_codes import translate_disk_errors
from embedder.core.errors import EmbedderError, UnknownCollection
from embedder.core.private_files import OWNER_ONLY_FOLDER, make_folder
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.collection.collection_segments import Environment
from embedder.index.collection.maintenance import MaintenanceThread
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection_registry import CollectionRegistry
from embedder.index.contract.health import IndexHealth, IndexStats, RecoveryReport, health_of
from embedder.index.segments.snapshot_folder import SnapshotFolder, remove_orphans
from embedder.index.segments.snapshot_format import SnapshotIdentity
from embedder.index.sharding import number_of
from embedder.index.storage.failpoints import reach
from embedder.index.storage.opening import open_store
from embedder.index.storage.protocol import Store, T, Write
from embedder.index.storage.records import CollectionRow
from embedder.settings.model import IndexSettings

FOLDER = "collections"

logger = logging.getLogger(__name__)


class Shard:
    """Opens the directory of the settings, or a temporary one that is deleted at `close`.

    It is one of ``shards``, and ``name`` tells it from the others in backups.
    """

    def __init__(
        self, settings: IndexSettings, name: str, shards: int, *, background: bool
    ) -> None:
        self.settings = settings
        self.name = name
        self.shards = shards
        self.failure: StorageDamaged | None = None
        self.restoring: set[int] = set()
        self.recovery = RecoveryReport(0.0, 0, 0, True)
        self._opening = threading.Lock()
        self._open_error: EmbedderError | None = None  # each call tries to open the shard again
        self._store: Store | None = None
        self._maintenance = MaintenanceThread(self.fail) if background else None
        self.collections = CollectionRegistry(self._maintenance)
        self._directory = Path(settings.directory or mkdtemp(prefix="embedder-index-")).expanduser()
        try:
            self._open()
        except StorageDamaged as error:
            self.fail(error)
        except (StorageFull, StorageReadOnly) as error:
            logger.error("the shard is not open: %r; each call tries again", error)
            self._open_error = error
        except BaseException:
            self.close()
            raise

    @property
    def store(self) -> Store:
        """Return the open store.

        Raises:
            StorageDamaged: the shard has failed.
        """
        self.check()
        assert self._store is not None
        return self._store

    def check(self) -> None:
        """Refuse a shard that has failed.

        Raises:
            StorageDamaged: its stored data is damaged.
            StorageFull, StorageReadOnly: it cannot be opened, because of the disk.
        """
        if self._open_error is not None:
            self._open_again()
        if self.failure is not None:
            # A copy: an exception collects the traceback of every place that raises it.
            raise copy(self.failure)

    @contextmanager
    def guard(self, name: str = "") -> Iterator[None]:
        """Refuse a failed shard, and record damage that the block finds in collection ``name``."""
        self.check()
        try:
            yield
        except StorageDamaged as error:
            named = error.of(name)
            self.fail(named)
            raise named from error

    def find(self, name: str) -> OpenCollection:
        """Return a collection.

        Raises:
            UnknownCollection: no collection has this name.
            StorageDamaged: the shard has failed, or the collection is damaged.
        """
        collection = self.find_or_none(name)
        if collection is None:
            raise UnknownCollection("collection", name)
        return collection

    def find_or_none(self, name: str) -> OpenCollection | None:
        """Return a collection, or None if no collection has this name; otherwise as `find`."""
        self.check()
        return self.collections.find(name)

    def register(self, row: CollectionRow) -> OpenCollection:
        """Open a stored collection and make it available, unless it is already."""
        assert row.name is not None
        known = self.collections.open.get(row.name)
        if known is not None and known.id == row.id:
            return known
        collection = self.open(row)
        self.collections.put(collection)
        return collection

    def open(self, row: CollectionRow) -> OpenCollection:
        """Load a collection without making it available."""
        assert self._store is not None
        maintenance, reader = self._maintenance, self._store.reader
        stop = maintenance.should_stop if maintenance is not None else lambda: False
        return OpenCollection(row, Environment(reader, self.settings, self._snapshots, stop))

    def forget(self, name: str) -> None:
        """Remove a deleted collection, and delete its rows and files in the background."""
        self.collections.remove(name)
        self.reclaim()

    def replace(self, collection: OpenCollection) -> None:
        """Make an open collection available in place of the deleted one of the same name."""
        self.collections.put(collection)
        self.reclaim()

    def reclaim(self) -> None:
        """Queue the release of disk space that deleted rows take, in steps between other writes."""
        if (store := self._store) is not None:
            store.reclaim(self.restoring)

    def commit(self, write: Write[T], *, frees: bool = False) -> T:
        """Commit a write, and return the result of its effect; ``frees`` as in `Store.submit`.

        Raises:
            StorageDamaged: the shard has failed.
            StorageFull, StorageReadOnly: the disk is full, or has failed.
        """
        return self.store.submit(write, frees=frees).result()

    def fail(self, error: StorageDamaged) -> None:
        """Refuse all later calls, or those for the damaged collection that the error names."""
        if error.collection:
            self.collections.set_damaged(error.collection, error)
        elif self.failure is None:
            self.failure = StorageDamaged(error.path, error.problem)
            logger.error("%s: %s; %s", error.path, error.problem, self.failure)

    def health(self) -> IndexHealth:
        """Return whether the shard can be used, in constant time and without the disk."""
        refusal = self._store.refusal if self._store else None
        damaged = list(self.collections.damaged.values())
        return health_of(self.failure or self._open_error, refusal, damaged)

    def stats(self) -> IndexStats:
        """Return the health and the counters of the shard."""
        collections, health = list(self.collections.open.values()), self.health()
        return IndexStats(
            status=health.status,
            problem=health.problem,
            collections=len(collections),
            points=_count_points(collections),
            damaged_snapshots=sum(one.damaged_snapshots for one in collections),
            save_failures=sum(one.save_failures for one in collections),
            recovery=self.recovery,
        )

    def close(self) -> None:
        """Finish the queued writes and release the directory; idempotent."""
        if self._maintenance is not None:
            self._maintenance.close()
        store, self._store = self._store, None
        if store is not None:
            store.close()
        if self.settings.directory is None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _open(self) -> None:
        begun = time.monotonic()
        with translate_disk_errors(self._directory):
            make_folder(self._directory)
            if (self._directory / FOLDER).exists():  # an earlier version let others read it
                (self._directory / FOLDER).chmod(OWNER_ONLY_FOLDER)
        self._store = open_store(self.settings, self._directory, number_of(self.name), self.shards)
        rows = self._store.collections()
        for row in rows:
            try:
                self.register(row)
            except StorageDamaged as error:
                if error.collection is None:
                    raise
                self.fail(error)
        remove_orphans(self._directory / FOLDER, {row.uuid for row in rows})
        collections = list(self.collections.open.values())
        reach("recovery.before_ready")
        self.recovery = RecoveryReport(
            time.monotonic() - begun,
            _count_points(collections),
            sum(one.points_from_store for one in collections),
            self._store.was_clean,
        )
        self.reclaim()

    def _open_again(self) -> None:
        with self._opening:
            if self._open_error is not None:
                store, self._store = self._store, None
                if store is not None:  # the last attempt failed after it had opened the store
                    store.close()
                try:
                    self._open()
                except StorageDamaged as error:
                    self.fail(error)
                self._open_error = None

    def _snapshots(self, row: CollectionRow, width: int) -> SnapshotFolder:
        assert self._store is not None
        identity = SnapshotIdentity(
            database=self._store.uuid, collection=row.uuid, metric=row.metric, width=width
        )
        return SnapshotFolder(self._directory / FOLDER / row.uuid, identity)


def _count_points(collections: list[OpenCollection]) -> int:
    return sum(one.state.count for one in collections if one.state)
