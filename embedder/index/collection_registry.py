"""The collections of a shard by name: those that are open, and those that are damaged."""

from __future__ import annotations

import logging
import threading
from copy import copy

from embedder.core.storage_errors import StorageDamaged
from embedder.index.collection.maintenance import MaintenanceThread
from embedder.index.collection.open_collection import OpenCollection

logger = logging.getLogger(__name__)


class CollectionRegistry:
    """Maps names to collections and queues their maintenance; safe from several threads.

    Each change replaces `open` by another dictionary, so that readers need no lock.
    """

    def __init__(self, maintenance: MaintenanceThread | None) -> None:
        self.open: dict[str, OpenCollection] = {}
        self.damaged: dict[str, StorageDamaged] = {}
        self._maintenance = maintenance
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self.open or name in self.damaged

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
            self.damaged.pop(collection.name, None)
        self.notify(collection)
        self._drop(replaced)

    def remove(self, name: str) -> None:
        """Remove a collection, and drop it if it is open."""
        with self._lock:
            # The next start deletes the files of a damaged one.
            self.damaged.pop(name, None)
            removed = self._close(name)
        self._drop(removed)

    def set_damaged(self, name: str, error: StorageDamaged) -> None:
        """Close a collection; later calls for it raise copies of ``error``."""
        with self._lock:
            if name in self.damaged:
                return
            self.damaged[name] = error
            removed = self._close(name)
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

    def _close(self, name: str) -> OpenCollection | None:
        remaining = dict(self.open)
        removed = remaining.pop(name, None)
        self.open = remaining
        return removed

    def _drop(self, collection: OpenCollection | None) -> None:
        if collection is not None:
            collection.drop()
            self.notify(collection)
