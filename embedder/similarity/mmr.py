"""Maximal marginal relevance (Carbonell and Goldstein, 1998): relevant and diverse rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import METRICS, check_matrices, prepare_rows


def maximal_marginal_relevance(
    query: Vectors,
    candidates: Vectors,
    k: int,
    *,
    diversity: float = 0.5,
    metric: SimilarityName = "cosine",
) -> NDArray[np.int64]:
    """Return int64[min(k, m)]: rows of float32[m, d] in the order in which they are selected.

    The first row is the one most similar to ``query`` float32[d]. Each next row has the largest
    ``(1 - diversity) * relevance - diversity * redundancy``: its similarity to the query, and to
    the most similar row that was selected before. A ``diversity`` of 0 is plain search; λ of the
    literature is ``1 - diversity``. Of equal rows the lower number comes first.

    Raises:
        InvalidVector: a vector is not finite or has another shape, or is so large that a similarity
            exceeds float32.
        InvalidInput: ``k`` is below 1, ``diversity`` is outside 0 to 1, or ``metric`` is unknown.
    """
    if k < 1:
        raise InvalidInput("k", f"is {k}; it must be at least 1")
    if not 0 <= diversity <= 1:
        raise InvalidInput("diversity", f"is {diversity}; it must be between 0 and 1")
    queries = _as_matrix(query)
    check_matrices(queries, candidates, metric, ("query", "candidates"))
    if not len(candidates):
        return np.empty(0, np.int64)
    rows = prepare_rows(candidates, metric)
    with np.errstate(over="ignore", invalid="ignore"):
        relevance = _checked(METRICS[metric](prepare_rows(queries, metric), rows)[0], metric)
        return _select(relevance, rows, min(k, len(rows)), diversity, metric)


def _as_matrix(query: Vectors) -> Vectors:
    if query.ndim != 1:
        raise InvalidVector("query", f"has {query.ndim} dimensions; it must have 1")
    if not np.isfinite(query).all():
        raise InvalidVector("query", "has a component that is not finite")
    return query[None, :]


def _select(
    relevance: NDArray[np.float64], rows: Vectors, k: int, diversity: float, metric: SimilarityName
) -> NDArray[np.int64]:
    weighted = (1 - diversity) * relevance
    redundancy = np.full(len(rows), -np.inf)
    selected = np.full(k, relevance.argmax(), np.int64)
    for count in range(1, k):
        last = selected[count - 1]
        scores = METRICS[metric](rows[last : last + 1], rows)[0]
        np.maximum(redundancy, _checked(scores, metric), out=redundancy)
        gains = weighted - diversity * redundancy
        gains[selected[:count]] = -np.inf
        selected[count] = gains.argmax()
    return selected


def _checked(scores: Vectors, metric: SimilarityName) -> NDArray[np.float64]:
    for row in np.flatnonzero(~np.isfinite(scores)).tolist():
        problem = f"is too large: its {metric} similarity exceeds float32"
        raise InvalidVector(f"candidates[{row}]", problem)
    return scores.astype(np.float64)
