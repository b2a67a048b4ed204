"""Writes what memory has learned to a store, behind everyone's back, and reads it at the start.

One task gives a thread one piece of work at a time. It takes from memory, and into it, only as much
at once as holds the event loop up for about a millisecond. What the store cannot take is tried
again. Knows nothing of how a store keeps things.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
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
from embedder.core.errors import StageUnavailable
from embedder.core.time_limit import wait_within
from embedder.settings.model import CacheSettings

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

REOPEN_S = 5.0
"""How long a store that cannot be opened is left alone."""

PART_KEYS = 512
"""How many keys a store is given at once: memory copies their values within a millisecond."""

GARBAGE = 2.0
"""Rows of a local store for each entry in memory from which on its oldest rows are renewed."""

SPARE_ROWS = 10_000
"""Rows that there may be beyond that: few are not worth the work."""

MAX_DELETES = 100_000
"""Keys to be deleted that are remembered; with more, the store is emptied and written anew."""


class WriteBehind:
    """Keeps a store as memory is; whoever changes memory marks the keys before."""

    def __init__(
        self,
        memory: MemoryCache,
        marks: DirtyKeys,
        store: LocalStore | SharedStore,
        settings: CacheSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.condition = StoreHealth()
        self._memory = memory
        self._marks = marks
        self._store = store
        self._local = store if isinstance(store, LocalStore) else None
        self._settings = settings
        self._clock = clock
        self._due = 0.0
        self._under_way = Flush()
        self._opened = False
        self._stopping = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-store")

    @property
    def dirty(self) -> int:
        """Return how many changes of memory the store does not have yet."""
        return len(self._marks) + len(self._under_way)

    def start(self) -> None:
        """Begin to open, to load and to write; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write what is left, and close the store."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            await self._last_turn()
        self.condition.stopped = True
        self._thread.shutdown()

    def marked(self) -> None:
        """Take note of new marks: so many that a crash would lose too much are written at once."""
        if len(self._marks) >= self._settings.autosave_entries and not self.condition.failing:
            self._wake.set()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._open()
                if self.condition.loading:
                    await self._load()
                await self._pause(self._due - _now())
                await self._renew(at_least=2 * await self._turn())
            except StageUnavailable as error:
                self.condition.failed(error)
                self._bound_the_marks()
                is_open = self.condition.is_open = self._store.is_open
                await self._pause(self._settings.autosave_s if is_open else REOPEN_S)
            except Exception:
                # This task is the only one that writes: it must not end.
                logger.exception("writing the cache behind failed")
                self.condition.failures += 1
                await self._pause(REOPEN_S)

    async def _open(self) -> None:
        if self._store.is_open:
            return
        await self._call(self._store.open)
        if self._opened:
            # It may be another file, which lacks what had been written to the former one.
            self._marks.everything(self._memory.keys()[::-1])
        self.condition.is_open = self._opened = True
        self.condition.loading = self._local is not None

    async def _load(self) -> None:
        """Take what a local store has into free room, and go on writing meanwhile."""
        assert self._local is not None
        self.condition.total = self._local.stats.rows
        chunks = self._local.load()
        ahead: asyncio.Future[Records | None] | None = None
        while (records := await (ahead or self._call(_next, chunks))) is not None:
            # Not across a turn: what is read before it and taken in after it may be out of date.
            reads_on = not self._stopping and _now() < self._due
            ahead = asyncio.ensure_future(self._call(_next, chunks)) if reads_on else None
            self.condition.loaded += self._fill(records)
            if self._stopping and ahead is None:
                return
            if ahead is None:
                await self._turn()
        self.condition.loading = False

    def _fill(self, records: Records) -> int:
        """Take records into memory but for those of which it knows something newer."""
        if self._marks:
            rows = [row for row, key in enumerate(records.keys) if not self._marks.hides(key)]
            records = records.take(np.array(rows, np.intp))
        return self._memory.fill(records)

    async def _turn(self) -> int:
        """Write what is marked, and return how many keys that were.

        What the store cannot take is marked again, but not what fails for a reason that nobody
        foresaw, since it would fail again.
        """
        self._due = _now() + self._settings.autosave_s
        turn = self._under_way = self._marks.take()
        count = len(turn.keys)
        try:
            await self._write(turn)
        except StageUnavailable as error:
            self.condition.failed(error)
            self._marks.restore(turn)
        else:
            self.condition.recovered()
        finally:
            self._under_way = Flush()
        if not self._store.is_open:
            raise StageUnavailable("cache store", "it has to be opened again")
        self._bound_the_marks()
        return count

    async def _write(self, turn: Flush) -> None:
        """Do everything of a turn, and take out of it what has been done."""
        if turn.cleared:
            await self._call(self._store.clear)
            turn.cleared = False
        if turn.models is not None:
            if self._local is not None:
                await self._call(self._local.serves, turn.models)
            turn.models = None
        while turn.purged:
            await self._call(self._store.purge, turn.purged[0])
            del turn.purged[0]
        while part := dict(islice(turn.keys.items(), PART_KEYS)):
            if deletes := [key for key, put in part.items() if not put]:
                await self._call(self._store.delete_many, deletes)
            for records in self._memory.records([key for key, put in part.items() if put]):
                await self._call(self._store.put_many, records)
                self.condition.wrote(len(records), self._clock())
            turn.done(part)

    async def _renew(self, at_least: int) -> None:
        """Rid a local store of rows that are out of date, until another turn is due.

        ``at_least`` so many are looked at, more than a turn writes, or there would be ever more.
        What is not loaded yet looks as if it were out of date.
        """
        if self._local is None or self.condition.loading or self._stopping:
            return
        while self._local.stats.rows > GARBAGE * self._memory.stats.entries + SPARE_ROWS:
            if at_least <= 0 and _now() >= self._due:
                return
            upto, keys = await self._call(self._local.oldest, PART_KEYS)
            await self._call(self._local.renew, upto, self._memory.records(keys))
            at_least -= PART_KEYS

    def _bound_the_marks(self) -> None:
        """Begin anew where more keys are to be deleted than are worth remembering."""
        too_many = len(self._marks) > self._memory.stats.entries + MAX_DELETES
        if self._local is not None and too_many:
            self._marks.clear()
            self._marks.everything(self._memory.keys()[::-1])

    async def _last_turn(self) -> None:
        for work in (self._open(), self._turn(), self._call(self._store.close)):
            try:
                await work
            except StageUnavailable as error:
                self.condition.failed(error)
            except Exception:
                logger.exception("the cache did not stop as it should")
        if self._marks:
            logger.error("%d changes of the cache are not saved", len(self._marks))

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is a reason to go on at once."""
        self._wake.clear()
        self.marked()
        if seconds <= 0 or self._stopping:
            return
        try:
            await wait_within(self._wake.wait(), seconds)
        except asyncio.TimeoutError:
            return

    async def _call(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Have the store's thread do something."""
        work_now = partial(work, *args, **named)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work_now)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _next(chunks: Iterator[Records]) -> Records | None:
    return next(chunks, None)
