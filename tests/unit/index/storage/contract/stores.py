"""The stores that the tests of the contract run over, and writes of one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from embedder.core.types import Vectors
from embedder.index.contract.points import Points
from embedder.index.contract.sparse import SparseVector
from embedder.index.storage.protocol import Effect, Store, Transaction
from embedder.index.storage.row_encoding import EncodedRows, encode
from embedder.index.storage.sqlite.store import SqliteStore
from tests.unit.index.storage.postgres.postgres_server import running_server
from tests.unit.waiting import LONG_S

T = TypeVar("T")


@cache
def _url(_: Path) -> str:
    """Return the URL of a database that stands for a folder."""
    return running_server().create_database()


def _postgres(folder: Path) -> Store:
    url = _url(folder)
    from embedder.index.storage.postgres.store import PostgresStore

    return PostgresStore(url, 0, 1)


STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SqliteStore(folder, 0, durable=True),
    "postgres": _postgres,
}
"""How to open each store; a second call for the same folder opens it again."""


class Opener:
    """Opens and reopens one store; ``store`` is the open one."""

    def __init__(self, name: str, folder: Path) -> None:
        self._open, self._folder, self._closed = STORES[name], folder, False
        self.store = self._open(folder)

    def close(self) -> None:
        """Close the store, unless it is closed already."""
        if not self._closed:
            self._closed = True
            self.store.close()

    def reopen(self) -> Store:
        """Close the store, and return it opened again."""
        self.close()
        self.store, self._closed = self._open(self._folder), False
        return self.store


def commit(store: Store, work: Callable[[Transaction], T]) -> T:
    """Run ``work`` as a write, and return its result."""

    def write(rows: Transaction) -> Effect[T]:
        result = work(rows)
        return lambda: result

    return store.submit(write).result(LONG_S)


@contextmanager
def held(store: Store) -> Iterator[None]:
    """Keep a write from ending, so that all later writes are queued, until the block ends."""
    inside, go = threading.Event(), threading.Event()

    def write(_: Transaction) -> Effect[None]:
        inside.set()
        assert go.wait(LONG_S)
        return lambda: None

    future = store.submit(write)
    assert inside.wait(LONG_S)
    try:
        yield
    finally:
        go.set()
    future.result(LONG_S)


def rows_of(
    ids: list[str],
    vectors: Vectors | None = None,
    texts: list[str | None] | None = None,
    metadata: list[dict[str, Any]] | None = None,
    sparse: Sequence[SparseVector | None] = (),
) -> EncodedRows:
    """Return encoded points, by default with equal vectors of two components, and no texts."""
    given = np.ones((len(ids), 2), np.float32) if vectors is None else vectors
    texts, metadata = texts or [None] * len(ids), metadata or [{}] * len(ids)
    return encode(Points(ids, given, texts, metadata, sparse=sparse))
