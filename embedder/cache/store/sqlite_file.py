"""The SQLite file of one cache: locked, looked over, set aside where it is damaged, begun anew.

The file has one owner and one connection. Knows nothing of what is in its tables. The format is
its ``user_version``: positive where the file was closed, negative while it is open, so that one
left open is checked.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from embedder.core.errors import StageUnavailable
from embedder.core.private_files import OWNER_ONLY, make_folder

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x456D4243
FORMAT = 1
BUSY_S = 1.0
"""How long another program that looks into the file may hold it up."""

_TROUBLE = (sqlite3.Error, UnicodeDecodeError)
_MAGIC = b"SQLite format 3\0"
_PAGE_BYTES = 32768
_WAL_BYTES = 16 * 2**20
"""Of the log that is copied into the file when it is full. Larger pages and logs waste and write
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
    """Opens ``path``, and gives transactions on it; ``schema`` are the statements that make it.

    ``set_aside`` counts the files that were renamed because they could not be used.
    """

    def __init__(self, path: Path, schema: Sequence[str]) -> None:
        self.path = path
        self.set_aside = 0
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
        """Take the file, check it where it was not closed, and make it where it is none of ours.

        Raises:
            StageUnavailable: it is in use by another process, or cannot be written to.
        """
        if self._connection is not None:
            return
        with self._reporting():
            make_folder(self.path.parent)
            self._take_lock()
            try:
                problem = "is damaged" if self._damaged else self._problem()
                if problem is not None:
                    self._put_aside(problem)
                self._begin()
            finally:
                if self._connection is None:
                    self._release()

    def close(self) -> None:
        """Let the file go, marked as closed where that can be written."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        self._release()

    def replace(self) -> None:
        """Begin an empty file in place of one that is open, and give its room on the disk back.

        Raises:
            StageUnavailable: the directory cannot be written to; then the file is open no more.
        """
        with self.reading():
            self._disconnect()
            try:
                # The log first: beside a new file, an old one would be taken for its own.
                for suffix in ("-wal", "-shm", ""):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
                self._begin()
            finally:
                if self._connection is None:
                    self._release()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; all that is done with it is done, or nothing.

        Raises:
            StageUnavailable: it failed, or the file is not open; a damaged file no longer is.
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
        """Yield the connection, for statements of which each is on its own; else as `transaction`.

        Raises:
            StageUnavailable: as `transaction` does.
        """
        with self._reporting():
            if self._connection is None:
                raise StageUnavailable("cache store", f"{self.path} is not open")
            if not self._is_in_place():
                self._release()
                raise StageUnavailable("cache store", f"{self.path} has been taken away")
            yield self._connection

    def bytes(self) -> int:
        """Return what the file and its log take on the disk."""
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
        """Return why the file cannot be used, None where it can or there is none."""
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            # SQLite takes a file that is shorter than a header for an empty one.
            if file.read(len(_MAGIC)) not in (b"", _MAGIC):
                return "is not a cache of this program"
        connection = self._connect()
        try:
            return _problem_of(connection, self._schema)
        except _TROUBLE as error:
            if not _is_damage(error):
                raise
            return f"is damaged: {error}"
        finally:
            connection.close()

    def _put_aside(self, problem: str) -> None:
        target = self._free_name()
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                os.rename(f"{self.path}{suffix}", f"{target}{suffix}")
        self._damaged = False
        self.set_aside += 1
        logger.error(
            "%s %s; it is set aside as %s and a new one is begun", self.path, problem, target.name
        )

    def _free_name(self) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        name = f"{self.path.name}.corrupt-{stamp}"
        target, number = self.path.with_name(name), 1
        while target.exists():
            number += 1
            target = self.path.with_name(f"{name}-{number}")
        return target

    def _begin(self) -> None:
        connection = self._connect()
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN IMMEDIATE")
            if not _tables(connection):
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
        # Nobody else may read it: from a vector, much of its text can be guessed.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY))
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        # Texts there are only in damaged rows, and need not be valid ones.
        connection.text_factory = bytes
        # Without others there is no shared memory, which is mapped and fails hard on a full disk.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return connection

    def _is_in_place(self) -> bool:
        """Tell whether what is written still goes where it will be looked for."""
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
        except (*_TROUBLE, OSError) as error:
            if _is_damage(error):
                self._damaged = True
                self._release()
            raise StageUnavailable("cache store", f"{self.path}: {error}") from error


def _problem_of(connection: sqlite3.Connection, schema: Sequence[str]) -> str | None:
    tables = _tables(connection)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not tables and not application:
        return None  # new, or what is left where making it was cut off
    if application != APPLICATION_ID:
        return "is not a cache of this program"
    if abs(version) != FORMAT:
        return f"has format {abs(version)}, and this program reads {FORMAT}"
    if tables != {statement.encode() for statement in schema}:
        return "is damaged: it has not the tables of its format"
    if version > 0:
        return None
    # Not all of it: one finding is enough, and each page is read once.
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return None if finding == b"ok" else f"is damaged: {finding.decode(errors='replace')}"


def _tables(connection: sqlite3.Connection) -> set[bytes]:
    """Return the statements that made the tables."""
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {statement for (statement,) in rows}


def _is_damage(error: Exception) -> bool:
    """Tell damage from other trouble: SQLite's class for it has no name of its own.

    No statement here breaks a rule of the schema, so where one is broken it was before. A message
    that cannot be decoded quotes a schema that was damaged.
    """
    broken = isinstance(error, sqlite3.IntegrityError | UnicodeDecodeError)
    return broken or type(error) is sqlite3.DatabaseError
