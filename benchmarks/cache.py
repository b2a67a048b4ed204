"""The cache in memory: lookups beside the bare gather of their vectors, memory, and the hit rate.

Keys are new objects at each lookup, as they are in the service, and drawn from all that are
resident, so every one is a wait for the memory. The hit rate under Zipf's law is compared with that
of an exact LRU that only counts. The memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from embedder.cache.memory import MemoryCache
from embedder.cache.slab import OVERHEAD_BYTES
from embedder.core.entries.entries import Entries

WIDTH = 384
ENTRIES = 100_000
BATCH = 256
ROW_BYTES = 4 * WIDTH + OVERHEAD_BYTES


def main() -> None:
    """Measure, and print a table and a JSON line."""
    options = _options()
    if options.fill_only:
        print(json.dumps(_memory()))
        return
    lookup_us, gather_us = _lookups(options.rounds, hot=False)
    hot_us, _ = _lookups(options.rounds, hot=True)
    command = [sys.executable, "-m", "benchmarks.cache", "--fill-only"]
    filled = json.loads(subprocess.check_output(command))
    measured, simulated = _hit_rates(options.lookups)
    figures = {
        f"get_many of {BATCH} of {ENTRIES:,} keys, us": lookup_us,
        "the bare gather of their vectors, us": gather_us,
        "the rest, us": lookup_us - gather_us,
        f"get_many of {BATCH} keys that were just used, us": hot_us,
        "lookups a second, millions": BATCH / lookup_us,
        "memory of 100,000 entries / their vectors": filled["ratio"],
        "memory as the cache counts it / the same": filled["counted"],
        "hit rate, Zipf 1.1, budget for 20 %": measured,
        "hit rate of an exact LRU": simulated,
    }
    for name, value in figures.items():
        print(f"{name:52}{value:10.3f}")
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--lookups", type=int, default=500_000, help="for the hit rate")
    parser.add_argument("--fill-only", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _keys(count: int) -> list[bytes]:
    return [os.urandom(32) for _ in range(count)]


def _entries(count: int) -> Entries:
    return Entries(
        np.random.default_rng(0).random((count, WIDTH), np.float32),
        np.ones(count, np.int32),
        np.zeros(count, np.bool_),
    )


def _filled(keys: list[bytes]) -> MemoryCache:
    cache = MemoryCache(len(keys) * ROW_BYTES)
    for start in range(0, len(keys), 1000):
        part = keys[start : start + 1000]
        cache.put_many(part, _entries(len(part)))
    return cache


def _lookups(rounds: int, *, hot: bool) -> tuple[float, float]:
    """Return the medians of a lookup, and of a gather of as many rows, in microseconds."""
    keys = _keys(ENTRIES)
    cache = _filled(keys)
    vectors = _entries(ENTRIES).vectors
    random = np.random.default_rng(1)
    lookups, gathers = [], []
    for _ in range(rounds):
        rows = random.integers(0, BATCH if hot else ENTRIES, BATCH)
        asked = [bytes(bytearray(keys[row])) for row in rows]
        lookups.append(_timed(partial(cache.get_many, asked, WIDTH)))
        others = random.integers(0, ENTRIES, BATCH)
        gathers.append(_timed(partial(vectors.__getitem__, others)))
    return statistics.median(lookups) * 1e6, statistics.median(gathers) * 1e6


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _memory() -> dict[str, float]:
    """Return the memory of 100,000 entries in this process, in bytes of their vectors."""
    _entries(10)
    before = _resident()
    keys = _keys(ENTRIES)
    cache = _filled(keys)
    del keys
    payload = ENTRIES * 4 * WIDTH
    taken = _resident() - before
    return {"ratio": taken / payload, "counted": cache.stats.bytes / payload}


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _hit_rates(lookups: int) -> tuple[float, float]:
    """Return the hit rates of the cache, and of an exact LRU, for the same texts."""
    texts = 100_000
    weights = 1 / np.arange(1, texts + 1) ** 1.1
    drawn = np.random.default_rng(2).choice(texts, lookups, p=weights / weights.sum())
    keys = _keys(texts)
    cache = MemoryCache(texts // 5 * ROW_BYTES)
    one = _entries(1)
    order: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for text in drawn.tolist():
        if not len(cache.get_many([keys[text]], WIDTH).rows):
            cache.put_many([keys[text]], one)
        if text in order:
            hits += 1
            order.move_to_end(text)
        else:
            order[text] = None
            if len(order) > texts // 5:
                order.popitem(last=False)
    return cache.stats.hits / lookups, hits / lookups


if __name__ == "__main__":
    main()
