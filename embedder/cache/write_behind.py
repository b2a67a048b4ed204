"""Write changes of memory to a store in the background, and load the store at the start.

One task gives one thread one call at a time. It copies from and to memory in batches that block the
event loop for about a millisecond. Changes that the store rejects are retried.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import ParamSpec, TypeVar

import numpy as np

from embedder.cache.memory import MemoryCache
from embedder.cache.store.dirty_keys import DirtyKeys, Flush
from embedder.cache.store.health import StoreHealth
from embedder.cache.store.protocol import LocalStore, SharedStore
from embedder.cache.store.records import Records
from embedder.core.deadline import Deadline
from embedder.core.errors import StageUnavailable
from embedder.settings.cache import CacheSettings

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

REOPEN_S = 5.0
"""Seconds until a store that cannot be opened is tried again."""

BATCH_KEYS = 512
"""Keys per write: memory copies their values within a millisecond."""

GARBAGE = 2.0
"""A local store with more rows than this multiple of memory's entries renews its oldest rows."""

SPARE_ROWS = 10_000
"""Rows above that multiple that are tolerated, since few are not worth the work."""

MAX_DELETED_KEYS = 100_000
"""Deleted keys above memory's entries; with more, the store is cleared and rewritten."""


class WriteBehind:
    """Keeps a store equal to memory; changes of memory are recorded in ``dirty`` first."""

    def __init__(
        self,
        memory: MemoryCache,
        dirty: DirtyKeys,
        store: LocalStore | SharedStore,
        settings: CacheSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.health = StoreHealth()
        self._memory = memory
        self._dirty = dirty
        self._store = store
        self._local = store if isinstance(store, LocalStore) else None
        self._settings = settings
        self._clock = clock
        self._due = 0.0
        self._flushing = Flush()
        self._opened = False
        self._stopping = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-store")

    @property
    def dirty(self) -> int:
        """Return the number of changes that the store does not have yet."""
        return len(self._dirty) + len(self._flushing)

    def start(self) -> None:
        """Start to open, to load and to write, and return."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write the remaining changes, and close the store."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            await self._last_flush()
        self.health.stopped = True
        self._thread.shutdown(wait=False)  # it is idle by now

    def notify(self) -> None:
        """Flush at once if ``autosave_entries`` changes wait, which a crash would lose."""
        if len(self._dirty) >= self._settings.autosave_entries and not self.health.failing:
            self._wake.set()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._open()
                if self.health.loading:
                    await self._load()
                await self._pause(self._due - _now())
                await self._renew(at_least=2 * await self._flush())
            except StageUnavailable as error:
                self.health.failed(error)
                self._bound_dirty_keys()
                is_open = self.health.is_open = self._store.is_open
                await self._pause(self._settings.autosave_s if is_open else REOPEN_S)
            except Exception:
                # No other task writes, so this one must not end.
                logger.exception("writing the cache to its store failed")
                self.health.failures += 1
                await self._pause(REOPEN_S)

    async def _open(self) -> None:
        if self._store.is_open:
            return
        await self._call(self._store.open)
        if self._opened:
            # It may be a new file, without the rows that were written to the old one.
            self._dirty.put_all(self._memory.keys()[::-1])
        self.health.is_open = self._opened = True
        self.health.loading = self._local is not None

    async def _load(self) -> None:
        """Load a local store into free memory; flush in between."""
        assert self._local is not None
        self.health.total = self._local.stats.rows
        chunks = self._local.load()
        ahead: asyncio.Future[Records | None] | None = None
        while (records := await (ahead or self._call(next, chunks, None))) is not None:
            # Not across a flush: records that were read before it may be out of date after it.
            read_ahead = not self._stopping and _now() < self._due
            ahead = asyncio.ensure_future(self._call(next, chunks, None)) if read_ahead else None
            self.health.loaded += self._fill(records)
            if self._stopping and ahead is None:
                return
            if ahead is None:
                await self._flush()
        self.health.loading = False

    def _fill(self, records: Records) -> int:
        """Store loaded records in memory, without those that have changed since."""
        if self._dirty:
            rows = [row for row, key in enumerate(records.keys) if not self._dirty.hides(key)]
            records = records.take(np.array(rows, np.intp))
        return self._memory.fill(records)

    async def _flush(self) -> int:
        """Write all changes and return the number of keys.

        Changes that the store rejects are kept for the next flush. Changes that cause an
        unexpected error are dropped, since they would cause it again.
        """
        self._due = _now() + self._settings.autosave_s
        flush = self._flushing = self._dirty.take()
        count = len(flush.keys)
        try:
            await self._write(flush)
        except StageUnavailable as error:
            self.health.failed(error)
            self._dirty.restore(flush)
        else:
            self.health.recovered()
        finally:
            self._flushing = Flush()
        if not self._store.is_open:
            raise StageUnavailable("cache store", "it must be reopened")
        self._bound_dirty_keys()
        return count

    async def _write(self, flush: Flush) -> None:
        """Apply all changes of a flush, and remove those that have been applied."""
        if flush.cleared:
            await self._call(self._store.clear)
            flush.cleared = False
        if flush.models is not None:
            if self._local is not None:
                await self._call(self._local.serves, flush.models)
            flush.models = None
        while flush.purged:
            await self._call(self._store.purge, flush.purged[0])
            del flush.purged[0]
        while batch := dict(islice(flush.keys.items(), BATCH_KEYS)):
            deleted = [key for key, put in batch.items() if not put]
            if deleted and self._local is not None:
                await self._call(self._local.delete_many, deleted)
            for records in self._memory.records([key for key, put in batch.items() if put]):
                await self._call(self._store.put_many, records)
                self.health.wrote(len(records), self._clock())
            flush.done(batch)

    async def _renew(self, at_least: int) -> None:
        """Remove outdated rows from a local store until the next flush is due.

        At least ``at_least`` rows are visited, more than a flush writes, so that outdated rows do
        not accumulate. Not while loading, when rows that are not in memory yet look outdated.
        """
        if self._local is None or self.health.loading or self._stopping:
            return
        while self._local.stats.rows > GARBAGE * self._memory.stats.entries + SPARE_ROWS:
            if at_least <= 0 and _now() >= self._due:
                return
            upto, keys = await self._call(self._local.oldest, BATCH_KEYS)
            await self._call(self._local.renew, upto, self._memory.records(keys))
            at_least -= BATCH_KEYS

    def _bound_dirty_keys(self) -> None:
        """Clear a local store and rewrite it if too many deleted keys wait."""
        too_many = len(self._dirty) > self._memory.stats.entries + MAX_DELETED_KEYS
        if self._local is not None and too_many:
            self._dirty.clear()
            self._dirty.put_all(self._memory.keys()[::-1])

    async def _last_flush(self) -> None:
        for work in (self._open(), self._flush(), self._call(self._store.close)):
            try:
                await work
            except StageUnavailable as error:
                self.health.failed(error)
            except Exception:
                logger.exception("stopping the cache failed")
        if self._dirty:
            logger.error("%d changes of the cache are lost", len(self._dirty))

    async def _pause(self, seconds: float) -> None:
        """Wait until the time is over or a flush is requested."""
        self._wake.clear()
        self.notify()
        if seconds <= 0 or self._stopping:
            return
        try:
            async with Deadline.after(seconds).limit():
                await self._wake.wait()
        except asyncio.TimeoutError:
            return

    async def _call(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Run a call in the store's thread."""
        work_now = partial(work, *args, **named)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work_now)


def _now() -> float:
    return asyncio.get_running_loop().time()
