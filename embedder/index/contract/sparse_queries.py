"""The records of a search by sparse vectors: queries, and their hits."""

from __future__ import annotations

from dataclasses import dataclass

from embedder.index.contract.filters import Filter
from embedder.index.contract.points import PAYLOAD, Consistency, Hit, PointField, StoredModel
from embedder.index.contract.sparse import SparseVector, check_sparse
from embedder.index.contract.texts import check_wanted


@dataclass(frozen=True, slots=True)
class SparseQuery:
    """A search for the ``top_k`` points with the largest dot product with ``weights``.

    Points that share no id with the query are no hits, and neither are points with a score below
    ``threshold`` or outside ``filter``. ``field`` is the name of the query's text in errors. The
    other fields are as in `Query`.
    """

    collection: str
    weights: SparseVector
    top_k: int
    field: str = "text"
    filter: Filter | None = None
    threshold: float | None = None
    include: tuple[PointField, ...] = PAYLOAD
    max_bytes: int | None = None
    identity: str | None = None
    model: StoredModel | None = None
    consistency: Consistency = "latest"


@dataclass(frozen=True, slots=True)
class SparseHits:
    """The hits of each query; how many points the collection has, and how many with weights."""

    hits: list[list[Hit]]
    points: int
    weighted: int


def check_sparse_query(query: SparseQuery) -> None:
    """Refuse a query that no search can answer.

    Raises:
        InvalidInput: as `check_wanted` and `check_sparse`.
    """
    check_wanted(query.top_k, query.threshold)
    check_sparse([query.weights], [query.field])
