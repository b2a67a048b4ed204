"""Keeps the sparse vectors of a collection as its points are, inside the writes of a store.

A collection has sparse vectors from the first write that brings some; points that a client stored
with its own vectors have none. The rows of the points are the data, the blocks are an index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Protocol

from embedder.index.contract.sparse import SparseVector
from embedder.index.lexical.blocks import BLOCK, BlockKey, DamagedBlock, merged
from embedder.index.sparse.weight_blocks import entries_of

ALL = 2**62
"""The highest pk: blocks that cover it are complete."""

DAMAGED = -1
"""No block may be used: all are deleted, and then made again from the rows."""

CHUNK = 1024
"""Points whose blocks are in memory at a time, and the most of one step of `index_some`."""

STEP_IDS = 2**17
"""About the most ids of vectors whose blocks one step makes."""

CLEARED_ROWS = 4096
"""Damaged blocks that one step deletes."""


@dataclass(frozen=True, slots=True)
class SparseTotals:
    """The number of points of a collection that have a sparse vector.

    ``indexed`` is the last pk that the blocks cover, or `DAMAGED` if none of them may be used.
    """

    collection: int
    points: int = 0
    indexed: int = ALL


class SparseRows(Protocol):
    """The sparse vectors of points, and their blocks, in a transaction of a store."""

    def totals(self, collection: int) -> SparseTotals | None:
        """Return the totals of a collection; None if none of its points had a sparse vector."""

    def put_totals(self, totals: SparseTotals) -> None:
        """Store the totals of a collection."""

    def vectors(self, collection: int, pks: Sequence[int]) -> dict[int, SparseVector]:
        """Return the stored vectors among the pks.

        Raises:
            StorageDamaged: a row fails its checksum.
        """

    def vectors_after(self, collection: int, pk: int, most: int) -> dict[int, SparseVector]:
        """Return up to ``most`` vectors of the points with the next higher pks, ascending.

        Raises:
            StorageDamaged: a row fails its checksum.
        """

    def put_vectors(self, collection: int, vectors: Mapping[int, SparseVector]) -> None:
        """Insert or replace vectors by pk."""

    def delete_vectors(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the vectors of these pks."""

    def clear_blocks(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` blocks; return False if there were none."""

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
    *,
    indexes: bool = True,
) -> None:
    """Store the sparse vectors of points that a write has stored; None removes that of a point.

    Without ``indexes``, the blocks of a collection that had no sparse vector are left to later
    steps of `index_some`.

    Raises:
        StorageDamaged: the stored vector of one of the points fails its checksum.
    """
    before = rows.totals(collection)
    if before is None and not any(vector is not None for vector in vectors):
        return
    after = before or SparseTotals(collection, indexed=ALL if indexes else 0)
    for start in range(0, len(pks), CHUNK):
        part = slice(start, start + CHUNK)
        after = _store(rows, after, dict(zip(pks[part], vectors[part], strict=True)))
    if after != before:
        rows.put_totals(after)


def give_up_blocks(rows: SparseRows, collection: int) -> None:
    """Let the blocks of a collection, if it has any, be made again from its rows."""
    totals = rows.totals(collection)
    if totals is not None:
        rows.put_totals(replace(totals, indexed=DAMAGED))


def index_some(rows: SparseRows, totals: SparseTotals) -> None:
    """Make some blocks again, after those of a collection were found damaged.

    Raises:
        StorageDamaged: a stored vector fails its checksum.
    """
    if totals.indexed == DAMAGED:
        if not rows.clear_blocks(totals.collection, CLEARED_ROWS):
            rows.put_totals(replace(totals, indexed=0))
        return
    found = _first(rows.vectors_after(totals.collection, totals.indexed, CHUNK))
    try:
        _change_blocks(rows, totals.collection, {}, found)
    except DamagedBlock:
        rows.put_totals(replace(totals, indexed=DAMAGED))
    else:
        rows.put_totals(replace(totals, indexed=max(found, default=ALL)))


def _first(vectors: Mapping[int, SparseVector]) -> dict[int, SparseVector]:
    """Return the vectors of one step, at least one if there are any."""
    sizes = list(accumulate(map(len, vectors.values())))
    within = sum(size <= STEP_IDS for size in sizes)
    return dict(islice(vectors.items(), max(1, within)))


def _store(
    rows: SparseRows, totals: SparseTotals, given: Mapping[int, SparseVector | None]
) -> SparseTotals:
    known = rows.vectors(totals.collection, sorted(given))
    # A vector without weights is stored too: the model has read the text.
    new = {pk: vector for pk, vector in sorted(given.items()) if vector is not None}
    covered = (
        {pk: one for pk, one in part.items() if pk <= totals.indexed} for part in (known, new)
    )
    try:
        _change_blocks(rows, totals.collection, *covered)
    except DamagedBlock:
        totals = replace(totals, indexed=DAMAGED)  # the rows themselves are undamaged
    rows.delete_vectors(totals.collection, [pk for pk in known if pk not in new])
    rows.put_vectors(totals.collection, new)
    return replace(totals, points=totals.points + len(new) - len(known))


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
