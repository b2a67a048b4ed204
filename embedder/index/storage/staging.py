"""The staged collection: a copy of a collection with vectors of another model, not yet in use.

Clients cannot name it: ``.docs`` is the staged collection of ``docs`` during the fill, ``..docs``
after it is frozen. Writes to ``docs`` are refused from then on until ``..docs`` replaces it. A
staged point is up to date if it has the ``seq`` of its source point, so an interrupted fill
continues where it stopped, and finds overwritten points again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.types import Vectors
from embedder.index.contract.sparse import SparseVector
from embedder.index.storage.protocol import Transaction
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.records import CollectionRow, OutdatedPoint

FILLING_PREFIX = "."
FROZEN_PREFIX = ".."


def is_staged_name(name: str | None) -> bool:
    """Say whether a name belongs to a staged collection, which no client may use."""
    return name is not None and name.startswith(FILLING_PREFIX)


def require_collection(rows: Snapshot, name: str) -> CollectionRow:
    """Return the collection of a client's name.

    Raises:
        UnknownCollection: no collection has this name, or it is the name of a staged one.
    """
    row = None if is_staged_name(name) else rows.find_collection(name)
    if row is None:
        raise UnknownCollection("collection", name)
    return row


def find_staged(rows: Snapshot, name: str) -> CollectionRow | None:
    """Return the staged collection of a collection, or None."""
    return rows.find_collection(FILLING_PREFIX + name) or rows.find_collection(FROZEN_PREFIX + name)


def refuse_if_frozen(rows: Snapshot, name: str) -> None:
    """Refuse a write to a collection whose staged collection is frozen.

    Raises:
        Unavailable: it is frozen.
    """
    if rows.find_collection(FROZEN_PREFIX + name) is not None:
        raise Unavailable(
            f"collection {name!r} takes no writes while it changes its model; if this lasts, "
            f"'embedder index reembed {name}' completes it"
        )


def is_complete(rows: Snapshot, source: CollectionRow, staged: CollectionRow) -> bool:
    """Say whether the staged collection is frozen and has a vector for every current text."""
    return _is_frozen(staged) and not rows.outdated(source.id, staged.id, 0)


def fill(
    rows: Transaction,
    source: CollectionRow,
    staged: CollectionRow,
    points: Sequence[OutdatedPoint],
    vectors: Vectors,
    sparse: Sequence[SparseVector | None],
) -> None:
    """Store points in the staged collection; ``vectors`` is float32[n, width].

    ``sparse`` has the sparse vector of each point, or None.

    A point that was overwritten since it was read is stored to keep its place in the insertion
    order, and stays outdated. A point that was deleted or lost its text is skipped.
    """
    # A late call must not make a point of a frozen collection outdated.
    frozen = _is_frozen(staged)
    rows.fill_staged(source, staged, points, vectors, sparse, skip_outdated=frozen)


def delete_points(rows: Transaction, source: CollectionRow, pks: Sequence[int]) -> None:
    """Delete the copies of points from the staged collection, if there is one."""
    staged = find_staged(rows, str(source.name))
    if staged is not None:
        rows.delete(staged, rows.copies(source.id, staged.id, pks))


def freeze(
    rows: Transaction, source: CollectionRow, staged: CollectionRow, *, dropping: bool
) -> None:
    """Block writes to the collection until its staged collection replaces it; idempotent.

    Raises:
        InvalidInput: points have no text, and ``dropping`` is not set.
    """
    if _is_frozen(staged):
        return
    left_out = rows.count_without_text(source.id)
    if left_out and not dropping:
        raise InvalidInput("collection", missing_texts(left_out))
    # Points that had a text when they were staged, and have none now.
    kept = rows.delete(staged, rows.copies_without_text(source.id, staged.id))
    rows.update_collection(replace(kept, name=FROZEN_PREFIX + str(source.name)))


def missing_texts(count: int) -> str:
    """Return why a collection with ``count`` points without a text is refused."""
    return (
        f"has {count:,} points with a vector and no text, which no model can embed again; with "
        "--drop-without-text they are left out"
    )


def promote(rows: Transaction, source: CollectionRow, staged: CollectionRow) -> CollectionRow:
    """Give the staged collection the name of its source; record the source as deleted."""
    rows.delete_collection(source)
    return rows.update_collection(replace(staged, name=source.name, sequence=source.sequence))


def discard(rows: Transaction, name: str) -> None:
    """Delete the staged collection, if there is one, and record its identity as deleted."""
    staged = find_staged(rows, name)
    if staged is not None:
        rows.delete_collection(staged)


def _is_frozen(staged: CollectionRow) -> bool:
    return str(staged.name).startswith(FROZEN_PREFIX)
