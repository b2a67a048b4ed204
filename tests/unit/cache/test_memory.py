"""The cache in memory, against a plain dictionary and a list in order of use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from embedder.cache.memory import OVERHEAD_BYTES, CacheStats, MemoryCache
from embedder.types import CacheHits, Entries

WIDTHS = st.sampled_from([1, 2, 64])
KEYS = st.integers(0, 7).map(lambda number: bytes([number]) * 32)
Row = tuple[list[float], int, bool]


def _size(width: int) -> int:
    return OVERHEAD_BYTES + 4 * width


def _entries(count: int, width: int, first: int = 1) -> Entries:
    """Return rows that all differ: row i holds the number ``first + i`` everywhere."""
    numbers = np.arange(first, first + count)
    vectors = np.repeat(numbers[:, None], width, axis=1).astype(np.float32)
    return Entries(vectors, numbers.astype(np.int32), numbers % 2 == 0)


def _rows(hits: CacheHits) -> list[Row]:
    entries = hits.entries
    return list(
        zip(
            entries.vectors.tolist(),
            entries.token_counts.tolist(),
            entries.truncated.tolist(),
            strict=True,
        )
    )


@dataclass
class _Stored:
    number: int
    width: int

    @property
    def row(self) -> Row:
        return [float(self.number)] * self.width, self.number, self.number % 2 == 0


class CacheMachine(RuleBasedStateMachine):
    """Does everything twice: to the cache, and to ``stored`` and ``order``, oldest use first."""

    @initialize(budget=st.integers(0, 5 * _size(64)))
    def start(self, budget: int) -> None:
        self.cache = MemoryCache(budget)
        self.stored: dict[bytes, _Stored] = {}
        self.order: list[bytes] = []
        self.expected = CacheStats()
        self.lookups = 0
        self.written = 0

    def _used(self, key: bytes) -> None:
        if key in self.order:
            self.order.remove(key)
        self.order.append(key)

    def _held(self) -> int:
        return sum(_size(stored.width) for stored in self.stored.values())

    def _store(self, key: bytes, stored: _Stored) -> None:
        if _size(stored.width) > self.cache.max_bytes:
            self.expected.rejected += 1
            return
        self.stored[key] = stored
        self._used(key)
        while self._held() > self.cache.max_bytes:
            del self.stored[self.order.pop(0)]
            self.expected.evicted += 1

    @rule(keys=st.lists(KEYS, max_size=6), width=WIDTHS)
    def put(self, keys: list[bytes], width: int) -> None:
        entries = _entries(len(keys), width, first=self.written)
        self.cache.put_many(keys, entries)
        entries.vectors[:] = -1  # what the cache keeps is its own
        for at, key in enumerate(keys):
            self._store(key, _Stored(self.written + at, width))
        self.written += len(keys)

    @rule(keys=st.lists(KEYS, max_size=6), width=WIDTHS)
    def get(self, keys: list[bytes], width: int) -> None:
        there = [
            at
            for at, key in enumerate(keys)
            if key in self.stored and self.stored[key].width == width
        ]
        expected = [self.stored[keys[at]].row for at in there]
        for at in there:
            self._used(keys[at])
        self.lookups += len(keys)
        self.expected.hits += len(there)
        self.expected.misses += len(keys) - len(there)

        hits = self.cache.get_many(keys, width)
        found = _rows(hits)
        hits.entries.vectors[:] = -1  # and what it gives away is the caller's

        assert hits.rows.tolist() == there
        assert found == expected

    @rule()
    def clear(self) -> None:
        assert self.cache.clear() == len(self.stored)

        self.stored.clear()
        self.order.clear()

    @invariant()
    def the_counters_are_exact(self) -> None:
        self.expected.entries = len(self.stored)
        self.expected.bytes = self._held()

        assert self.cache.stats == self.expected
        assert self.cache.stats.hits + self.cache.stats.misses == self.lookups

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert self.cache.stats.bytes <= self.cache.max_bytes

    def teardown(self) -> None:
        """Push the entries out one by one: they must leave in the order of their last use."""
        if not hasattr(self, "cache"):
            return
        for number in range(100, 106):
            self.put([bytes([number]) * 32], 64)
            for key in [*self.order]:
                self.get([key], self.stored[key].width)


TestMemoryCache = CacheMachine.TestCase


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = MemoryCache(2 * _size(3))
    cache.put_many([b"a", b"b"], _entries(2, 3))
    cache.get_many([b"a"], 3)

    cache.put_many([b"c"], _entries(1, 3))

    assert cache.get_many([b"a", b"b", b"c"], 3).rows.tolist() == [0, 2]
    assert cache.stats.evicted == 1


def test_a_budget_of_nothing_keeps_nothing() -> None:
    cache = MemoryCache(0)

    cache.put_many([b"a"], _entries(1, 3))

    assert cache.get_many([b"a"], 3).rows.tolist() == []
    assert (cache.stats.rejected, cache.stats.entries, cache.stats.bytes) == (1, 0, 0)


def test_an_entry_exactly_as_large_as_the_budget_is_kept() -> None:
    cache = MemoryCache(_size(3))

    cache.put_many([b"a"], _entries(1, 3))

    assert cache.get_many([b"a"], 3).rows.tolist() == [0]


def test_a_row_of_another_width_is_a_miss_and_no_use_of_it() -> None:
    cache = MemoryCache(2 * _size(3))
    cache.put_many([b"a", b"b"], _entries(2, 3))

    hits = cache.get_many([b"a"], 4)
    cache.put_many([b"c"], _entries(1, 3))

    assert hits.rows.tolist() == []
    assert hits.entries.vectors.shape == (0, 4)
    assert cache.get_many([b"a", b"b"], 3).rows.tolist() == [1]


def test_a_row_does_not_keep_the_batch_it_came_from_alive() -> None:
    batch = _entries(2, 3)
    cache = MemoryCache(10 * _size(3))
    cache.put_many([b"a", b"b"], batch)

    batch.vectors[:] = 0

    assert _rows(cache.get_many([b"a", b"b"], 3)) == _rows(CacheHits(np.arange(2), _entries(2, 3)))
