"""Keeps the sparse vectors of a collection as its points are, inside the writes of a store.

A collection has sparse vectors from the first write that brings some; points that a client stored
with its own vectors have none. The rows of the points are the data, the blocks are an index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from embedder.index.lexical.blocks import BLOCK, BlockKey, DamagedBlock, merged
from embedder.index.sparse.weight_blocks import SparseVector, entries_of

CHUNK = 1024
"""Points whose blocks are in memory at a time."""


class SparseRows(Protocol):
    """The sparse vectors of points, and their blocks, in a transaction of a store."""

    def vectors(self, collection: int, pks: Sequence[int]) -> dict[int, SparseVector]:
        """Return the stored vectors among the pks.

        Raises:
            StorageDamaged: a row fails its checksum.
        """

    def put_vectors(self, collection: int, vectors: Mapping[int, SparseVector]) -> None:
        """Insert or replace vectors by pk."""

    def delete_vectors(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the vectors of these pks."""

    def is_indexed(self, collection: int) -> bool:
        """Return whether the blocks are those of the rows; False while they are made again."""

    def forget(self, collection: int) -> None:
        """Record that the blocks are damaged, so that all of them are made again."""

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        """Return the stored blocks among the keys.

        Raises:
            DamagedBlock: a block fails its checksum.
        """

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        """Insert or replace blocks, and delete those that are empty."""


def store_vectors(
    rows: SparseRows,
    collection: int,
    pks: Sequence[int],
    vectors: Sequence[SparseVector | None],
) -> None:
    """Store the sparse vectors of points that a write has stored; None removes that of a point.

    Raises:
        StorageDamaged: the stored vector of one of the points fails its checksum.
    """
    for start in range(0, len(pks), CHUNK):
        part = slice(start, start + CHUNK)
        _store(rows, collection, dict(zip(pks[part], vectors[part], strict=True)))


def _store(rows: SparseRows, collection: int, given: Mapping[int, SparseVector | None]) -> None:
    known = rows.vectors(collection, sorted(given))
    # A vector without weights, as a text of unknown words has, is stored: the point has been read.
    new = {pk: vector for pk, vector in sorted(given.items()) if vector is not None}
    if not known and not new:
        return
    if rows.is_indexed(collection):
        try:
            _change_blocks(rows, collection, known, new)
        except DamagedBlock:
            rows.forget(collection)  # the rows themselves are undamaged
    rows.delete_vectors(collection, [pk for pk in known if pk not in new])
    rows.put_vectors(collection, new)


def _change_blocks(
    rows: SparseRows,
    collection: int,
    known: Mapping[int, SparseVector],
    new: Mapping[int, SparseVector],
) -> None:
    removed: defaultdict[BlockKey, set[int]] = defaultdict(set)
    added: defaultdict[BlockKey, bytes] = defaultdict(bytes)
    for pk, vector in known.items():
        number, at = divmod(pk, BLOCK)
        for one in vector.ids.tolist():
            removed[number, str(one)].add(at)
    for pk, vector in new.items():
        for term, entry in entries_of(pk, vector).items():
            added[pk // BLOCK, term] += entry
    keys = sorted(removed.keys() | added.keys())
    stored = rows.blocks(collection, keys)
    rows.put_blocks(
        collection,
        {
            key: merged(stored.get(key, b""), removed.get(key, ()), added.get(key, b""))
            for key in keys
        },
    )
