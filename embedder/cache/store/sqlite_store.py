"""A store of one cache in a SQLite file, organized as a log.

Rows are only appended, a deletion too, and read from the newest. Keys are hashes, so a table in key
order would be written all over: at 1 GB that is eight times slower. Outdated rows are removed when
the oldest rows are renewed; the cache decides which of those it still needs.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from embedder.cache.store.protocol import StoreStats
from embedder.cache.store.records import Records
from embedder.cache.store.rows import unpack
from embedder.cache.store.sqlite_file import SqliteFile
from embedder.cache.store.sqlite_rows import (
    OLDEST,
    PURGE,
    SCHEMA,
    append,
    append_records,
    is_valid,
    purged_rows,
    read,
)

CHUNK_ROWS = 512
"""Rows per read: storing them in memory blocks the event loop only briefly."""


class SqliteStore:
    """The store in the file at ``path``; ``clock`` is the wall clock, in seconds."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.stats = StoreStats()
        self._file = SqliteFile(path, SCHEMA)
        self._clock = clock
        self._last = 0
        """The number of the newest row; numbers are not reused."""
        self._unread = 0
        """Rows with a lower number are still to be read by the running `load`."""
        self._outdated: set[bytes] = set()
        """Keys whose unread rows are outdated."""

    @property
    def is_open(self) -> bool:
        """Tell whether the file is open."""
        return self._file.is_open

    def open(self) -> None:
        """Open the file; rename a damaged or foreign file and create a new one.

        Raises:
            StageUnavailable: the file is in use by another process, or cannot be written.
        """
        try:
            self._file.open()
        finally:
            self.stats.renamed_files = self._file.renamed_files
        with self._file.reading() as connection:
            (newest,) = connection.execute("SELECT max(number) FROM entries").fetchone()
        self._last = newest or 0
        self._count()

    def put_many(self, records: Records) -> None:
        """Append the records.

        Raises:
            StageUnavailable: no record is stored.
        """
        self._append([records])

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Append deletions of the keys.

        Raises:
            StageUnavailable: no key is deleted.
        """
        if not keys:
            return
        with self._file.transaction() as connection:
            append(connection, self._last, keys)
        self._last += len(keys)
        self._count()
        if self._unread:
            self._outdated.update(keys)

    def load(self) -> Iterator[Records]:
        """Yield all live records, newest first.

        Other methods may be called between two steps. Records that are put meanwhile are not
        yielded, nor are keys that are deleted or purged.

        Raises:
            StageUnavailable: the file cannot be read further.
        """
        self._unread = self.stats.rows and self._last + 1
        self._outdated.clear()
        self.stats.read = 0
        while self._unread:
            yield from self._read_chunk()
        self._outdated.clear()

    def serves(self, models: Mapping[str, bytes]) -> None:
        """Set the served models (name to tag); purge the models that they replace.

        Raises:
            StageUnavailable: nothing has changed.
        """
        with self._file.transaction() as connection:
            former = dict(connection.execute("SELECT name, tag FROM models").fetchall())
            served = {**former, **{name.encode(): tag for name, tag in models.items()}}
            for tag in set(former.values()) - set(served.values()):
                connection.execute(PURGE, (tag, self._last))
            connection.executemany("INSERT OR REPLACE INTO models VALUES (?, ?)", models.items())

    def purge(self, tag: bytes) -> None:
        """Mark all present rows of a model as outdated, at a cost independent of their number.

        Raises:
            StageUnavailable: nothing has changed.
        """
        with self._file.transaction() as connection:
            connection.execute(PURGE, (tag, self._last))

    def clear(self) -> None:
        """Replace the file by an empty one.

        Raises:
            StageUnavailable: the file cannot be created; then the store is not open.
        """
        self._unread = 0
        self._file.replace()
        self._last = 0
        self._count()

    def oldest(self, count: int) -> tuple[int, list[bytes]]:
        """Return the last number and the valid keys of the oldest ``count`` rows.

        Raises:
            StageUnavailable: the file cannot be read.
        """
        with self._file.reading() as connection:
            rows = connection.execute(OLDEST, (count,)).fetchall()
            purged = purged_rows(connection)
        keys = [key for number, key in rows if is_valid(number, key, purged)]
        return (rows[-1][0] if rows else 0), keys

    def renew(self, upto: int, records: Sequence[Records]) -> None:
        """Append these records and delete all rows up to ``upto``, in one transaction.

        Raises:
            StageUnavailable: nothing has changed.
        """
        self._append(records, upto)

    def close(self) -> None:
        """Close the file, so that it need not be checked when it is opened again."""
        self._file.close()

    def _append(self, batches: Sequence[Records], upto: int = 0) -> None:
        now_s, last = self._clock(), self._last
        with self._file.transaction() as connection:
            # First, so that the new rows find space even on a full disk.
            if upto:
                connection.execute("DELETE FROM entries WHERE number <= ?", (upto,))
                connection.execute("DELETE FROM purged WHERE upto <= ?", (upto,))
            for records in batches:
                append_records(connection, last, records, now_s)
                last += len(records)
        self._last = last
        self._count()

    def _read_chunk(self) -> Iterator[Records]:
        with self._file.reading() as connection:
            rows = read(connection, self._unread, CHUNK_ROWS)
            purged = purged_rows(connection)
            numbers = [self._unread, *(number for number, _, _ in rows)]
            if any(after >= before for before, after in pairwise(numbers)):
                raise sqlite3.DatabaseError("rows are out of order")
        self._unread = numbers[-1] if rows else 0
        self.stats.read += len(rows)
        newest: dict[bytes, bytes] = {}
        for number, key, value in rows:
            if not isinstance(key, bytes) or not isinstance(value, bytes | None):
                self.stats.corrupt += 1
            elif value is None:
                self._outdated.add(key)
            elif key not in self._outdated and is_valid(number, key, purged):
                newest.setdefault(key, value)
        unpacked = unpack([*newest], [*newest.values()], self._clock())
        self.stats.corrupt += unpacked.corrupt
        self._outdated.update(unpacked.expired)
        yield from unpacked.records

    def _count(self) -> None:
        with self._file.reading() as connection:
            (oldest,) = connection.execute("SELECT min(number) FROM entries").fetchone()
            if oldest is not None and oldest > self._last:
                raise sqlite3.DatabaseError("the last row is not the newest")
        self.stats.rows = 0 if oldest is None else self._last - oldest + 1
        self.stats.bytes = self._file.bytes()
