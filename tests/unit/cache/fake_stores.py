"""Stores in memory that fail, block and lose rows when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from embedder.cache.store.protocol import StoreStats
from embedder.cache.store.records import Records
from embedder.core.entries.entries import Entries
from embedder.core.errors import StageUnavailable
from tests.unit.cache.known import Row, by_key

FULL = StageUnavailable("cache store", "the disk is full")


class FakeStore:
    """Keeps rows in a dictionary. Every method raises ``failure`` while it is set.

    While ``gate`` is closed everything waits, and ``calls`` tells what was asked for.
    """

    def __init__(self) -> None:
        self.stats = StoreStats()
        self.rows: dict[bytes, Row] = {}
        self.gone: list[bytes] = []
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.cannot_open: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.is_open = False

    def open(self) -> None:
        self._asked("open")
        if self.cannot_open is not None:
            raise self.cannot_open
        self.is_open = True

    def put_many(self, records: Records) -> None:
        self._asked("put_many")
        self.rows.update(by_key([records]))
        self.stats.rows += len(records)

    def delete_many(self, keys: Sequence[bytes]) -> None:
        self._asked("delete_many")
        self.gone += keys
        for key in keys:
            self.rows.pop(key, None)
        self.stats.rows += len(keys)

    def purge(self, tag: bytes) -> None:
        self._asked("purge")
        self.gone.append(tag)
        self.rows = {key: row for key, row in self.rows.items() if not key.startswith(tag)}

    def clear(self) -> None:
        self._asked("clear")
        self.gone.append(b"")
        self.rows = {}

    def close(self) -> None:
        self._asked("close")
        self.is_open = False

    def lose_everything(self) -> None:
        """Behave as if the file was removed: closed, and empty when opened again."""
        self.rows, self.is_open = {}, False

    def _is_gone(self, key: bytes) -> bool:
        return any(key.startswith(prefix) for prefix in self.gone)

    def _asked(self, call: str) -> None:
        self.calls.append(call)
        self.gate.wait()
        if self.failure is not None:
            raise self.failure


class FakeLocalStore(FakeStore):
    """Gives back what it was made with, ``saved``, but for what was forgotten since.

    ``fails_after`` so many chunks it fails, once.
    """

    def __init__(self, saved: Sequence[Records] = ()) -> None:
        super().__init__()
        self.saved = saved
        self.fails_after: int | None = None
        self.served: dict[str, bytes] = {}
        self.oldest_keys: list[bytes] = []
        self.stats.rows = sum(map(len, saved))

    def load(self) -> Iterator[Records]:
        for number, records in enumerate(self.saved):
            if number == self.fails_after:
                self.fails_after = None
                raise FULL
            self._asked("load")
            rows = [at for at, key in enumerate(records.keys) if not self._is_gone(key)]
            if rows:
                yield records.take(np.array(rows, np.intp))

    def serves(self, models: Mapping[str, bytes]) -> None:
        self._asked("serves")
        self.served = dict(models)

    def oldest(self, count: int) -> tuple[int, list[bytes]]:
        self._asked("oldest")
        return min(count, self.stats.rows), self.oldest_keys

    def renew(self, upto: int, records: Sequence[Records]) -> None:
        self._asked("renew")
        self.stats.rows += sum(map(len, records)) - upto


class FakeSharedStore(FakeStore):
    """Returns the rows that it holds."""

    def get_many(self, keys: Sequence[bytes], width: int) -> Records:
        self._asked("get_many")
        there = [key for key in keys if key in self.rows]
        rows = [self.rows[key] for key in there]
        entries = Entries(
            np.array([vector for vector, _, _ in rows], np.float32).reshape(-1, width),
            np.array([count for _, count, _ in rows], np.int32),
            np.array([truncated for _, _, truncated in rows], np.bool_),
        )
        return Records(there, entries, np.full(len(there), 60.0))
