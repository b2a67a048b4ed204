"""What it costs to save the cache, and how fast it is read again: one table.

``python -m benchmarks.cache_store`` fills a file with entries, reads it into memory while an event
loop tells how long it is held up, then puts and looks up at a steady pace, with a store behind the
cache and without one in turns: of these the ratio counts, since a shared machine drifts. The last
line is one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from embedder.cache.persistent import PersistentCache
from embedder.cache.store.records import FOREVER, KEY_BYTES, Records
from embedder.cache.store.sqlite_store import SqliteStore
from embedder.core.entries.entries import Entries
from embedder.settings.cache import CacheSettings

GB = 1e9
CHUNK = 512
TEXTS = 32
"""Keys of one call."""

LOOK_UPS = 8
"""Lookups for each put: a cache is worth having where most texts come again."""

PAUSE_S = 0.005
"""Between one put with its lookups and the next: 6,400 new texts a second at most."""


@dataclass(slots=True)
class Figures:
    """What one run shows. ``held_ms`` is the longest that loading held an event loop up.

    The ratios are with a store to without, the median of the rounds first, then each of them.
    """

    width: int
    rows: int
    file_mb: float
    written_rows_per_s: float
    read_s_per_gb: float
    loaded_s_per_gb: float
    loaded_cpu_s_per_gb: float
    held_ms: float
    held_p99_ms: float
    get_ratio: float = 0.0
    put_ratio: float = 0.0
    cpu_ratio: float = 0.0
    rounds: list[dict[str, float]] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table and a JSON line."""
    parser = argparse.ArgumentParser(prog="benchmarks.cache_store", description=__doc__)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--megabytes", type=int, default=500, help="of vectors in the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each half of a round")
    parser.add_argument("--directory", type=Path, help="on the disk to measure")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        figures = measure_file(Path(folder), options.width, options.megabytes)
        asyncio.run(compare(Path(folder), figures, options.rounds, options.seconds))
    for name, value in asdict(figures).items():
        if name != "rounds":
            print(f"{name:24}{value:>14,.3f}")
    print(json.dumps(asdict(figures)))


def measure_file(folder: Path, width: int, megabytes: int) -> Figures:
    """Write a file, and read it by itself and into a cache."""
    path = folder / "file.sqlite"
    count = max(CHUNK, megabytes * 10**6 // (4 * width) // CHUNK * CHUNK)
    chunk_of = _records(CHUNK, width)
    store = SqliteStore(path)
    store.open()
    written_s = 0.0
    for _ in range(0, count, CHUNK):
        records = Records(_keys(CHUNK), chunk_of.entries, chunk_of.ttls_s)
        began = time.perf_counter()
        store.put_many(records)
        written_s += time.perf_counter() - began
    vectors_gb = count * width * 4 / GB
    began = time.perf_counter()
    read = sum(len(records) for records in store.load())
    read_s = time.perf_counter() - began
    assert read == count
    store.close()
    cpu = time.process_time()
    loaded_s, held_s = asyncio.run(_load(path, 2 * path.stat().st_size, count))
    loaded_cpu_s = time.process_time() - cpu
    return Figures(
        width=width,
        rows=count,
        file_mb=path.stat().st_size / 1e6,
        written_rows_per_s=count / written_s,
        read_s_per_gb=read_s / vectors_gb,
        loaded_s_per_gb=loaded_s / vectors_gb,
        loaded_cpu_s_per_gb=loaded_cpu_s / vectors_gb,
        held_ms=max(held_s) * 1000,
        held_p99_ms=float(np.percentile(held_s, 99)) * 1000,
    )


async def _load(path: Path, room: int, count: int) -> tuple[float, list[float]]:
    """Start a cache on a file; return how long it loads, and by how much a timer is late then."""
    cache = PersistentCache(CacheSettings(max_bytes=room), SqliteStore(path))
    began = time.perf_counter()
    await cache.start()
    late_s: list[float] = []
    while cache.memory.stats.entries < count:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        late_s.append(time.perf_counter() - before - 0.001)
    loaded_s = time.perf_counter() - began
    await cache.stop()
    return loaded_s, late_s


async def compare(folder: Path, figures: Figures, rounds: int, seconds: float) -> None:
    """Work at a steady pace without and with a store, in turns, and note the ratios."""
    for number in range(rounds + 1):
        bare = await _work(None, figures.width, seconds)
        store = SqliteStore(folder / f"{number}.sqlite")
        saved = await _work(store, figures.width, seconds)
        with suppress(FileNotFoundError):
            (folder / f"{number}.sqlite").unlink()
        if number > 0:  # the first round warms up
            ratios = {name: saved[name] / bare[name] for name in bare}
            figures.rounds.append({f"bare_{name}": bare[name] for name in bare} | ratios)
    for name in ("get", "put", "cpu"):
        median = statistics.median(one[name] for one in figures.rounds)
        setattr(figures, f"{name}_ratio", median)


async def _work(store: SqliteStore | None, width: int, seconds: float) -> dict[str, float]:
    """Put and look up; return the median microseconds of both, and the share of a core."""
    cache = PersistentCache(CacheSettings(max_bytes=64 * 2**20), store)
    await cache.start()
    entries = _records(TEXTS, width).entries
    known = _keys(20_000)
    for start in range(0, len(known), TEXTS):
        await cache.put_many(known[start : start + TEXTS], entries)
    for _ in range(200):
        if store is None or cache.stats()["store"]["dirty"] == 0:
            break
        await asyncio.sleep(0.05)
    choice = np.random.default_rng(0)
    gets, puts = [], []
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        fresh = _keys(TEXTS)
        before = time.perf_counter()
        await cache.put_many(fresh, entries)
        puts.append(time.perf_counter() - before)
        for start in choice.integers(0, len(known) - TEXTS, LOOK_UPS).tolist():
            wanted = known[start : start + TEXTS]
            before = time.perf_counter()
            await cache.get_many(wanted, width)
            gets.append(time.perf_counter() - before)
        await asyncio.sleep(PAUSE_S)
    share = (time.process_time() - cpu) / (time.perf_counter() - began)
    await cache.stop()
    return {"get": float(np.median(gets)) * 1e6, "put": float(np.median(puts)) * 1e6, "cpu": share}


def _records(count: int, width: int) -> Records:
    vectors = np.random.default_rng(0).standard_normal((count, width), dtype=np.float32)
    entries = Entries(vectors, np.full(count, 8, np.int32), np.zeros(count, np.bool_))
    return Records(_keys(count), entries, np.full(count, FOREVER))


def _keys(count: int) -> list[bytes]:
    joined = os.urandom(count * KEY_BYTES)
    return [joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES)]


if __name__ == "__main__":
    main()
