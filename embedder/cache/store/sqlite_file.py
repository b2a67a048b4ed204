"""The SQLite file of one cache: it is locked and checked, and a damaged file is replaced.

The file has one owner process and one connection.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from embedder.cache.store.sqlite_check import (
    APPLICATION_ID,
    FILE_SUFFIXES,
    FORMAT,
    SQLITE_ERRORS,
    is_damage,
    problem_of,
    rename_unusable,
    tables_of,
)
from embedder.core.errors import StageUnavailable
from embedder.core.private_files import OWNER_ONLY, make_folder

logger = logging.getLogger(__name__)

BUSY_S = 1.0
"""Seconds for which another program that reads the file may block it."""

_MAGIC = b"SQLite format 3\0"
_PAGE_BYTES = 32768
_WAL_BYTES = 16 * 2**20
"""Size of the write-ahead log at which it is copied into the file. Larger pages and logs write
less; see benchmarks/LOG.md.
"""

_PRAGMAS = (
    f"page_size = {_PAGE_BYTES}",
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "mmap_size = 0",
    f"wal_autocheckpoint = {_WAL_BYTES // _PAGE_BYTES}",
    f"journal_size_limit = {_WAL_BYTES}",
)


class SqliteFile:
    """Transactions on the file at ``path``; ``schema`` are the statements that create its tables.

    ``renamed_files`` counts the files that were renamed because they could not be used.
    """

    def __init__(self, path: Path, schema: Sequence[str]) -> None:
        self.path = path
        self.renamed_files = 0
        self._schema = schema
        self._lock: int | None = None
        self._inode = 0
        self._connection: sqlite3.Connection | None = None
        self._damaged = False

    @property
    def is_open(self) -> bool:
        """Tell whether there is a connection to a file that is not known to be damaged."""
        return self._connection is not None

    def open(self) -> None:
        """Lock the file and check it; create a new one if there is none or it cannot be used.

        Raises:
            StageUnavailable: the file is in use by another process, or cannot be written.
        """
        if self._connection is not None:
            return
        with self._reporting():
            make_folder(self.path.parent)
            self._take_lock()
            try:
                problem = "is damaged" if self._damaged else self._problem()
                if problem is not None:
                    self._set_aside(problem)
                self._create()
            finally:
                if self._connection is None:
                    self._release()

    def close(self) -> None:
        """Close and unlock the file; mark it as closed if that can be written."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        self._release()

    def replace(self) -> None:
        """Replace the open file by an empty one, to free its space on the disk.

        Raises:
            StageUnavailable: the directory cannot be written; then no file is open.
        """
        with self.reading():
            self._disconnect()
            try:
                for suffix in FILE_SUFFIXES:
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
                self._create()
            finally:
                if self._connection is None:
                    self._release()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection within one transaction.

        Raises:
            StageUnavailable: the transaction failed, or the file is not open. A file that is found
                damaged is closed.
        """
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for single statements, without a transaction.

        Raises:
            StageUnavailable: as `transaction` does.
        """
        with self._reporting():
            if self._connection is None:
                raise StageUnavailable("cache store", f"{self.path} is not open")
            if not self._is_at_path():
                self._release()
                raise StageUnavailable("cache store", f"{self.path} has been removed or replaced")
            yield self._connection

    def bytes(self) -> int:
        """Return the bytes of the file and its log on the disk."""
        total = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):
                total += os.stat(f"{self.path}{suffix}").st_size
        return total

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StageUnavailable(
                "cache store", f"{self.path} is in use by another process: {error.strerror}"
            ) from error
        self._lock = lock

    def _problem(self) -> str | None:
        """Return why the file cannot be used, None if it can or does not exist."""
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            # SQLite treats a file that is shorter than its header as empty.
            if file.read(len(_MAGIC)) not in (b"", _MAGIC):
                return "is not a cache of this program"
        connection = self._connect()
        try:
            return problem_of(connection, self._schema)
        except SQLITE_ERRORS as error:
            if not is_damage(error):
                raise
            return f"is damaged: {error}"
        finally:
            connection.close()

    def _set_aside(self, problem: str) -> None:
        target = rename_unusable(self.path)
        self._damaged = False
        self.renamed_files += 1
        logger.error(
            "%s %s; it is renamed to %s and a new file is created", self.path, problem, target.name
        )

    def _create(self) -> None:
        connection = self._connect()
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN IMMEDIATE")
            if not tables_of(connection):
                for statement in self._schema:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {-FORMAT}")
            connection.execute("COMMIT")
            self._inode = os.stat(self.path).st_ino
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _connect(self) -> sqlite3.Connection:
        # Readable by the owner only: much of a text can be guessed from its vector.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY))
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        # Only damaged rows hold text, which need not be valid UTF-8.
        connection.text_factory = bytes
        # Exclusive, so that no shared memory is mapped: that crashes on a full disk.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return connection

    def _is_at_path(self) -> bool:
        """Tell whether the open file is still the one at the path."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except OSError:
            return False

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _release(self) -> None:
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (*SQLITE_ERRORS, OSError) as error:
            if is_damage(error):
                self._damaged = True
                self._release()
            raise StageUnavailable("cache store", f"{self.path}: {error}") from error
