"""The SQLite store of one shard: a directory with one owner, one writer and several readers.

Opening it takes the lock and a new epoch. The epoch keeps a former owner, which hung while another
process took over, from committing.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from embedder.core.private_files import sync
from embedder.core.storage_errors import StorageDamaged, StorageFull
from embedder.index.storage.disk.lock import DirectoryLock
from embedder.index.storage.failpoints import reach
from embedder.index.storage.posting_indexing import PostingIndexing
from embedder.index.storage.protocol import Effect, T, Transaction, Write
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.sqlite.collection_table import FILE_NAME
from embedder.index.storage.sqlite.committer import Committer
from embedder.index.storage.sqlite.error_codes import translate_storage_errors
from embedder.index.storage.sqlite.meta_table import read_meta, read_number, write_meta
from embedder.index.storage.sqlite.reading import SqliteReader
from embedder.index.storage.sqlite.reclaiming import reclaim
from embedder.index.storage.sqlite.reserved_space import ReservedSpace
from embedder.index.storage.sqlite.schema import open_writer, quick_check
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot
from embedder.measurements.index import CommitStats

logger = logging.getLogger(__name__)

FIXED_IN = (3, 51, 3)
"""Older versions of SQLite can damage a file that two connections write."""

_POINTS = "SELECT count(*) FROM points INDEXED BY points_by_pk WHERE collection = ?"
_WITH_NUL = (
    "SELECT count(*) FROM points INDEXED BY points_by_id "
    "WHERE collection = ? AND instr(ext_id, char(0))"
)


class SqliteStore:
    """Implements `Store` in an existing directory; without ``durable``, no fsync is made."""

    def __init__(self, directory: Path, reserve_bytes: int, *, durable: bool) -> None:
        """Take the lock, and open or create the file.

        Raises:
            DirectoryInUse: the directory has an owner.
            NewerFormat: a later version wrote the file.
            StorageDamaged: the file is damaged.
            StorageFull: the disk is full, and the reserve is used up.
            StorageReadOnly: the disk failed otherwise, or is read-only.
        """
        self.path = directory / FILE_NAME
        self._lock = DirectoryLock(directory)
        try:
            self._reserve = ReservedSpace(directory, reserve_bytes if durable else 0)
            self._open(directory, durable=durable)
        except BaseException:
            self._lock.close()
            raise
        if not self._reserve.restore():
            logger.error("%s: the disk is full; only deletes are accepted for now", directory)
        reach("recovery.after_open")
        if sqlite3.sqlite_version_info < FIXED_IN:
            logger.info("SQLite %s: only one connection writes the file", sqlite3.sqlite_version)
        self._committer = Committer(self._connection, self.path, self._reserve, epoch=self.epoch)
        self._posting_indexing = PostingIndexing(self.submit)

    @property
    def refusal(self) -> Exception | None:
        """Return why writes are refused until a restart, or None."""
        return self._committer.refusal

    @property
    def commits(self) -> CommitStats:
        """Return the statistics of the commits since the store was opened."""
        return self._committer.commits

    @property
    def connections(self) -> Mapping[str, int]:
        """Return that there are none: a file is no database on a server."""
        return {"busy": 0, "idle": 0}

    @property
    def log(self) -> None:
        """Return None: the owner of the directory is the one process that writes."""

    def submit(self, write: Write[T], *, frees: bool = False) -> Future[T]:
        """Queue a write; see `Store.submit`."""
        return self._committer.submit(write, frees=frees)

    def run_exclusively(self, read: Callable[[], T]) -> T:
        """Run ``read`` in the writer thread, between two writes."""

        def write(_: Transaction) -> Effect[T]:
            result = read()
            return lambda: result

        return self.submit(write, frees=True).result()

    def collections(self) -> list[CollectionRow]:
        """Return all collections with a name that clients can use."""
        return [self._repair_count(row) for row in self.reader.collections()]

    def index_postings(self) -> None:
        """Begin to index stored rows that have no index yet; see `Store.index_postings`."""
        self._posting_indexing.start()

    def pinned(self) -> AbstractContextManager[SqliteReader]:
        """Yield a reader of one moment; see `Store.pinned`."""
        return self.reader.pinned()

    def reclaim(self, spared: Collection[int]) -> None:
        """Start to release the space of deleted points and collections; see `Store.reclaim`."""
        reclaim(self._committer, self._connection, spared)

    def history(self) -> str:
        """Return the one history of a file."""
        return SqliteSnapshot.history

    def leads(self) -> bool:
        """Return True: the directory has one owner."""
        return True

    def close(self) -> None:
        """Finish the queued writes, record a clean shutdown, and release the directory."""
        self._committer.close()
        self.reader.close()
        try:
            if self._committer.refusal is None:
                reach("close.before_clean")
                write_meta(self._connection, "clean", 1)
        except (sqlite3.Error, OSError):
            logger.warning("could not record a clean shutdown; the next start checks the file")
        finally:
            self._connection.close()
            self._lock.close()

    def _repair_count(self, row: CollectionRow) -> CollectionRow:
        """Return a collection with its count corrected, if an earlier version stored it too low.

        That version cut an id at its first U+0000, and counted such a new point as an existing one.
        """
        with self.reader.snapshot() as rows:
            db = rows.db
            missing = int(db.execute(_POINTS, (row.id,)).fetchone()[0]) - row.count
            if missing <= 0 or missing > db.execute(_WITH_NUL, (row.id,)).fetchone()[0]:
                return row
        logger.warning("collection %r has %d points more than were counted", row.name, missing)

        def write(rows: Transaction) -> Effect[CollectionRow]:
            corrected = rows.update_collection(replace(row, count=row.count + missing))
            return lambda: corrected

        return self.submit(write).result()

    def _open(self, directory: Path, *, durable: bool) -> None:
        """Open the file and become its owner; on a full disk, release the reserve as needed."""
        while True:
            try:
                with translate_storage_errors(self.path):
                    self._connection = open_writer(
                        self.path, durable=durable, log_bytes=self._reserve.bytes // 2
                    )
                    try:
                        self._become_owner(directory, durable=durable)
                    except BaseException:
                        self._connection.close()
                        raise
            except StorageFull:
                if not self._reserve.release_chunk():
                    raise
            else:
                return

    def _become_owner(self, directory: Path, *, durable: bool) -> None:
        self.epoch, self.was_clean = self._take_over()
        if not self.was_clean:
            quick_check(self._connection, self.path)
        self._lock.sign(self.epoch)
        if durable:
            sync(directory)
        self.uuid = str(read_meta(self._connection, "uuid"))
        self.reader = SqliteReader(self.path)

    def _take_over(self) -> tuple[int, bool]:
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        epoch = read_number(db, "epoch") + 1
        clean = bool(read_number(db, "clean"))
        highest = db.execute("SELECT max(pk) FROM points").fetchone()[0] or 0
        if read_number(db, "next_pk") <= highest:
            raise StorageDamaged(str(self.path), "would assign a pk twice")
        write_meta(db, "epoch", epoch)
        write_meta(db, "clean", 0)
        db.execute("COMMIT")
        return epoch, clean
