"""One shard of the index: its directory, store, open collections and maintenance thread.

A shard whose stored data is damaged stays open to report it, and deletes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection
from copy import copy
from functools import partial

from embedder.core.errors import EmbedderError, StageUnavailable, UnknownCollection
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.collection.collection_segments import Environment
from embedder.index.collection.follower import Follower, FollowingThread
from embedder.index.collection.following_collection import FollowingCollection
from embedder.index.collection.maintenance import MaintenanceThread
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.registry import CollectionRegistry
from embedder.index.contract.health import RecoveryReport
from embedder.index.guard import Guard
from embedder.index.shard_folder import ShardFolder
from embedder.index.shard_objects import ShardObjects
from embedder.index.sharding import number_of
from embedder.index.storage.failpoints import reach
from embedder.index.storage.opening import open_store
from embedder.index.storage.protocol import Store, T, Write
from embedder.index.storage.records import CollectionRow
from embedder.settings.model import IndexSettings

logger = logging.getLogger(__name__)


class Shard:
    """Opens the directory of the settings, or a temporary one that is deleted at `close`.

    It is one of ``shards``, and ``name`` tells it from the others in backups.
    """

    def __init__(
        self, settings: IndexSettings, name: str, shards: int, *, background: bool
    ) -> None:
        self.settings, self.name, self.shards = settings, name, shards
        self.failure: StorageDamaged | None = None
        self.restoring: set[int] = set()
        self.recovery = RecoveryReport(0.0, 0, 0, True)
        self._opening = threading.Lock()
        self.open_error: EmbedderError | None = None
        self.opened: Store | None = None
        self.objects: ShardObjects | None = None
        self.follower: Follower | None = None
        self._following: FollowingThread | None = None
        self._maintenance = MaintenanceThread(self.fail) if background else None
        self.collections = CollectionRegistry(self._maintenance)
        self._folder = ShardFolder(settings.directory)
        try:
            self._try_to_open()
        except BaseException:
            self.close()
            raise
        if background and settings.url is not None:
            self._following = FollowingThread(self.follow)

    @property
    def store(self) -> Store:
        """Return the open store.

        Raises:
            StorageDamaged: the shard has failed.
        """
        self.check()
        assert self.opened is not None
        return self.opened

    def check(self) -> None:
        """Refuse a shard that has failed.

        Raises:
            StorageDamaged: its stored data is damaged.
            StageUnavailable, StorageFull, StorageReadOnly: it cannot be opened at present.
        """
        if self.open_error is not None:
            self._open_again()
        if self.failure is not None:
            # A copy: an exception collects the traceback of every place that raises it.
            raise copy(self.failure)

    def guard(self, name: str = "") -> Guard:
        """Refuse a failed shard, and record damage that the block finds in collection ``name``."""
        return Guard(self, name)

    def follow(self, names: Collection[str] | None = None) -> None:
        """Make all writes that are committed by now visible in these collections; None: in all.

        Raises:
            StageUnavailable: no host that takes writes answers.
        """
        self.check()
        if self.follower is not None:
            with self.guard():
                self.follower.follow(names)

    def find(self, name: str) -> OpenCollection:
        """Return a collection.

        Raises:
            UnknownCollection: no collection has this name.
            StorageDamaged: the shard has failed, or the collection is damaged.
        """
        if (collection := self.find_or_none(name)) is None:
            raise UnknownCollection("collection", name)
        return collection

    def find_or_none(self, name: str) -> OpenCollection | None:
        """Return a collection, or None if no collection has this name; otherwise as `find`."""
        self.check()
        if self.follower is not None and name not in self.collections:
            self.follow([name])  # another process may have created it
        return self.collections.find(name)

    def register(self, row: CollectionRow) -> OpenCollection:
        """Open a stored collection and make it available, unless it is already."""
        known = self.collections.open.get(str(row.name))
        if known is not None and known.id == row.id:
            return known
        collection = self.open(row)
        self._show(collection.name, collection)
        return collection

    def open(self, row: CollectionRow) -> OpenCollection:
        """Load a collection without making it available."""
        store, maintenance = self.opened, self._maintenance
        assert store is not None
        environment = Environment(
            *(store.reader, store.log, self.settings),
            partial(self._folder.snapshots, store.uuid),
            maintenance.should_stop if maintenance is not None else lambda: False,
        )
        if store.log is None:
            return OpenCollection(row, environment)
        return FollowingCollection(row, environment, store.log)

    def forget(self, name: str) -> None:
        """Remove a deleted collection, and delete its rows and files in the background."""
        self._show(name, None)
        self.reclaim()

    def replace(self, collection: OpenCollection) -> None:
        """Make an open collection available in place of the deleted one of the same name."""
        self._show(collection.name, collection)
        self.reclaim()

    def reclaim(self) -> None:
        """Queue the release of disk space that deleted rows take, in steps between other writes."""
        if (store := self.opened) is not None:
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

    def close(self) -> None:
        """Finish the queued writes and release the directory; idempotent."""
        for thread in (self._following, self._maintenance):
            if thread is not None:
                thread.close()
        self._close_store()
        self._folder.close()

    def _close_store(self) -> None:
        self.collections.clear()
        store, self.opened = self.opened, None
        for one in (self.objects, store):
            if one is not None:
                one.close()

    def _show(self, name: str, collection: OpenCollection | None) -> None:
        """Make a collection available under the name that a write gave it; None: no other."""
        if self.follower is not None:
            self.follower.show(name, collection)
        elif collection is None:
            self.collections.remove(name)
        else:
            self.collections.put(collection)

    def _open(self) -> None:
        begun, number = time.monotonic(), number_of(self.name)
        self._folder.make()
        self.opened = open_store(self.settings, self._folder.path, number, self.shards)
        self._folder.remove_leftovers()
        if self.settings.snapshots is not None:
            self.objects = ShardObjects(self.settings, self.name, self.opened, self.collections)
            self.objects.open(self._folder, background=self._maintenance is not None)
        if self.opened.log is not None:
            self.follower = Follower(self.opened.log, self.collections, self.open)
            self.follower.follow(None)
        rows = self.opened.collections()
        for row in rows if self.follower is None else ():
            try:
                self.register(row)
            except StorageDamaged as error:
                if error.collection is None:
                    raise
                self.fail(error)
        self._folder.remove_orphans({row.uuid for row in rows})
        reach("recovery.before_ready")
        self.recovery = self.collections.report(time.monotonic() - begun, self.opened.was_clean)
        self.reclaim()

    def _try_to_open(self) -> None:
        problem = None
        try:
            self._open()
        except StorageDamaged as error:
            self.fail(error)
        except (StageUnavailable, StorageFull, StorageReadOnly) as error:
            logger.error("the shard is not open: %r; each call tries again", error)
            problem = error
        self.open_error = problem

    def _open_again(self) -> None:
        known = self.open_error
        with self._opening:
            if known is self.open_error is not None:
                self._close_store()  # the last attempt may have failed after it had opened it
                self._try_to_open()
        if self.open_error is not None:  # also that of an attempt which this call waited for
            raise copy(self.open_error)
