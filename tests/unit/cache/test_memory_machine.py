"""The memory cache against a dictionary and a list in LRU order, by random operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from embedder.cache import memory
from embedder.cache.memory import MemoryCache
from embedder.cache.store.records import FOREVER, Records
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.cache_hits import CacheHits
from embedder.measurements.cache import CacheStats
from tests.unit.cache.known import Row, rows_of
from tests.unit.cache.numbered_entries import components, entry_size, numbered_entries
from tests.unit.examples import TIMES

WIDTHS = st.sampled_from([RAGGED, 1, 2, 64])
TAGS = [b"modelone", b"modeltwo"]
KEYS = st.builds(
    lambda tag, number: tag + bytes([number]) * 24, st.sampled_from(TAGS), st.integers(0, 5)
)
SOME_KEYS = st.lists(KEYS, max_size=6)
LIVES = st.sampled_from([0.5, 1.0, 3.0, FOREVER])
TTL_S = 2.0


@dataclass
class _Stored:
    number: int
    width: int
    put_s: float
    deadline: float

    @property
    def row(self) -> Row:
        return components(self.number, self.width), self.number, self.number % 2 == 0

    @property
    def size(self) -> int:
        return entry_size(self.width, self.number)


class CacheMachine(RuleBasedStateMachine):
    """Applies each operation to the cache, and to ``stored`` and ``order`` (oldest use first)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        # Otherwise a budget of five entries would accept none.
        self.patch.setattr(memory, "MAX_ENTRY_SHARE", 1.0)

    def teardown(self) -> None:
        self.patch.undo()

    @initialize(budget=st.integers(0, 6 * entry_size(64)), ttl_s=st.sampled_from([None, TTL_S]))
    def start(self, budget: int, ttl_s: float | None) -> None:
        self.now_s = 1000.0
        self.ttl_s = math.inf if ttl_s is None else ttl_s
        self.forgotten: list[bytes] = []
        self.expected_forgotten: list[bytes] = []
        self.cache = MemoryCache(
            budget, ttl_s=ttl_s, clock=lambda: self.now_s, on_forget=self.forgotten.extend
        )
        self.stored: dict[bytes, _Stored] = {}
        self.order: list[bytes] = []
        self.expected = CacheStats()
        self.written = 0

    def _held(self) -> int:
        return sum(stored.size for stored in self.stored.values())

    def _use(self, key: bytes) -> None:
        if key in self.order:
            self.order.remove(key)
        self.order.append(key)

    def _forget(self, key: bytes) -> None:
        del self.stored[key]
        self.order.remove(key)
        self.expected_forgotten.append(key)

    def _life(self, key: bytes) -> float:
        return self.stored[key].deadline - self.now_s

    def _dated(self, width: int, life_s: float) -> _Stored:
        self.written += 1
        return _Stored(self.written, width, self.now_s, self.now_s + min(life_s, self.ttl_s))

    @rule(keys=SOME_KEYS, width=WIDTHS, data=st.data())
    def put(self, keys: list[bytes], width: int, data: st.DataObject) -> None:
        lives = data.draw(st.none() | st.lists(LIVES, min_size=len(keys), max_size=len(keys)))
        entries = numbered_entries(len(keys), width, first=self.written + 1)
        self.cache.put_many(keys, entries, None if lives is None else np.array(lives))
        entries.vectors[:] = -1  # the cache has its own copy
        new = [self._dated(width, life) for life in lives or [math.inf] * len(keys)]
        small = [at for at, stored in enumerate(new) if stored.size <= self.cache.max_bytes]
        self.expected.rejected += len(keys) - len(small)
        # A key that occurs twice has its first position and its last entry.
        for key, stored in {keys[at]: new[at] for at in small}.items():
            self.stored[key] = stored
            self._use(key)
        while self._held() > self.cache.max_bytes:
            self._forget(self.order[0])
            self.expected.evicted += 1

    @rule(keys=SOME_KEYS, width=WIDTHS)
    def get(self, keys: list[bytes], width: int) -> None:
        here = [key for key in keys if key in self.stored and self.stored[key].width == width]
        for key in sorted({key for key in here if self._life(key) <= 0}):
            self._forget(key)
            self.expected.expired += 1
        there = [at for at, key in enumerate(keys) if key in here and key in self.stored]
        expected = [self.stored[keys[at]].row for at in there]
        lives = [self._life(keys[at]) for at in there]
        for at in there:
            self._use(keys[at])
        self.expected.hits += len(there)
        self.expected.misses += len(keys) - len(there)

        hits = self.cache.get_many(keys, width)
        found = rows_of(hits.entries)
        hits.entries.vectors[:] = -1  # the caller has its own copy

        assert hits.rows.tolist() == there
        assert found == expected
        _assert_lives(hits, lives)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(keys=st.lists(KEYS, max_size=6), width=WIDTHS, data=st.data())
    def fill(self, keys: list[bytes], width: int, data: st.DataObject) -> None:
        lives = data.draw(
            st.lists(st.sampled_from([0.0, 1.0, FOREVER]), min_size=len(keys), max_size=len(keys))
        )
        entries = numbered_entries(len(keys), width, first=self.written + 1)
        taken = self.cache.fill(Records(keys, entries, np.array(lives, np.float64)))
        new = [self._dated(width, life) for life in lives]
        most = self.cache.max_bytes
        self.expected.rejected += sum(stored.size > most for stored in new)
        room, expected = most - self._held(), 0
        absent = [at for at, key in enumerate(keys) if key not in (*keys[:at], *self.stored)]
        for at in absent:
            if lives[at] > 0 and new[at].size <= most:
                room -= new[at].size
                if room >= 0:
                    self.stored[keys[at]] = new[at]
                    self.order.insert(0, keys[at])
                    expected += 1

        assert taken == expected

    @rule(tag=st.sampled_from(TAGS))
    def purge(self, tag: bytes) -> None:
        here = sorted(key for key in self.stored if key.startswith(tag))
        for key in here:
            self._forget(key)

        assert self.cache.purge(tag) == len(here)

    @rule()
    def clear(self) -> None:
        assert self.cache.clear() == len(self.stored)

        self.stored.clear()
        self.order.clear()

    @rule(keys=SOME_KEYS)
    def look(self, keys: list[bytes]) -> None:
        """Reading records is not a use and is not counted, as the invariants check."""
        keys = list(dict.fromkeys(keys))
        found = {
            key: (row, life)
            for records in self.cache.records(keys)
            for key, row, life in zip(
                records.keys, rows_of(records.entries), records.ttls_s, strict=True
            )
        }

        assert found == {
            key: (self.stored[key].row, self._life(key))
            for key in keys
            if key in self.stored and self._life(key) > 0
        }

    @invariant()
    def the_counters_are_exact(self) -> None:
        self.expected.entries = len(self.stored)
        self.expected.bytes = self._held()

        assert self.cache.stats == self.expected
        assert self.cache.stats.bytes <= self.cache.max_bytes

    @invariant()
    def the_order_is_lru(self) -> None:
        assert self.cache.keys() == self.order[::-1]

    @invariant()
    def the_age_is_that_of_the_oldest(self) -> None:
        puts = [stored.put_s for stored in self.stored.values()]

        assert self.cache.age_s == (self.now_s - min(puts) if puts else None)

    @invariant()
    def all_removed_keys_are_reported(self) -> None:
        assert sorted(self.forgotten) == sorted(self.expected_forgotten)


def _assert_lives(hits: CacheHits, lives: Sequence[float]) -> None:
    """None means that no entry expires."""
    if hits.ttls_s is None:
        assert all(math.isinf(life) for life in lives)
    else:
        assert hits.ttls_s.tolist() == list(lives)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=50 * TIMES, stateful_step_count=40, deadline=None)
