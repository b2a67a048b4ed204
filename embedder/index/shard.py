"""What one shard owns: its directory, truth, collections and threads; opened and closed as one.

A shard whose stored data is damaged stays open to say so, and deletes nothing. Knows nothing of
requests.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

from embedder.core.disk_codes import translate_storage_errors
from embedder.core.errors import EmbedderError, UnknownCollection
from embedder.core.private_files import OWNER_ONLY_FOLDER, make_folder
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.collection.collection_segments import Environment
from embedder.index.collection.maintenance import MaintenanceThread
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.health import IndexHealth, IndexStats, RecoveryReport, health_of
from embedder.index.contract.points import Hit
from embedder.index.segments.snapshot_folder import SnapshotFolder, remove_orphans
from embedder.index.segments.snapshot_format import SnapshotIdentity
from embedder.index.storage.committer import Effect
from embedder.index.storage.failpoints import reach
from embedder.index.storage.reclaiming import reclaim
from embedder.index.storage.recounting import recounted
from embedder.index.storage.store import ShardStore
from embedder.index.storage.writes import CollectionRow
from embedder.settings.model import IndexSettings

FOLDER = "collections"

logger = logging.getLogger(__name__)


class Shard:
    """Opens a directory, or a temporary one that goes with it."""

    def __init__(self, settings: IndexSettings, *, background: bool) -> None:
        self.settings = settings
        self.failure: StorageDamaged | None = None
        self.damaged: dict[str, StorageDamaged] = {}  # collections that are not served
        self.collections: dict[str, OpenCollection] = {}
        self.restoring: set[int] = set()
        self.recovery = RecoveryReport(0.0, 0, 0, True)
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._unopened: EmbedderError | None = None  # why the disk has not let it be opened
        self._store: ShardStore | None = None
        self._maintenance = MaintenanceThread(self.fail) if background else None
        directory = settings.directory or tempfile.mkdtemp(prefix="embedder-index-")
        self._directory = Path(directory).expanduser()
        try:
            self._open()
        except StorageDamaged as error:
            self.fail(error)
        except (StorageFull, StorageReadOnly) as error:
            logger.error("the shard is not open: %r; each call tries again", error)
            self._unopened = error
        except BaseException:
            self.close()
            raise

    @property
    def store(self) -> ShardStore:
        """Return the open truth.

        Raises:
            StorageDamaged: the shard has failed.
        """
        self.check()
        assert self._store is not None
        return self._store

    def check(self) -> None:
        """Refuse a shard that has failed.

        Raises:
            StorageDamaged: it has.
            StorageFull, StorageReadOnly: the disk still does not let it be opened.
        """
        if self._unopened is not None:
            self._open_again()
        if self.failure is not None:
            # A copy: an exception keeps the traceback of every place that raises it.
            raise copy(self.failure)

    def _open_again(self) -> None:
        with self._opening:
            if self._unopened is not None:
                try:
                    self._open()
                except StorageDamaged as error:
                    self.fail(error)
                self._unopened = None

    def find(self, name: str) -> OpenCollection:
        """Return a collection.

        Raises:
            UnknownCollection: there is none of this name.
            StorageDamaged: the shard has failed, or the collection is damaged.
        """
        collection = self.find_or_none(name)
        if collection is None:
            raise UnknownCollection("collection", name)
        return collection

    def find_or_none(self, name: str) -> OpenCollection | None:
        """Return a collection, or None where there is none of this name.

        Raises:
            StorageDamaged: the shard has failed, or the collection is damaged.
        """
        self.check()
        if name in self.damaged:
            raise copy(self.damaged[name])
        return self.collections.get(name)

    def register(self, row: CollectionRow) -> OpenCollection:
        """Serve a collection that is in the truth; the one that is served already if it is."""
        assert row.name is not None
        known = self.collections.get(row.name)
        if known is not None and known.id == row.id:
            return known
        return self.adopt(self.open(row))

    def open(self, row: CollectionRow) -> OpenCollection:
        """Bring a collection up to date, without serving it yet."""
        return OpenCollection(row, self._surroundings())

    def adopt(self, collection: OpenCollection) -> OpenCollection:
        """Serve a collection that is open."""
        with self._lock:
            # A new dictionary: others go through the old one meanwhile.
            self.collections = {**self.collections, collection.name: collection}
            self.damaged.pop(collection.name, None)
        self.notify_maintenance(collection)
        return collection

    def forget(self, name: str) -> None:
        """Serve a collection no more, and delete what is stored of it little by little."""
        with self._lock:
            collections = dict(self.collections)
            gone = collections.pop(name, None)
            self.collections = collections
            # The files of a damaged one go with the next start.
            self.damaged.pop(name, None)
        if gone is not None:
            gone.drop()
            self.notify_maintenance(gone)
        self.reclaim()

    def reclaim(self) -> None:
        """Have what is deleted given back to the disk, between other writes."""
        if (store := self._store) is not None:
            reclaim(store, self.restoring)

    def search_exclusively(self, search: Callable[[], list[list[Hit]]]) -> list[list[Hit]]:
        """Run a search at a moment when all that is committed can be seen, and nothing else is."""

        def write(_: object) -> Effect[list[list[Hit]]]:
            hits = search()
            return lambda: hits

        return self.store.submit(write, frees=True).result()

    def save(self, collection: OpenCollection) -> None:
        """Save all segments of a collection.

        Raises:
            StorageFull: there is no space for it.
        """
        with translate_storage_errors(self._directory / FOLDER):
            collection.save_all()

    def notify_if_changed(self, collection: OpenCollection) -> None:
        """Have the segments of a collection looked at if they are others than at the last look."""
        if collection.has_changed():
            self.notify_maintenance(collection)

    def notify_maintenance(self, collection: OpenCollection) -> None:
        """Have the segments of a collection looked at."""
        if self._maintenance:
            self._maintenance.notify(collection)

    def fail(self, error: StorageDamaged) -> None:
        """Refuse everything from now on, or everything of the one collection that is damaged."""
        if error.collection:
            self._close_collection(error.collection, error)
        elif self.failure is None:
            self.failure = StorageDamaged(error.path, error.problem)
            logger.error("%s: %s; %s", error.path, error.problem, self.failure)

    @contextmanager
    def reloading(self, collection: OpenCollection) -> Iterator[None]:
        """Read a collection anew where making a committed change visible fails halfway."""
        try:
            yield
        except Exception:
            path, name = str(self.store.reader.path), collection.name
            try:
                row = self.store.reader.collection(name)
                if row is not None and row.id == collection.id:
                    collection.reload(row)
            except Exception as error:  # noqa: BLE001 - what is searched is out of date: it is closed
                problem = f"what is committed cannot be searched before a restart: {error!r}"
                self.fail(StorageDamaged(path, problem, name))
            raise

    def _close_collection(self, name: str, error: StorageDamaged) -> None:
        with self._lock:
            if name in self.damaged:
                return
            self.damaged[name] = error
            collections = dict(self.collections)
            gone = collections.pop(name, None)
            self.collections = collections
        if gone is not None:
            gone.retire()
        logger.error("%s: %s; %s", error.path, error.problem, error)

    def health(self) -> IndexHealth:
        """Return whether the shard can be used, in constant time and without the disk."""
        refusal = self._store.refusal if self._store else None
        return health_of(self.failure or self._unopened, refusal, list(self.damaged.values()))

    def stats(self) -> IndexStats:
        """Return how the shard is."""
        served, health = list(self.collections.values()), self.health()
        return IndexStats(
            status=health.status,
            problem=health.problem,
            epoch=self._store.epoch if self._store else 0,
            collections=len(served),
            points=sum(one.state.count for one in served if one.state),
            damaged_snapshots=sum(one.damaged_snapshots for one in served),
            save_failures=sum(one.save_failures for one in served),
            recovery=self.recovery,
        )

    def close(self) -> None:
        """Finish the queued writes and let another owner in; doing it twice is harmless."""
        if self._maintenance is not None:
            self._maintenance.close()
        store, self._store = self._store, None
        if store is not None:
            store.close()
        if self.settings.directory is None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _open(self) -> None:
        begun = time.monotonic()
        with translate_storage_errors(self._directory):
            make_folder(self._directory)
            if (self._directory / FOLDER).exists():  # made by a version that let others in
                (self._directory / FOLDER).chmod(OWNER_ONLY_FOLDER)
        durable = self.settings.directory is not None
        self._store = ShardStore(self._directory, self.settings.reserve_bytes, durable=durable)
        rows = self._store.reader.collections()
        for row in rows:
            try:
                self.register(recounted(self._store, row))
            except StorageDamaged as error:
                if error.collection is None:
                    raise
                self.fail(error)
        remove_orphans(self._directory / FOLDER, {row.uuid for row in rows})
        served = list(self.collections.values())
        reach("recovery.before_ready")
        self.recovery = RecoveryReport(
            time.monotonic() - begun,
            sum(one.state.count for one in served if one.state),
            sum(one.replayed for one in served),
            self._store.was_clean,
        )
        self.reclaim()

    def _surroundings(self) -> Environment:
        assert self._store is not None
        maintenance, reader = self._maintenance, self._store.reader
        stop = maintenance.should_stop if maintenance is not None else lambda: False
        return Environment(reader, self.settings, self._snapshots, stop)

    def _snapshots(self, row: CollectionRow, width: int) -> SnapshotFolder:
        assert self._store is not None
        identity = SnapshotIdentity(
            database=self._store.uuid, collection=row.uuid, metric=row.metric, width=width
        )
        return SnapshotFolder(self._directory / FOLDER / row.uuid, identity)
