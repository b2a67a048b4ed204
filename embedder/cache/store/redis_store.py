"""Records in a Redis or Valkey that several services share, and that forgets by itself.

Each key is a row of its own that lives no longer than the record; a row that fails its checksum is
not there. The server should evict: ``maxmemory`` with ``allkeys-lru``. Nothing is pickled, and the
URL, which may hold a password, is told to nobody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from embedder.cache.store.protocol import StoreStats
from embedder.cache.store.records import FOREVER, Records
from embedder.cache.store.rows import pack, row_bytes, unpack
from embedder.core.errors import MissingExtra, StageUnavailable
from embedder.core.types import Entries

if TYPE_CHECKING:
    from redis import Redis

PREFIX = b"embedder:1:"
"""Of all keys; the number is that of the rows' format."""

CONNECT_S, ANSWER_S = 0.5, 1.0
"""How long the server may take: no thread waits longer, whoever has stopped waiting for it."""

_SCAN_KEYS = 1000


class RedisStore:
    """Keeps records at ``url``, which begins with redis://, rediss:// or unix://.

    Raises:
        MissingExtra: redis-py is not installed.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self.stats = StoreStats()
        self._url = url
        self._place = _place(url)
        self._clock = clock
        self._client: Redis | None = None
        try:
            import redis  # noqa: F401 - only to find out, before anything is waited for
        except ImportError as error:
            raise MissingExtra("cache.url", "redis", "redis") from error

    @property
    def is_open(self) -> bool:
        """Tell whether the server has answered once; connections are made anew by themselves."""
        return self._client is not None

    def open(self) -> None:
        """Ask the server whether it is there.

        Raises:
            StageUnavailable: it does not answer, or does not let us in.
        """
        if self._client is None:
            with self._reporting():
                client = _client(self._url)
                client.ping()
                self._client = client

    def get_many(self, keys: Sequence[bytes], width: int) -> Records:
        """Return what is there of ``width`` components.

        Raises:
            StageUnavailable: the server does not answer.
        """
        values: list[Any] = []
        if keys:
            with self._reporting():
                values = self._connected().mget([PREFIX + key for key in keys])
        size = row_bytes(width)
        there = [(key, row) for key, row in zip(keys, values, strict=False) if row is not None]
        fitting = [(key, row) for key, row in there if len(row) == size]
        unpacked = unpack([key for key, _ in fitting], [row for _, row in fitting], self._clock())
        self.stats.corrupt += unpacked.corrupt
        return unpacked.records[0] if unpacked.records else _nothing(width)

    def put_many(self, records: Records) -> None:
        """Send the records, each to live as long as it has left.

        Raises:
            StageUnavailable: some or all are not kept.
        """
        rows, size = pack(records, self._clock()), row_bytes(records.width)
        with self._reporting():
            pipeline = self._connected().pipeline(transaction=False)
            for at, (key, life_s) in enumerate(zip(records.keys, records.ttls_s, strict=True)):
                if life_s > 0:
                    life_ms = None if life_s == FOREVER else max(1, math.floor(life_s * 1000))
                    pipeline.set(PREFIX + key, rows[at * size : (at + 1) * size], px=life_ms)
            pipeline.execute()

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Forget what is under these keys, for everybody.

        Raises:
            StageUnavailable: some or all are still there.
        """
        if keys:
            with self._reporting():
                self._connected().unlink(*(PREFIX + key for key in keys))

    def purge(self, tag: bytes) -> None:
        """Forget everything of one model, for everybody.

        Raises:
            StageUnavailable: some or all is still there.
        """
        self._unlink_all(PREFIX + tag)

    def clear(self) -> None:
        """Forget everything that has our prefix, for everybody.

        Raises:
            StageUnavailable: some or all is still there.
        """
        self._unlink_all(PREFIX)

    def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _unlink_all(self, prefix: bytes) -> None:
        with self._reporting():
            client = self._connected()
            found = client.scan_iter(match=_literally(prefix) + b"*", count=_SCAN_KEYS)
            while keys := list(islice(found, _SCAN_KEYS)):
                client.unlink(*keys)

    def _connected(self) -> Redis:
        if self._client is None:
            raise StageUnavailable("cache store", f"{self._place} is not open")
        return self._client

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        from redis import RedisError

        try:
            yield
        except (RedisError, OSError) as error:
            # Without its words and without what it came from: they might quote the URL.
            raise StageUnavailable(
                "cache store", f"{self._place}: {type(error).__name__}"
            ) from None


def _client(url: str) -> Redis:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        retry=Retry(NoBackoff(), 0),
    )


def _place(url: str) -> str:
    """Return where the server is, without the user and the password."""
    parts = urlsplit(url)
    host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    return f"{parts.scheme}://{host}{parts.path}"


def _literally(prefix: bytes) -> bytes:
    """Return a pattern that matches the prefix alone, whatever its bytes mean in one."""
    return b"".join(
        b"\\" + bytes([byte]) if byte in b"*?[]\\^" else bytes([byte]) for byte in prefix
    )


def _nothing(width: int) -> Records:
    return Records([], Entries.allocate(0, width), np.empty(0))
