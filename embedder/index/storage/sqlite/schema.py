"""The SQLite file of a shard: its tables, and how it is opened.

Deletions of points are not recorded: a segment index is updated by comparing its (pk, seq) pairs
with the stored ones, so that a point missing here counts as deleted, whatever a crash has lost.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path

from embedder.core.cancellation import is_cancelled
from embedder.core.private_files import OWNER_ONLY
from embedder.core.storage_errors import NewerFormat, StorageDamaged
from embedder.index.storage.sqlite.collection_table import (
    COLLECTIONS,
    DELETED,
    FILE_NAME,
    migrate_to_2,
    version_1,
)
from embedder.index.storage.sqlite.error_codes import translate_storage_errors
from embedder.index.storage.sqlite.rows.sparse_rows import SPARSE
from embedder.index.storage.sqlite.rows.text_rows import TEXTS

SCHEMA_VERSION = 4
STEPS = 10_000
"""Steps of SQLite's virtual machine between two checks for cancellation."""

INCREMENTAL = 2
PAGE_BYTES = 4096
MAX_LOG_BYTES = 16 << 20
APPLICATION_ID = 0x45564958
"""Identifies files of this format, also for tools such as ``file``."""

# The tables of version 2. Vectors have a table of their own, so that filters and pages read few
# bytes per point.
# seq: the collection's sequence number of the write that stored the point's current content.
# pk: never reused; an overwritten point keeps it. A collection without a name is invisible.
_WITHOUT_TEXTS = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
{COLLECTIONS}
CREATE TABLE points(
    pk INTEGER PRIMARY KEY, collection INTEGER NOT NULL, ext_id TEXT NOT NULL,
    seq INTEGER NOT NULL, crc INTEGER NOT NULL, text TEXT, metadata TEXT NOT NULL);
CREATE UNIQUE INDEX points_by_id ON points(collection, ext_id);
CREATE INDEX points_by_pk ON points(collection, pk, seq);
CREATE TABLE vectors(pk INTEGER PRIMARY KEY, crc INTEGER NOT NULL, vector BLOB NOT NULL);
{DELETED}
"""
_SCHEMA = f"""
{_WITHOUT_TEXTS}{TEXTS}{SPARSE}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


def _create_tables(statements: str, db: sqlite3.Connection) -> None:
    """Create tables inside the caller's transaction."""
    for statement in filter(str.strip, statements.split(";")):
        db.execute(statement)


_SCHEMAS = {
    1: version_1(_WITHOUT_TEXTS),
    2: _WITHOUT_TEXTS,
    3: _WITHOUT_TEXTS + TEXTS,
    SCHEMA_VERSION: _SCHEMA,
}
_MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {
    1: migrate_to_2,
    2: partial(_create_tables, TEXTS),
    3: partial(_create_tables, SPARSE),
}
"""For each earlier version the change of the tables that leads to the next one."""


def open_writer(path: Path, *, durable: bool, log_bytes: int = 0) -> sqlite3.Connection:
    """Open or create the file for its single writer; any thread may use the connection.

    ``log_bytes`` is the size at which the log is checkpointed into the file, 0 for the default.

    Raises:
        StorageDamaged: the file has another format, or is damaged.
        NewerFormat: a later version wrote the file.
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
    """Open the file read-only; any thread may use the connection.

    ``frozen`` is for a file without a writer. A read-only connection neither writes nor
    checkpoints, so a single connection resets the log, as SQLite requires. Readers see the last
    commit, and wait for no write and no fsync.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if frozen else ''}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    # After a cancellation, a running scan fails with "interrupted".
    connection.set_progress_handler(is_cancelled, STEPS)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA mmap_size = 0")
    return connection


def quick_check(connection: sqlite3.Connection, path: Path) -> None:
    """Let SQLite check every page.

    Raises:
        StorageDamaged: a check failed.
    """
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StorageDamaged(str(path), str(found))


def check_format(connection: sqlite3.Connection, path: Path) -> int | None:
    """Return the version of the file's format, None for an empty file.

    Raises:
        StorageDamaged: the file is another kind of database, or lacks a table of its version.
        NewerFormat: a later version wrote the file.
    """
    tables = _tables(connection, path)
    if not tables:
        return None
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StorageDamaged(str(path), "is another kind of database")
    if version > SCHEMA_VERSION:
        raise NewerFormat(str(path), version, SCHEMA_VERSION)
    if not _own_tables(version) <= tables:
        raise StorageDamaged(str(path), "does not have the tables of its format")
    return version


def release_free_pages(connection: sqlite3.Connection, most: int) -> int:
    """Remove up to ``most`` free pages from the file; return how many were removed.

    A file without auto-vacuum, which an earlier version created, cannot shrink.
    """
    ((free,), (mode,)) = (
        connection.execute(f"PRAGMA {name}").fetchone()
        for name in ("freelist_count", "auto_vacuum")
    )
    count = min(int(free), most) if mode == INCREMENTAL else 0
    for _ in range(count):
        # One page per call: the module of Python ends this statement after its first step.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return count


def _prepare(connection: sqlite3.Connection, path: Path, *, durable: bool, log_bytes: int) -> None:
    # With memory-mapped pages, a damaged disk raises SIGBUS, and stray writes damage the file.
    connection.execute("PRAGMA mmap_size = 0")
    version = check_format(connection, path)
    if version is None:
        # Lets the file shrink after deletions; takes effect in an empty file only.
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
        for earlier in range(version, SCHEMA_VERSION):
            _MIGRATIONS[earlier](connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _make_private(path: Path) -> None:
    """Restrict the file to its owner; SQLite gives the log the same mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
    try:
        with suppress(PermissionError):  # the file belongs to another user
            os.fchmod(descriptor, OWNER_ONLY)
    finally:
        os.close(descriptor)


def _tables(connection: sqlite3.Connection, path: Path) -> set[str]:
    """Return the statements that made the tables and indexes."""
    try:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {sql for (sql,) in rows}
    except sqlite3.OperationalError as error:
        # The header was overwritten; SQLite has no error code for that.
        if "unsupported file format" in str(error):
            raise StorageDamaged(str(path), str(error)) from error
        raise


@cache
def _own_tables(version: int) -> set[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMAS[version])
        return _tables(connection, Path(FILE_NAME))


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [("uuid", uuid.uuid4().hex), ("epoch", 0), ("next_pk", 1), ("clean", 1)],
    )
    connection.execute("COMMIT")
