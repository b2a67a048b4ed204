"""Fill and read one shard of a running cache through its handle, and check every vector.

Runs as a program beside a service whose shard is killed meanwhile. A vector follows from its key,
so a wrong one is seen at once, and what is lost is known exactly: the oracle lives here. Each line
of stdin is the time of a kill; at its end the last check is made and a JSON line is printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import threading
import time
from typing import Any

import numpy as np

from deployments.operations.running_service import running_service
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.core.types import Vectors

WIDTH = 16
BATCH = 20
READ = 500
PAUSE_S = 0.02
LATE_S = 0.5
"""An answer may arrive so long after its sender was killed; its successor needs longer to start."""

TAG = b"loadtest"


def key_of(number: int) -> bytes:
    """Return the key of a number."""
    return TAG + hashlib.blake2b(str(number).encode(), digest_size=24).digest()


def vector_of(number: int) -> Vectors:
    """Return the vector that belongs to a number's key."""
    content = hashlib.blake2b(str(number).encode(), digest_size=WIDTH).digest()
    return np.frombuffer(content, np.uint8).astype(np.float32)


def entries_of(numbers: range) -> Entries:
    """Return the entries of some numbers."""
    return Entries(
        np.stack([vector_of(number) for number in numbers]),
        np.array([number % 500 for number in numbers], np.int32),
        np.array([number % 2 == 0 for number in numbers], np.bool_),
    )


class Load:
    """The acknowledged inserts with their times, and the results of lookups."""

    def __init__(self, shard: Any) -> None:
        self.sampled = self.wrong = self.failures = 0
        self.worst_gap_s = 0.0
        self._shard = shard
        self._acknowledged: list[tuple[float, range]] = []
        self._next = 0

    def put(self) -> None:
        """Insert some entries and note when that was acknowledged."""
        numbers = range(self._next, self._next + BATCH)
        keys = [key_of(number) for number in numbers]
        self._shard.put_many.remote(keys, entries_of(numbers)).result()
        self._acknowledged.append((time.time(), numbers))
        self._next = numbers.stop

    def read(self, random_source: random.Random) -> None:
        """Look up some inserted keys, and compare the vectors."""
        if self._next:
            numbers = [random_source.randrange(self._next) for _ in range(READ)]
            self._compare(numbers, self._get(numbers))

    def lost(self, kills: list[float], within_s: float) -> int:
        """Count the lost entries that were inserted more than ``within_s`` before any kill."""
        lost = 0
        for at, numbers in self._acknowledged:
            if not any(-LATE_S <= kill - at <= within_s for kill in kills):
                hits = self._get(list(numbers))
                self._compare(list(numbers), hits)
                lost += len(numbers) - len(hits.rows)
        return lost

    def _get(self, numbers: list[int]) -> CacheHits:
        keys = [key_of(number) for number in numbers]
        hits: CacheHits = self._shard.get_many.remote(keys, WIDTH).result()
        return hits

    def _compare(self, numbers: list[int], hits: CacheHits) -> None:
        self.sampled += len(numbers)
        for row, at in enumerate(hits.rows.tolist()):
            number = numbers[at]
            same = np.array_equal(hits.entries.vectors[row], vector_of(number))
            counted = int(hits.entries.token_counts[row]) == number % 500
            cut = bool(hits.entries.truncated[row]) == (number % 2 == 0)
            self.wrong += not (same and counted and cut)


def main() -> None:
    """Load the shard until stdin ends; ``argv`` has its name, and the seconds a kill may lose."""
    name, within_s = sys.argv[1], float(sys.argv[2])
    kills: list[float] = []
    ended = threading.Event()

    def listen() -> None:
        kills.extend(map(float, sys.stdin))
        ended.set()

    with running_service(os.environ["RAY_ADDRESS"]) as service:
        load = Load(service.shards(name.rpartition("-")[0])[name])
        print("ready", flush=True)  # noqa: T201 - the test reads it
        threading.Thread(target=listen, daemon=True).start()
        random_source = random.Random(0)
        answered = time.monotonic()
        while not ended.is_set():
            try:
                load.put()
                load.read(random_source)
            except Exception:  # noqa: BLE001 - a shard that was killed answers nothing for a while
                load.failures += 1
            else:
                load.worst_gap_s = max(load.worst_gap_s, time.monotonic() - answered)
                answered = time.monotonic()
            time.sleep(PAUSE_S)
        lost = load.lost(kills, within_s)
    figures = {
        "sampled": load.sampled,
        "wrong": load.wrong,
        "lost": lost,
        "inserted": load._next,
        "worst_gap_s": load.worst_gap_s,
    }
    print(json.dumps(figures))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
