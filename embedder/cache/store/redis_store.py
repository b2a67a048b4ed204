"""A store in a Redis or Valkey server that several services share.

Each key is a row that expires with its record; a row with a wrong checksum is ignored. The server
should evict: ``maxmemory`` with ``allkeys-lru``. Nothing is pickled, and the URL, which may hold a
password, appears in no message.
"""

from __future__ import annotations

import math
import re
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
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.entries import Entries
from embedder.core.errors import MissingExtra, StageUnavailable

if TYPE_CHECKING:
    from redis import Redis

PREFIX = b"embedder:1:"
"""Prefix of all keys; the number is the version of the row format."""

CONNECT_S, ANSWER_S = 0.5, 1.0
"""Seconds for the server to connect and to answer; they also bound abandoned calls."""

_SCAN_KEYS = 1000

_SENT_BYTES = 8 * 2**20
"""Rows that are sent together; the client copies them before."""


class RedisStore:
    """A store at ``url``, which begins with redis://, rediss:// or unix://.

    Raises:
        MissingExtra: redis-py is not installed.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self.stats = StoreStats()
        self._url = url
        self._address = _address(url)
        self._clock = clock
        self._client: Redis | None = None
        try:
            import redis  # noqa: F401 - report a missing package at once
        except ImportError as error:
            raise MissingExtra("cache.url", "redis", "redis") from error

    @property
    def is_open(self) -> bool:
        """Tell whether the server has answered once; the client reconnects by itself."""
        return self._client is not None

    def open(self) -> None:
        """Connect to the server.

        Raises:
            StageUnavailable: the server does not answer, or rejects the credentials.
        """
        if self._client is None:
            with self._reporting():
                client = _client(self._url)
                client.ping()
                self._client = client

    def get_many(self, keys: Sequence[bytes], width: int) -> Records:
        """Return the records of ``width`` components.

        Raises:
            StageUnavailable: the server does not answer.
        """
        values: list[Any] = []
        if keys:
            with self._reporting():
                values = self._connected().mget([PREFIX + key for key in keys])
        size = None if width == RAGGED else row_bytes(width)
        answers = zip(keys, values, strict=False)
        rows = [(key, row) for key, row in answers if row and size in (None, len(row))]
        unpacked = unpack([key for key, _ in rows], [row for _, row in rows], self._clock())
        self.stats.corrupt += unpacked.corrupt
        found = [records for records in unpacked.records if records.width == width]
        return found[0] if found else Records([], Entries.allocate(0, width), np.empty(0))

    def put_many(self, records: Records) -> None:
        """Set the records, each with its remaining time to live.

        Raises:
            StageUnavailable: some or all records are not stored.
        """
        rows = pack(records, self._clock())
        with self._reporting():
            pipeline, waiting = self._connected().pipeline(transaction=False), 0
            for key, row, ttl_s in zip(records.keys, rows, records.ttls_s, strict=True):
                if ttl_s > 0:
                    ttl_ms = None if ttl_s == FOREVER else max(1, math.floor(ttl_s * 1000))
                    pipeline.set(PREFIX + key, row, px=ttl_ms)
                    waiting += len(row)
                if waiting > _SENT_BYTES:
                    pipeline.execute()
                    waiting = 0
            pipeline.execute()

    def purge(self, tag: bytes) -> None:
        """Delete all keys of one model for all services.

        Raises:
            StageUnavailable: some or all keys are still stored.
        """
        self._unlink_all(PREFIX + tag)

    def clear(self) -> None:
        """Delete all keys with our prefix for all services.

        Raises:
            StageUnavailable: some or all keys are still stored.
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
            found = client.scan_iter(match=_escaped(prefix) + b"*", count=_SCAN_KEYS)
            while keys := list(islice(found, _SCAN_KEYS)):
                client.unlink(*keys)

    def _connected(self) -> Redis:
        if self._client is None:
            raise StageUnavailable("cache store", f"{self._address} is not open")
        return self._client

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        from redis import RedisError

        try:
            yield
        except (RedisError, OSError) as error:
            # Without the message and the cause: they might quote the URL.
            raise StageUnavailable(
                "cache store", f"{self._address}: {type(error).__name__}"
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


def _address(url: str) -> str:
    """Return the address of the server without user and password."""
    parts = urlsplit(url)
    host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    return f"{parts.scheme}://{host}{parts.path}"


def _escaped(prefix: bytes) -> bytes:
    """Return the glob pattern that matches exactly this prefix."""
    return re.sub(rb"[*?\[\]\\^]", rb"\\\g<0>", prefix)
