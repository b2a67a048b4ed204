"""What one shard owns: its directory, truth, collections and threads; opened and closed as one.

A shard whose stored data is damaged stays open to say so, and deletes nothing. Knows nothing of
requests.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedder.config import IndexSettings
from embedder.errors import EmbedderError, UnknownCollection
from embedder.index.collection import Collection, Surroundings
from embedder.index.committer import Effect
from embedder.index.disk import disk_error
from embedder.index.failpoints import reach
from embedder.index.housekeeping import Housekeeper
from embedder.index.points import Hit
from embedder.index.snapshot import Identity
from embedder.index.snapshots import Snapshots
from embedder.index.truth import Truth
from embedder.index.writes import CollectionRow, purge
from embedder.storage_errors import StorageDamaged

FOLDER = "collections"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """How the last start went; ``replayed`` points were read from the truth, others from files."""

    seconds: float
    points: int
    replayed: int
    was_clean: bool


@dataclass(frozen=True, slots=True)
class IndexStats:
    """How a shard is; ``problem`` says for the operator why it is not ``ready``."""

    status: Literal["ready", "read_only", "failed"]
    problem: str | None
    epoch: int
    collections: int
    points: int
    damaged_snapshots: int
    save_failures: int
    recovery: RecoveryReport


class Shard:
    """Opens a directory, or a temporary one that goes with it."""

    def __init__(self, settings: IndexSettings, *, background: bool) -> None:
        self.settings = settings
        self.failure: StorageDamaged | None = None
        self.collections: dict[str, Collection] = {}
        self.restoring: set[int] = set()
        self.recovery = RecoveryReport(0.0, 0, 0, True)
        self._lock = threading.Lock()
        self._truth: Truth | None = None
        self._keeper = Housekeeper(self.fail) if background else None
        self._directory = Path(settings.directory or tempfile.mkdtemp(prefix="embedder-index-"))
        try:
            self._open()
        except StorageDamaged as error:
            self.fail(error)
        except BaseException:
            self.close()
            raise

    @property
    def truth(self) -> Truth:
        """Return the open truth.

        Raises:
            StorageDamaged: the shard has failed.
        """
        if self.failure is not None:
            raise self.failure
        assert self._truth is not None
        return self._truth

    def find(self, name: str) -> Collection:
        """Return a collection.

        Raises:
            UnknownCollection: there is none of this name.
            StorageDamaged: the shard has failed.
        """
        if self.failure is not None:
            raise self.failure
        collection = self.collections.get(name)
        if collection is None:
            raise UnknownCollection("collection", name)
        return collection

    def register(self, row: CollectionRow) -> Collection:
        """Serve a collection that is in the truth; the one that is served already if it is."""
        assert row.name is not None
        known = self.collections.get(row.name)
        if known is not None and known.id == row.id:
            return known
        return self.adopt(self.open(row))

    def open(self, row: CollectionRow) -> Collection:
        """Bring a collection up to date, without serving it yet."""
        return Collection(row, self._surroundings())

    def adopt(self, collection: Collection) -> Collection:
        """Serve a collection that is open."""
        with self._lock:
            # A new dictionary: others go through the old one meanwhile.
            self.collections = {**self.collections, collection.name: collection}
        self.nudge(collection)
        return collection

    def forget(self, name: str) -> None:
        """Serve a collection no more, and delete what is stored of it little by little."""
        with self._lock:
            collections = dict(self.collections)
            gone = collections.pop(name)
            self.collections = collections
        gone.drop()
        self.nudge(gone)
        self.purge()

    def purge(self) -> None:
        """Have the rows of collections without a name deleted, between other writes."""

        def write(db: sqlite3.Connection) -> Effect[None]:
            more = purge(db, self.restoring)
            reach("purge.before_commit")
            return self.purge if more else _nothing

        # What is left when the shard closes goes after its next start.
        with suppress(EmbedderError):
            self.truth.submit(write, always=True)

    def held_search(self, search: Callable[[], list[list[Hit]]]) -> list[list[Hit]]:
        """Run a search at a moment when all that is committed can be seen, and nothing else is."""
        outcome: Future[list[list[Hit]]] = Future()

        def write(_: object) -> Effect[None]:
            try:
                outcome.set_result(search())
            except Exception as error:  # noqa: BLE001 - the writes of the group are none of its business
                outcome.set_exception(error)
            return _nothing

        self.truth.submit(write).result()
        return outcome.result()

    def save(self, collection: Collection) -> None:
        """Save all segments of a collection.

        Raises:
            StorageFull: there is no space for it.
        """
        try:
            collection.save_all()
        except OSError as error:
            raise disk_error(error, self._directory / FOLDER) from error

    def look_after(self, collection: Collection) -> None:
        """Have the segments of a collection looked at if they are others than at the last look."""
        if collection.has_changed():
            self.nudge(collection)

    def nudge(self, collection: Collection) -> None:
        """Have the segments of a collection looked at."""
        if self._keeper is not None:
            self._keeper.nudge(collection)

    def fail(self, error: StorageDamaged) -> None:
        """Refuse everything from now on."""
        if self.failure is None:
            logger.error("the shard has failed: %s: %s", error.path, error.problem)
            self.failure = error

    def stats(self) -> IndexStats:
        """Return how the shard is."""
        served = list(self.collections.values())
        refusal = self._truth.refusal if self._truth else None
        problem = self.failure or refusal
        return IndexStats(
            "failed" if self.failure else "read_only" if refusal else "ready",
            repr(problem) if problem else None,
            self._truth.epoch if self._truth else 0,
            len(served),
            sum(one.state.count for one in served if one.state),
            sum(one.damaged_snapshots for one in served),
            sum(one.save_failures for one in served),
            self.recovery,
        )

    def close(self) -> None:
        """Finish the queued writes and let another owner in; doing it twice is harmless."""
        if self._keeper is not None:
            self._keeper.close()
        truth, self._truth = self._truth, None
        if truth is not None:
            truth.close()
        if self.settings.directory is None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _open(self) -> None:
        begun = time.monotonic()
        durable = self.settings.directory is not None
        self._directory.mkdir(parents=True, exist_ok=True)
        self._truth = Truth(
            self._directory, durable=durable, max_waiting=self.settings.max_waiting_writes
        )
        rows = self._truth.reader.collections()
        for row in rows:
            self.register(row)
        self._remove_strangers({row.uuid for row in rows})
        served = list(self.collections.values())
        reach("recovery.before_ready")
        self.recovery = RecoveryReport(
            time.monotonic() - begun,
            sum(one.state.count for one in served if one.state),
            sum(one.replayed for one in served),
            self._truth.was_clean,
        )
        self.purge()

    def _surroundings(self) -> Surroundings:
        keeper, reader = self._keeper, self.truth.reader
        stop = keeper.should_stop if keeper is not None else _never
        return Surroundings(reader, self.settings, self._snapshots, stop)

    def _snapshots(self, row: CollectionRow, width: int) -> Snapshots:
        identity = Identity(
            database=self.truth.uuid, collection=row.uuid, metric=row.metric, width=width
        )
        return Snapshots(self._directory / FOLDER / row.uuid, identity)

    def _remove_strangers(self, known: set[str]) -> None:
        """Delete the files of collections that are gone from the truth."""
        for path in (self._directory / FOLDER).glob("*"):
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)


def _nothing() -> None:
    return None


def _never() -> bool:
    return False
