"""A process that puts batches until it is killed, and prints two numbers after each.

``python -m tests.unit.cache.busy_child FOLDER FIRST``: all entries from ``FIRST`` up to the first
number were put by then; the second number says how many of the last of them are not saved yet.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from embedder.cache.persistent import PersistentCache
from embedder.cache.store.sqlite_store import SqliteStore
from embedder.settings.cache import CacheSettings
from tests.unit.cache.known import entries, keys

SETTINGS = CacheSettings(max_bytes=256 * 2**20, autosave_s=0.03, autosave_entries=10_000)
WIDTH = 8
BATCH = 20


async def main(folder: Path, first: int) -> None:
    """Put batches until killed."""
    cache = PersistentCache(SETTINGS, SqliteStore(folder / "a.sqlite"))
    await cache.start()
    while True:
        numbers = range(first, first + BATCH)
        await cache.put_many(keys(numbers), entries(numbers, WIDTH))
        first += BATCH
        sys.stdout.write(f"{first} {cache.stats()['store']['dirty']}\n")
        sys.stdout.flush()
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
