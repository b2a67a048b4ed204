"""Keeps the collections of a shard as a shared store has them, whichever process writes it.

What the log says of a name is compared with the open collections under a lock, so that an older
answer never replaces a newer one. Collections are opened outside this lock, one at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from embedder.core.errors import ConfigurationError, InvalidInput, Unavailable, UnknownCollection
from embedder.core.storage_errors import StorageDamaged
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.registry import CollectionRegistry
from embedder.index.contract.checks import check_name
from embedder.index.storage.change_log import ChangeLog
from embedder.index.storage.records import CollectionRow

FOLLOW_S = 1.0
"""Seconds between two steps that follow all collections, for reads of a stale state."""

logger = logging.getLogger(__name__)


class Follower:
    """Opens, replaces and drops collections, and applies their logs; safe from several threads.

    ``problem`` is why the log could not be read the last time, None if it could.
    """

    def __init__(
        self,
        log: ChangeLog,
        collections: CollectionRegistry,
        load: Callable[[CollectionRow], OpenCollection],
    ) -> None:
        self.problem: Unavailable | None = None
        self._followed_s = time.monotonic()
        self._log = log
        self._collections = collections
        self._load = load
        self._comparing = threading.Lock()
        self._loading = threading.Lock()

    def follow(self, names: Collection[str] | None) -> None:
        """Make all writes that are committed by now visible in these collections; None: in all.

        A collection whose rows are damaged is closed.

        Raises:
            StageUnavailable: the log cannot be read.
            StorageDamaged: the rows of the collections themselves are damaged.
        """
        began = time.monotonic()
        try:
            self._follow(names)
        except Unavailable as error:
            self.problem = error
            raise
        self.problem = None
        if names is None:
            self._followed_s = began

    @property
    def lag_s(self) -> float:
        """Return the seconds since the last time at which all committed writes became visible."""
        return time.monotonic() - self._followed_s

    def compare(self, name: str, loaded: OpenCollection | None = None) -> CollectionRow | None:
        """Drop or replace the collection of a name, as the log says now, and return its row.

        ``loaded`` replaces it, if this is the collection that the name belongs to.
        """
        with self._comparing:
            row = next(iter(self._log.heads([name])[1]), None)
            known = self._collections.uuid_of(name)
            if row is None and known is not None:
                self._collections.remove(name)
            elif loaded is not None and row is not None and row.uuid == loaded.uuid != known:
                self._collections.put(loaded)
            return row

    def show(self, name: str, loaded: OpenCollection | None = None) -> None:
        """Compare after a write of this process; if the log cannot be read, the next read does."""
        try:
            self.compare(name, loaded)
        except Unavailable as error:
            logger.warning("collection %r changed, and is read again later: %r", name, error)

    def _follow(self, names: Collection[str] | None) -> None:
        known = self._collections.names() if names is None else [*filter(_is_name, names)]
        before = {name: self._collections.open.get(name) for name in known}
        reached = {one: one.sequence for one in before.values() if one is not None}
        history, heads = self._log.heads(None if names is None else known)
        rows = {str(row.name): row for row in heads}
        for name in {*known, *rows}:
            row, collection = rows.get(name), before.get(name)
            if row is not None and collection is not None and row.uuid == collection.uuid:
                self._check_kept(collection, reached[collection], row, history)
            while not self._is_reached(name, row):
                row = self._renew(name)

    def _is_reached(self, name: str, row: CollectionRow | None) -> bool:
        """Apply the log of a collection; return False if another one has its name."""
        if self._collections.uuid_of(name) != (row and row.uuid):
            return False
        collection = self._collections.open.get(name)
        if row is None or collection is None:  # there is none, or it is damaged
            return True
        try:
            collection.record(row)
            collection.wait(row.sequence)
        except UnknownCollection:
            return False
        except StorageDamaged as error:
            if error.collection is None:
                raise
            self._collections.set_damaged(name, error.of(name), collection.uuid)
        else:
            self._collections.notify_if_changed(collection)
        return True

    def _renew(self, name: str) -> CollectionRow | None:
        """Open, replace or drop the collection of a name, and return its row."""
        row = self.compare(name)
        if row is None:
            return None
        with self._loading:
            if self._collections.uuid_of(name) == row.uuid:
                return row
            try:
                loaded = self._load(row)
            except StorageDamaged as error:
                if error.collection is None:
                    raise
                now = self.compare(name)
                # Rows of a deleted collection disappear at any time.
                if now is not None and now.uuid == row.uuid:
                    self._collections.set_damaged(name, error.of(name), row.uuid)
                return now
            return self.compare(name, loaded)

    def _check_kept(
        self, collection: OpenCollection, reached: int, row: CollectionRow, history: str
    ) -> None:
        """Load a collection again if the database may have lost writes that are visible here."""
        with suppress(UnknownCollection):
            if collection.segments_of(history) is None:
                logger.warning(
                    "the database has another history, and may have lost writes of collection %r: "
                    "it is loaded again",
                    collection.name,
                )
                collection.reload(unless=history)
            elif row.sequence < reached:
                logger.error(
                    "the database has lost writes %d to %d of collection %r",
                    *(row.sequence + 1, reached, collection.name),
                )
                collection.reload()


class FollowingThread:
    """Calls ``follow`` every `FOLLOW_S` seconds until `close`."""

    def __init__(self, follow: Callable[[], None]) -> None:
        self._follow = follow
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; a second call does nothing."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        reported = ""
        while not self._stop.wait(FOLLOW_S):
            try:
                self._follow()
            except (Unavailable, StorageDamaged):
                logger.debug("the log of the index was not read", exc_info=True)
            except ConfigurationError as error:
                if str(error) != reported:
                    reported = str(error)
                    logger.error("the log of the index cannot be read: %s", reported)
            except Exception:
                logger.exception("the log of the index was not read")
            else:
                reported = ""


def _is_name(name: str) -> bool:
    """Say whether a collection can have this name; a client may ask for any."""
    try:
        check_name(name)
    except InvalidInput:
        return False
    return True
