"""The stores of an index of some shards, and a copy of its collection ``c``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from embedder.index import sharding
from embedder.index.contract.points import Metric, Spec, StoredModel
from embedder.index.offline.copying import PREFIX, Copy, Part, run_copy
from embedder.index.storage.protocol import Store, Transaction
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.records import CollectionRow
from tests.unit.index.storage.contract.stores import STORES, commit, rows_of

MODEL = StoredModel("m", "1", "0" * 64, "mean")
SPEC = Spec(Metric.DOT, model="m", stored=MODEL, identity="one")

Content = dict[str, tuple[str | None, str, list[float], bytes | None]]
"""Text, metadata, vector and encoded sparse vector by id."""


class Shards:
    """The stores of one index."""

    def __init__(self, kind: str, folder: Path, count: int) -> None:
        folders = [folder / str(number) for number in range(count)]
        for one in folders:
            one.mkdir(parents=True, exist_ok=True)
        self.stores = [STORES[kind](one) for one in folders]

    def put(self, ids: list[str], name: str = "c", spec: Spec = SPEC, **fields: Any) -> None:
        """Upsert points into the shards that own them."""
        by_shard = sharding.rows_by_shard(ids, len(self.stores))
        for number, store in enumerate(self.stores):
            mine = by_shard.get(number, [])

            def write(stored: Transaction, mine: list[int] = mine) -> None:
                row = stored.find_collection(name) or stored.insert_collection(name, spec)
                if mine:
                    stored.upsert(row, rows_of(ids, **fields).select(mine))

            commit(store, write)

    def delete(self, ids: list[str], name: str = "c") -> None:
        """Delete points."""
        for store in self.stores:

            def write(stored: Transaction) -> None:
                row = stored.find_collection(name)
                assert row is not None
                stored.delete(row, stored.find_pks(row.id, ids))

            commit(store, write)

    def drop(self, name: str = "c") -> None:
        """Delete a collection in all shards."""
        for store in self.stores:

            def write(stored: Transaction) -> None:
                for row in (stored.find_collection(name), stored.find_collection(PREFIX + name)):
                    if row is not None:
                        stored.delete_collection(row)

            commit(store, write)

    def rows(self, name: str = "c") -> list[CollectionRow | None]:
        """Return the collection in each shard."""
        result = []
        for store in self.stores:
            with store.reader.snapshot() as rows:
                result.append(rows.find_collection(name))
        return result

    def content(self, name: str = "c") -> Content:
        """Return all points; each shard has only its own, and each point once."""
        found: Content = {}
        for number, store in enumerate(self.stores):
            with store.reader.snapshot() as rows:
                for chunk in rows.scan(existing(rows, name)):
                    assert set(sharding.owners(chunk.ids, len(self.stores))) == {number}
                    assert not found.keys() & set(chunk.ids)
                    sparse = [None if one is None else one.encoded() for one in chunk.sparse]
                    fields = chunk.texts, chunk.metadata, chunk.vectors.tolist(), sparse
                    found |= dict(zip(chunk.ids, zip(*fields, strict=True), strict=True))
        return found

    def close(self) -> None:
        """Close the stores."""
        for store in self.stores:
            store.close()


def existing(rows: Snapshot, name: str) -> CollectionRow:
    """Return a collection that exists."""
    row = rows.find_collection(name)
    assert row is not None
    return row


def copy(
    source: Shards,
    targets: list[Store],
    progress: Callable[[int], object] = lambda _: None,
    identity: str = "one",
    **changed: Any,
) -> int:
    """Copy collection ``c``, and return its number of points."""
    with ExitStack() as stack:
        shards = [stack.enter_context(store.reader.snapshot()) for store in source.stores]
        found = [(shard, existing(shard, "c")) for shard in shards]
        parts = [Part(row, partial(shard.scan, row)) for shard, row in found]
        return run_copy(Copy(parts, "c", identity, **changed), targets, progress).count
