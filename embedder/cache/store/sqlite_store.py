"""A cache's records in a SQLite file, as a log: what is new is appended, the oldest is cut off.

A table in the order of its keys would be written all over by keys that are hashes: at 1 GB that is
eight times slower. So a row is only ever appended, also one that says that its key is gone, and a
reader begins at the newest. What is out of date leaves when the oldest rows are renewed. Knows
nothing of memory: what is worth renewing is for the cache to say.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from embedder.cache.store.protocol import StoreStats
from embedder.cache.store.records import KEY_BYTES, TAG_BYTES, Records
from embedder.cache.store.rows import pack, row_bytes, unpack
from embedder.cache.store.sqlite_file import SqliteFile

CHUNK_ROWS = 512
"""Rows that are read at once; a loop that takes them into memory is not held up for long."""

_SCHEMA = (
    # Without a value the key is gone. Numbers go up by one: the ends tell how many there are.
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB)",
    "CREATE TABLE models (name TEXT PRIMARY KEY, tag BLOB NOT NULL) WITHOUT ROWID",
    # Of these models all rows up to a number are out of date.
    "CREATE TABLE purged (tag BLOB PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID",
)

# One statement for all rows of a chunk, cut out of what they are together: other threads are asked
# for the interpreter once a statement, and a busy one gives it away slowly. Without values all are
# NULL.
_APPEND = (
    "WITH RECURSIVE row (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM row WHERE n + 1 < :count)"
    " INSERT INTO entries SELECT :last + 1 + n, substr(:keys, n * :key_size + 1, :key_size),"
    " substr(:values, n * :size + 1, :size) FROM row"
)
_READ = "SELECT number, key, value FROM entries WHERE number < ? ORDER BY number DESC LIMIT ?"
_OLDEST = "SELECT number, key FROM entries ORDER BY number LIMIT ?"
_PURGE = "INSERT OR REPLACE INTO purged VALUES (?, ?)"


class SqliteStore:
    """Keeps what one cache holds in the file at ``path``; ``clock`` is the wall's, in seconds."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.stats = StoreStats()
        self._file = SqliteFile(path, _SCHEMA)
        self._clock = clock
        self._last = 0
        """The number of the newest row; numbers are not used again."""
        self._unread = 0
        """Rows with a lower number are still to be given by the `load` under way."""
        self._gone: set[bytes] = set()
        """Keys of which such rows are out of date."""

    @property
    def is_open(self) -> bool:
        """Tell whether there is a file to write to."""
        return self._file.is_open

    def open(self) -> None:
        """Open the file, and set one aside that is damaged or none of ours.

        Raises:
            StageUnavailable: it is in use by another process, or cannot be written to.
        """
        try:
            self._file.open()
        finally:
            self.stats.set_aside = self._file.set_aside
        with self._file.reading() as connection:
            (newest,) = connection.execute("SELECT max(number) FROM entries").fetchone()
        self._last = newest or 0
        self._count()

    def put_many(self, records: Records) -> None:
        """Append the records.

        Raises:
            StageUnavailable: they are not kept, none of them.
        """
        self._append([records])

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Append that the keys are gone.

        Raises:
            StageUnavailable: they are not.
        """
        if not keys:
            return
        with self._file.transaction() as connection:
            connection.execute(_APPEND, _rows(self._last, keys))
        self._last += len(keys)
        self._count()
        if self._unread:
            self._gone.update(keys)

    def load(self) -> Iterator[Records]:
        """Give all that is alive, what was put last first.

        What is put meanwhile is not given, what is deleted or purged is given no more. Between two
        steps anything else may be done.

        Raises:
            StageUnavailable: the file cannot be read any further.
        """
        self._unread = self.stats.rows and self._last + 1
        self._gone.clear()
        self.stats.read = 0
        while self._unread:
            yield from self._read_chunk()
        self._gone.clear()

    def serves(self, models: Mapping[str, bytes]) -> None:
        """Purge what models had that were served under these names, and are now under none.

        Raises:
            StageUnavailable: none is, and none is remembered.
        """
        with self._file.transaction() as connection:
            former = _served(connection)
            served = {**former, **{name.encode(): tag for name, tag in models.items()}}
            for tag in set(former.values()) - set(served.values()):
                connection.execute(_PURGE, (tag, self._last))
            connection.executemany("INSERT OR REPLACE INTO models VALUES (?, ?)", models.items())

    def purge(self, tag: bytes) -> None:
        """Take all rows of a model for out of date, however many, but for those put later.

        Raises:
            StageUnavailable: none is.
        """
        with self._file.transaction() as connection:
            connection.execute(_PURGE, (tag, self._last))

    def clear(self) -> None:
        """Begin an empty file.

        Raises:
            StageUnavailable: it cannot be made; then the store is not open.
        """
        self._unread = 0
        self._file.replace()
        self._last = 0
        self._count()

    def oldest(self, count: int) -> tuple[int, list[bytes]]:
        """Return the keys of the rows that were put longest ago, and the number of the last.

        Raises:
            StageUnavailable: the file cannot be read.
        """
        with self._file.reading() as connection:
            rows = connection.execute(_OLDEST, (count,)).fetchall()
            purged = _purged(connection)
        keys = [key for number, key in rows if _is_valid(number, key, purged)]
        return (rows[-1][0] if rows else 0), keys

    def renew(self, upto: int, records: Sequence[Records]) -> None:
        """Append these records, and cut off all rows up to the number, both or neither.

        Raises:
            StageUnavailable: neither.
        """
        self._append(records, upto)

    def close(self) -> None:
        """Close the file, which need not be checked when it is opened again."""
        self._file.close()

    def _append(self, every: Sequence[Records], upto: int = 0) -> None:
        now_s, last = self._clock(), self._last
        with self._file.transaction() as connection:
            # First, so that the new rows find room even where the disk has none.
            if upto:
                connection.execute("DELETE FROM entries WHERE number <= ?", (upto,))
                connection.execute("DELETE FROM purged WHERE upto <= ?", (upto,))
            for records in every:
                if len(records):
                    values, size = pack(records, now_s), row_bytes(records.width)
                    connection.execute(_APPEND, _rows(last, records.keys, values, size))
                    last += len(records)
        self._last = last
        self._count()

    def _read_chunk(self) -> Iterator[Records]:
        with self._file.reading() as connection:
            rows = connection.execute(_READ, (self._unread, CHUNK_ROWS)).fetchall()
            purged = _purged(connection)
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
                self._gone.add(key)
            elif key not in self._gone and _is_valid(number, key, purged):
                newest.setdefault(key, value)
        unpacked = unpack([*newest], [*newest.values()], self._clock())
        self.stats.corrupt += unpacked.corrupt
        self._gone.update(unpacked.expired)
        yield from unpacked.records

    def _count(self) -> None:
        with self._file.reading() as connection:
            (oldest,) = connection.execute("SELECT min(number) FROM entries").fetchone()
            if oldest is not None and oldest > self._last:
                raise sqlite3.DatabaseError("the last row is not the newest")
        self.stats.rows = 0 if oldest is None else self._last - oldest + 1
        self.stats.bytes = self._file.bytes()


def _purged(connection: sqlite3.Connection) -> dict[bytes, int]:
    """Return up to which number the rows of models are out of date."""
    purged = dict(connection.execute("SELECT tag, upto FROM purged").fetchall())
    if not all(isinstance(upto, int) for upto in purged.values()):
        raise sqlite3.DatabaseError("what is purged is no number")
    return purged


def _served(connection: sqlite3.Connection) -> dict[bytes, bytes]:
    """Return the tags of the models that were served last, by name."""
    return dict(connection.execute("SELECT name, tag FROM models").fetchall())


def _is_valid(number: int, key: bytes, purged: Mapping[bytes, int]) -> bool:
    return isinstance(key, bytes) and number > purged.get(key[:TAG_BYTES], 0)


def _rows(
    last: int, keys: Sequence[bytes], values: bytes | None = None, size: int = 0
) -> dict[str, Any]:
    """Return what `_APPEND` is told."""
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return {
        "last": last,
        "count": len(keys),
        "keys": b"".join(keys),
        "key_size": KEY_BYTES,
        "values": values,
        "size": size,
    }
