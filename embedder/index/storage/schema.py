"""The SQLite file that is the truth of one shard: its tables, and how it is opened.

Knows nothing of FAISS, and nothing of what is written when. There is no table of deletions: a
projection is brought up to date by comparing its (pk, seq) pairs with those that are here, so
what is not here is deleted, whatever was lost on the way.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from embedder.core.cancellation import is_cancelled
from embedder.core.disk_codes import translate_storage_errors
from embedder.core.private_files import OWNER_ONLY
from embedder.core.storage_errors import NewerFormat, StorageDamaged
from embedder.index.storage.migration import COLLECTIONS, DELETED, migrate, version_1

FILE_NAME = "truth.db"
SCHEMA_VERSION = 2
STEPS = 10_000
"""Steps of SQLite's machine between two looks at whether the caller is still there."""

INCREMENTAL = 2
PAGE_BYTES = 4096
MAX_LOG_BYTES = 16 << 20
APPLICATION_ID = 0x45564958
"""Marks the file as ours, where tools such as ``file`` look."""

# A vector is apart from the rest of its point: filters and pages then read few bytes a point.
# seq is the collection's sequence number at which the point got its present content; pk is never
# given twice, and stays the same when a point is overwritten. A collection without a name is
# being made or removed, and nobody sees it.
_SCHEMA = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
{COLLECTIONS}
CREATE TABLE points(
    pk INTEGER PRIMARY KEY, collection INTEGER NOT NULL, ext_id TEXT NOT NULL,
    seq INTEGER NOT NULL, crc INTEGER NOT NULL, text TEXT, metadata TEXT NOT NULL);
CREATE UNIQUE INDEX points_by_id ON points(collection, ext_id);
CREATE INDEX points_by_pk ON points(collection, pk, seq);
CREATE TABLE vectors(pk INTEGER PRIMARY KEY, crc INTEGER NOT NULL, vector BLOB NOT NULL);
{DELETED}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


def open_writer(path: Path, *, durable: bool, log_bytes: int = 0) -> sqlite3.Connection:
    """Open the file for its one writer, making it where there is none; no thread check.

    ``log_bytes`` is how long the log gets before it is copied into the file, 0 for the default.

    Raises:
        StorageDamaged: the file is no truth, or SQLite finds it damaged.
        NewerFormat: a later version wrote it.
    """
    with translate_storage_errors(path):
        _make_private(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path, durable=durable, log_bytes=log_bytes)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path, *, frozen: bool = False) -> sqlite3.Connection:
    """Open the file for reading only; the connection goes from thread to thread.

    ``frozen`` is for a file that nobody writes.

    SQLite's rule against corruption by a second writer holds: this connection can neither write
    nor checkpoint, which read-only connections never do, so the log is reset by one connection
    alone. Readers see the last commit, and wait for no write and no fsync.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if frozen else ''}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    # A scan whose caller has gone ends with "interrupted".
    connection.set_progress_handler(is_cancelled, STEPS)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA mmap_size = 0")
    return connection


def quick_check(connection: sqlite3.Connection, path: Path) -> None:
    """Let SQLite look at every page.

    Raises:
        StorageDamaged: it found something wrong.
    """
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StorageDamaged(str(path), str(found))


def check_format(connection: sqlite3.Connection, path: Path) -> int | None:
    """Refuse a file of another format; return its version, None where it has no tables.

    Raises:
        StorageDamaged: it is a database of something else, or has not our tables.
        NewerFormat: a later version wrote it.
    """
    tables = _tables(connection, path)
    if not tables:
        return None
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StorageDamaged(str(path), "is a database of something else")
    if version > SCHEMA_VERSION:
        raise NewerFormat(str(path), version, SCHEMA_VERSION)
    if not _own_tables(version) <= tables:
        raise StorageDamaged(str(path), "does not have the tables of its format")
    return version


def read_meta(connection: sqlite3.Connection, key: str) -> int | str:
    """Return a value of the file's own table.

    Raises:
        StorageDamaged: it is not there.
    """
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None or not isinstance(row[0], (int, str)):
        raise StorageDamaged(FILE_NAME, f"its own table has no {key}")
    value: int | str = row[0]
    return value


def read_number(connection: sqlite3.Connection, key: str) -> int:
    """Return a number of the file's own table.

    Raises:
        StorageDamaged: it is none.
    """
    value = read_meta(connection, key)
    if not isinstance(value, int):
        raise StorageDamaged(FILE_NAME, f"has {key} {value!r}")
    return value


def release_free_pages(connection: sqlite3.Connection, most: int) -> int:
    """Take up to so many free pages out of the file, and return how many that were.

    A file of a version before this one cannot shrink.
    """
    ((free,), (mode,)) = (
        connection.execute(f"PRAGMA {name}").fetchone()
        for name in ("freelist_count", "auto_vacuum")
    )
    count = min(int(free), most) if mode == INCREMENTAL else 0
    for _ in range(count):
        # One page a call: the module ends the statement after its first step.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return count


def write_meta(connection: sqlite3.Connection, key: str, value: int | str) -> None:
    """Set a value of the file's own table."""
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))


def _prepare(connection: sqlite3.Connection, path: Path, *, durable: bool, log_bytes: int) -> None:
    # Memory-mapped pages would turn a damaged disk into SIGBUS, and stray writes into damage.
    connection.execute("PRAGMA mmap_size = 0")
    version = check_format(connection, path)
    if version is None:
        # What is deleted then can be given back to the disk; only an empty file takes this.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
    # Each checkpoint costs two more fsyncs than a commit.
    pages = min(log_bytes or MAX_LOG_BYTES, MAX_LOG_BYTES) // PAGE_BYTES
    connection.execute(f"PRAGMA wal_autocheckpoint = {max(1, pages)}")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if version is None:
        _create(connection)
    elif version < SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        migrate(connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _make_private(path: Path) -> None:
    """Let only the owner read the file; SQLite gives its mode to the log beside it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
    try:
        with suppress(PermissionError):  # another user's, who decides
            os.fchmod(descriptor, OWNER_ONLY)
    finally:
        os.close(descriptor)


def _tables(connection: sqlite3.Connection, path: Path) -> set[str]:
    """Return the statements that made the tables and indexes."""
    try:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {sql for (sql,) in rows}
    except sqlite3.OperationalError as error:
        # A header that was overwritten; SQLite has no code of its own for it.
        if "unsupported file format" in str(error):
            raise StorageDamaged(str(path), str(error)) from error
        raise


@cache
def _own_tables(version: int) -> set[str]:
    schema = _SCHEMA if version == SCHEMA_VERSION else version_1(_SCHEMA)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        return _tables(connection, Path(FILE_NAME))


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [("uuid", uuid.uuid4().hex), ("epoch", 0), ("next_pk", 1), ("clean", 1)],
    )
    connection.execute("COMMIT")
