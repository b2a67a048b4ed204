"""Sparse vectors of texts, weights of ids of the vocabulary of a model, and queries by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.outputs import RaggedRows
from embedder.index.contract.limits import MAX_SPARSE_IDS


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """The weights of one text: ids int32[k], ascending and distinct, and weights float32[k]."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def encoded(self) -> bytes:
        """Return the ids, and then the weights."""
        return self.ids.astype("<i4").tobytes() + self.weights.astype("<f4").tobytes()

    @classmethod
    def of(cls, weights: Mapping[int, float]) -> SparseVector:
        """Return the vector with these weights by id."""
        ids = sorted(weights)
        values = [weights[one] for one in ids]
        return cls(np.array(ids, np.int32), np.array(values, np.float32))

    @classmethod
    def decoded(cls, row: bytes) -> SparseVector:
        """Return the vector of encoded ids and weights."""
        half = len(row) // 2
        return cls(np.frombuffer(row[:half], "<i4"), np.frombuffer(row[half:], "<f4"))


def vectors_of(rows: RaggedRows) -> list[SparseVector]:
    """Return the sparse vector of each row of a model."""
    assert rows.ids is not None, "rows of token vectors have no ids"
    cuts, weights = rows.offsets[1:-1], rows.values[:, 0]
    pairs = zip(np.split(rows.ids, cuts), np.split(weights, cuts), strict=True)
    return [SparseVector(ids.copy(), some.copy()) for ids, some in pairs][: len(rows)]


def check_sparse(vectors: Sequence[SparseVector | None], fields: Sequence[str]) -> None:
    """Refuse sparse vectors that no index can store; ``fields`` are their names in errors.

    Raises:
        InvalidInput: ids are negative, or do not ascend, or a weight is not finite.
        LimitExceeded: a vector has more than `MAX_SPARSE_IDS` ids.
    """
    for field, vector in zip(fields, vectors, strict=True):
        if vector is None:
            continue
        if len(vector) > MAX_SPARSE_IDS:
            raise LimitExceeded(field, "ids with a weight", len(vector), MAX_SPARSE_IDS)
        if len(vector.weights) != len(vector.ids):
            problem = f"has {len(vector.ids)} ids and {len(vector.weights)} weights"
            raise InvalidInput(field, problem)
        if len(vector) and (vector.ids[0] < 0 or (np.diff(vector.ids) <= 0).any()):
            raise InvalidInput(field, "has ids that are negative, or do not ascend")
        if not np.isfinite(vector.weights).all():
            raise InvalidInput(field, "has a weight that is not finite")
