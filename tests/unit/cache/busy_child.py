"""A process that puts batches until it is killed, and prints the time of each.

``python -m tests.unit.cache.busy_child FOLDER FIRST`` prints a number and a monotonic time a line:
all entries from the last number on, up to this one, were put by then. Times are the machine's.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from embedder.cache.persistent import PersistentCache
from embedder.cache.store.sqlite_store import SqliteStore
from embedder.settings.model import CacheSettings
from tests.unit.cache.known import entries, keys

SETTINGS = CacheSettings(max_bytes=256 * 2**20, autosave_s=0.3, autosave_entries=10_000)
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
        sys.stdout.write(f"{first} {time.monotonic()}\n")
        sys.stdout.flush()
        await asyncio.sleep(0.004)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
