"""Fixtures: a source and targets of every kind of store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.index.contract.sparse import SparseVector
from embedder.index.storage.sqlite import snapshot as sqlite_snapshot
from tests.unit.index.offline.shards import Shards
from tests.unit.index.storage.contract.stores import STORES

CHUNK = 7
"""Points of a chunk, so that few points make several."""


@pytest.fixture(params=[(a, b) for a in STORES for b in STORES], ids="-".join)
def kinds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Return the kinds of the source's and the target's stores, which read small chunks."""
    monkeypatch.setattr(sqlite_snapshot, "CHUNK_ROWS", CHUNK)
    found: tuple[str, str] = request.param
    if "postgres" in found:
        from embedder.index.storage.postgres import snapshot as postgres_snapshot

        monkeypatch.setattr(postgres_snapshot, "CHUNK_ROWS", CHUNK)
    return found


@pytest.fixture
def source(kinds: tuple[str, str], tmp_path: Path) -> Iterator[Shards]:
    """Yield two shards with texts, metadata, any Unicode, an overwritten and a deleted point."""
    with closing(Shards(kinds[0], tmp_path / "source", 2)) as source:
        ids = [f"p{number}" for number in range(20)] + ["", "a\0b", "ü/é", "\U0001f600"]
        vectors = np.random.default_rng(1).normal(0, 1, (len(ids), 3)).astype(np.float32)
        texts = [None if number % 3 else f"text\0 {number} ß" for number in range(len(ids))]
        weights = [None if at % 4 else SparseVector.of({at: 0.5, 99: 2.0}) for at in range(24)]
        metadata = [{"n": one} for one in range(24)]
        source.put(ids, vectors=vectors, texts=texts, metadata=metadata, sparse=weights)
        source.delete(["p3"])
        source.put(["p5"], vectors=vectors[:1], metadata=[{"é": ["\0", 1e300, 2**63]}])
        yield source


@pytest.fixture
def open_target(kinds: tuple[str, str], tmp_path: Path) -> Iterator[Callable[..., Shards]]:
    """Yield a function that opens a new target of some shards, or one again by its name."""
    opened: list[Shards] = []

    def open_shards(count: int = 3, name: str = "target") -> Shards:
        opened.append(Shards(kinds[1], tmp_path / name, count))
        return opened[-1]

    yield open_shards
    for shards in opened:
        shards.close()
