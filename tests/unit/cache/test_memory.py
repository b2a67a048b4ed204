"""The memory cache: large entries, large batches, and long use."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.cache import memory
from embedder.cache.memory import MemoryCache
from tests.unit.cache.numbered_entries import entry_size, numbered_entries


@pytest.mark.parametrize(("width", "kept"), [(1, True), (100, True), (101, False)])
def test_an_entry_above_a_hundredth_of_the_budget_is_rejected(width: int, kept: bool) -> None:
    cache = MemoryCache(100 * entry_size(100))
    cache.put_many([b"k" * 32], numbered_entries(1, width))

    assert (cache.stats.entries, cache.stats.rejected) == ((1, 0) if kept else (0, 1))


def test_a_put_above_the_budget_keeps_the_last_entries() -> None:
    count = 3 * memory.BATCH
    keys = [number.to_bytes(32, "little") for number in range(count)]
    cache = MemoryCache(500 * entry_size(1))
    cache.put_many(keys, numbered_entries(count, 1, first=0))
    hits = cache.get_many(keys, 1)

    assert hits.rows.tolist() == list(range(count - 500, count))
    assert hits.entries.token_counts.tolist() == list(range(count - 500, count))
    assert cache.stats.evicted == count - 500


def test_the_lru_order_is_exact_over_many_operations() -> None:
    """Through many compactions of the recency log."""
    random = np.random.default_rng(0)
    keys = [number.to_bytes(32, "little") for number in range(300)]
    cache = MemoryCache(200 * entry_size(1))
    order: list[bytes] = []
    for _ in range(300):
        chosen = [keys[at] for at in random.integers(0, 300, 50)]
        found = {chosen[row] for row in cache.get_many(chosen, 1).rows}
        assert found == {key for key in chosen if key in order}
        for key in chosen:
            if key in found:
                order.remove(key)
                order.append(key)
        new = [key for key in dict.fromkeys(chosen) if key not in found]
        cache.put_many(new, numbered_entries(len(new), 1))
        order = (order + new)[-200:]

        assert cache.keys() == order[::-1]
