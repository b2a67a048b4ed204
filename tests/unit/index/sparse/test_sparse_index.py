"""Sparse vectors are found with exact scores after any writes, and outlive a damaged block."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.index.lexical.blocks import BLOCK, BlockKey, DamagedBlock
from embedder.index.sparse.dot_product import scores
from embedder.index.sparse.sparse_index import store_vectors
from embedder.index.sparse.weight_blocks import (
    SparseVector,
    WeightPostings,
    decoded,
    row_checksum,
)

WEIGHTS = st.dictionaries(
    st.integers(0, 6) | st.just(2**31 - 1), st.floats(0.0, 10.0, width=32), max_size=5
)
PKS = st.integers(1, 6) | st.integers(BLOCK - 2, BLOCK + 2) | st.just(2**40)
WRITES = st.lists(st.dictionaries(PKS, st.none() | WEIGHTS, max_size=5), max_size=6)


class MemoryRows:
    """Implements `SparseRows` in dictionaries."""

    def __init__(self) -> None:
        self.stored: dict[int, bytes] = {}
        self.kept: dict[BlockKey, bytes] = {}
        self.indexed = True
        self.damaged: set[BlockKey] = set()

    def vectors(self, collection: int, pks: Sequence[int]) -> dict[int, SparseVector]:
        return {pk: SparseVector.decoded(self.stored[pk]) for pk in pks if pk in self.stored}

    def put_vectors(self, collection: int, vectors: Mapping[int, SparseVector]) -> None:
        self.stored.update({pk: vector.encoded() for pk, vector in vectors.items()})

    def delete_vectors(self, collection: int, pks: Sequence[int]) -> None:
        for pk in pks:
            del self.stored[pk]

    def is_indexed(self, collection: int) -> bool:
        return self.indexed

    def forget(self, collection: int) -> None:
        self.indexed = False

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        if self.damaged.intersection(keys):
            raise DamagedBlock
        return {key: self.kept[key] for key in keys if key in self.kept}

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        self.kept.update(blocks)
        self.kept = {key: entries for key, entries in self.kept.items() if entries}

    def postings(self) -> dict[int, WeightPostings]:
        terms = {term for _, term in self.kept}
        return {
            int(term): decoded(
                [(key[0], found) for key, found in self.kept.items() if key[1] == term]
            )
            for term in terms
        }


def _vector(weights: Mapping[int, float]) -> SparseVector:
    ids = sorted(weights)
    return SparseVector(
        np.array(ids, np.int32), np.array([weights[one] for one in ids], np.float32)
    )


def _write(rows: MemoryRows, points: Mapping[int, Mapping[int, float] | None]) -> None:
    vectors = [None if one is None else _vector(one) for one in points.values()]
    store_vectors(rows, 1, list(points), vectors)


@settings(max_examples=60)
@given(WRITES, WEIGHTS)
def test_scores_are_the_dot_products_after_any_writes(
    writes: list[dict[int, dict[int, float] | None]], query: dict[int, float]
) -> None:
    rows, model = MemoryRows(), dict[int, dict[int, float]]()
    for points in writes:
        _write(rows, points)
        model.update({pk: one for pk, one in points.items() if one is not None})
        model = {pk: one for pk, one in model.items() if points.get(pk, one) is not None}
    pks, found = scores(_vector(query), rows.postings())
    expected = {
        pk: sum(query[one] * weights[one] for one in sorted(query.keys() & weights.keys()))
        for pk, weights in sorted(model.items())
        if query.keys() & weights.keys()
    }
    # Equal to the last bit: a loop over Python floats adds in the same order.
    assert dict(zip(pks.tolist(), found.tolist(), strict=True)) == expected
    assert pks.tolist() == sorted(expected)
    assert rows.stored.keys() == model.keys()


def test_a_point_without_weights_keeps_a_row_and_no_block() -> None:
    rows = MemoryRows()
    _write(rows, {7: {}})
    assert list(rows.stored) == [7]
    assert rows.kept == {}


def test_more_points_than_one_chunk_are_all_stored() -> None:
    rows = MemoryRows()
    _write(rows, {pk: {3: float(pk)} for pk in range(1, 1027)})
    pks, found = scores(_vector({3: 2.0}), rows.postings())
    assert pks.tolist() == list(range(1, 1027))
    assert found.tolist() == [2.0 * pk for pk in range(1, 1027)]


def test_a_damaged_block_gives_up_the_blocks_and_keeps_the_vectors() -> None:
    rows = MemoryRows()
    _write(rows, {1: {3: 1.0}, 2: {4: 1.0}})
    rows.damaged = {(0, "3")}
    _write(rows, {1: {5: 2.0}})
    assert not rows.indexed
    assert rows.vectors(1, [1])[1].ids.tolist() == [5]
    # While blocks are made again, writes store the vectors alone.
    _write(rows, {2: None})
    assert list(rows.stored) == [1]


def test_the_checksum_of_a_row_tells_points_and_weights_apart() -> None:
    row = _vector({1: 0.5, 9: 2.0}).encoded()
    flipped = bytes([row[0] ^ 1]) + row[1:]
    assert len({row_checksum(1, row), row_checksum(2, row), row_checksum(1, flipped)}) == 3
