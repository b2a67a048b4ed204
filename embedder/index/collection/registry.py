"""The collections of a shard by name: those that are open, and those that are damaged."""

from __future__ import annotations

import logging
import threading
from copy import copy

from embedder.core.storage_errors import StorageDamaged
from embedder.index.collection.maintenance import MaintenanceThread
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.health import RecoveryReport

logger = logging.getLogger(__name__)


class CollectionRegistry:
    """Maps names to collections and queues their maintenance; safe from several threads.

    Each change replaces `open` by another dictionary, so that readers need no lock.
    """

    def __init__(self, maintenance: MaintenanceThread | None) -> None:
        self.open: dict[str, OpenCollection] = {}
        self.damaged: dict[str, StorageDamaged] = {}
        self._damaged_uuids: dict[str, str] = {}
        self._maintenance = maintenance
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self.open or name in self.damaged

    def names(self) -> list[str]:
        """Return the names of all collections."""
        return [*self.open, *self.damaged]

    def count_points(self) -> int:
        """Return the number of points of the open collections."""
        return sum(one.state.count for one in self.open.values() if one.state)

    def report(self, seconds: float, was_clean: bool) -> RecoveryReport:
        """Return the report of a start that has opened these collections."""
        read = sum(one.points_from_store for one in self.open.values())
        return RecoveryReport(seconds, self.count_points(), read, was_clean)

    def uuid_of(self, name: str) -> str | None:
        """Return the UUID of the collection of this name, None if there is none."""
        collection = self.open.get(name)
        return self._damaged_uuids.get(name) if collection is None else collection.uuid

    def find(self, name: str) -> OpenCollection | None:
        """Return the open collection of this name, or None.

        Raises:
            StorageDamaged: the collection is damaged.
        """
        if name in self.damaged:
            raise copy(self.damaged[name])
        return self.open.get(name)

    def put(self, collection: OpenCollection) -> None:
        """Add an open collection; drop the one of the same name, if there is one."""
        with self._lock:
            replaced = self.open.get(collection.name)
            self.open = {**self.open, collection.name: collection}
            self._forget_damage(collection.name)
        self.notify(collection)
        self._drop(replaced)

    def remove(self, name: str) -> None:
        """Remove a collection, and drop it if it is open."""
        with self._lock:
            # The next start deletes the files of a damaged one.
            self._forget_damage(name)
            removed = self._close(name)
        self._drop(removed)

    def clear(self) -> None:
        """Forget all collections, because their store was closed; their files stay."""
        with self._lock:
            closed, self.open = self.open, {}
            self.damaged, self._damaged_uuids = {}, {}
        for collection in closed.values():
            collection.retire()

    def set_damaged(self, name: str, error: StorageDamaged, uuid: str = "") -> None:
        """Close a collection; later calls for it raise copies of ``error``.

        ``uuid`` is that of a collection that was never open.
        """
        with self._lock:
            removed = self._close(name)
            closed = removed.uuid if removed else uuid
            if closed in ("", self._damaged_uuids.get(name)) and name in self.damaged:
                return
            self.damaged[name], self._damaged_uuids[name] = error, closed
        if removed is not None:
            removed.retire()
        logger.error("%s: %s; %s", error.path, error.problem, error)

    def notify_if_changed(self, collection: OpenCollection) -> None:
        """Queue maintenance of a collection if its segments have changed since the last call."""
        if collection.has_changed():
            self.notify(collection)

    def notify(self, collection: OpenCollection) -> None:
        """Queue maintenance of a collection."""
        if self._maintenance is not None:
            self._maintenance.notify(collection.maintain)

    def _forget_damage(self, name: str) -> None:
        self.damaged.pop(name, None)
        self._damaged_uuids.pop(name, None)

    def _close(self, name: str) -> OpenCollection | None:
        remaining = dict(self.open)
        removed = remaining.pop(name, None)
        self.open = remaining
        return removed

    def _drop(self, collection: OpenCollection | None) -> None:
        if collection is not None:
            collection.drop()
            self.notify(collection)
