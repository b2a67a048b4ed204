"""The SQLite store against a dictionary, by random operations, restarts and crashes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from embedder.cache.store.records import FOREVER, Records
from embedder.cache.store.sqlite_store import SqliteStore
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.entries import Entries
from tests.unit.cache.known import OTHER_TAG, TAG, Row, by_key, key, keys, records, row

NUMBERS = st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True)
TAGS = st.sampled_from([TAG, OTHER_TAG])
WIDTHS = st.sampled_from([RAGGED, 1, 4])


class StoreMachine(RuleBasedStateMachine):
    """Applies each operation to the store and to ``kept``; ``ends`` are expiry times."""

    @initialize()
    def start(self) -> None:
        self.now = 1_700_000_000.0
        self.folder = Path(tempfile.mkdtemp())
        self.kept: dict[bytes, Row] = {}
        self.ends: dict[bytes, float] = {}
        self.version = 0
        self.served: dict[str, bytes] = {}
        self.store = SqliteStore(self.folder / "a.sqlite", clock=lambda: self.now)
        self.store.open()

    @rule(numbers=NUMBERS, width=WIDTHS, tag=TAGS, life=st.sampled_from([FOREVER, 10.0, 100.0]))
    def put(self, numbers: list[int], width: int, tag: bytes, life: float) -> None:
        self.version += 1
        self.store.put_many(records(numbers, width, ttls_s=life, version=self.version, tag=tag))
        for number in numbers:
            self.kept[key(number, tag)] = row(number, width, self.version)
            self.ends[key(number, tag)] = self.now + life

    @rule(numbers=NUMBERS, tag=TAGS)
    def delete(self, numbers: list[int], tag: bytes) -> None:
        self.store.delete_many(keys(numbers, tag))
        for name in keys(numbers, tag):
            self.kept.pop(name, None)

    @rule(tag=TAGS)
    def purge(self, tag: bytes) -> None:
        self.store.purge(tag)
        self._forget(tag)

    @rule(name=st.sampled_from(["x", "y"]), tag=TAGS)
    def serve(self, name: str, tag: bytes) -> None:
        self.store.serves({name: tag})
        former = self.served.get(name)
        self.served[name] = tag
        if former is not None and former not in self.served.values():
            self._forget(former)

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.kept.clear()
        self.served.clear()

    @rule(count=st.integers(1, 20))
    def renew_the_oldest(self, count: int) -> None:
        upto, names = self.store.oldest(count)
        self.store.renew(upto, [self._record(name) for name in names if name in self._alive()])

    @rule(seconds=st.sampled_from([1.0, 50.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(closed=st.booleans())
    def restart(self, closed: bool) -> None:
        """Continue with a copy of the files, closed or as a killed process leaves them."""
        if closed:
            self.store.close()
        folder = Path(tempfile.mkdtemp())
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        self.store.close()
        shutil.rmtree(self.folder)
        self.folder = folder
        self.store = SqliteStore(folder / "a.sqlite", clock=lambda: self.now)
        self.store.open()
        assert self.store.stats.renamed_files == 0

    @rule()
    def load(self) -> None:
        loaded = list(self.store.load())

        assert by_key(loaded) == self._alive()
        assert self.store.stats.corrupt == 0
        assert self.store.stats.read == self.store.stats.rows
        for given in loaded:
            for name, life in zip(given.keys, given.ttls_s.tolist(), strict=True):
                assert life == pytest.approx(self.ends[name] - self.now, abs=0.01)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.load()
            self.store.close()
            shutil.rmtree(self.folder)

    def _record(self, name: bytes) -> Records:
        vector, count, truncated = self.kept[name]
        entry = Entries.allocate(1, RAGGED if isinstance(vector, bytes) else len(vector))
        entry.vectors[0], entry.token_counts[0], entry.truncated[0] = vector, count, truncated
        return Records([name], entry, np.array([self.ends[name] - self.now]))

    def _alive(self) -> dict[bytes, Row]:
        return {name: content for name, content in self.kept.items() if self.ends[name] > self.now}

    def _forget(self, tag: bytes) -> None:
        for name in [name for name in self.kept if name.startswith(tag)]:
            del self.kept[name]


TestSqliteStore = StoreMachine.TestCase
TestSqliteStore.settings = settings(max_examples=25, stateful_step_count=25)
