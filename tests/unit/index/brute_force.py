"""Compares the hits of a search with brute force over every vector in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.points import Hit, Metric, Points

TOLERANCE = 1e-4

QUARTERS = st.integers(-40, 40).map(lambda number: number / 4)
"""Components that often give equal scores; none is so small that its square is 0."""


def vectors(rows: int, width: int) -> st.SearchStrategy[Vectors]:
    """Draw vectors that every metric accepts: none is all zeros."""
    drawn = arrays(np.float32, (rows, width), elements=QUARTERS.map(np.float32))
    return drawn.map(_with_direction)


def _with_direction(rows: Vectors) -> Vectors:
    rows[~rows.any(axis=1)] = 1
    return rows


def points(stored: Mapping[str, Sequence[float]]) -> Points:
    """Return points without texts and metadata."""
    return request(*stored.items())


def request(*pairs: tuple[str, Sequence[float]]) -> Points:
    """Return points without texts and metadata, in this order; ids may repeat."""
    return Points(
        ids=[name for name, _ in pairs],
        vectors=np.array([vector for _, vector in pairs], np.float32),
        texts=[None] * len(pairs),
        metadata=[{}] * len(pairs),
    )


def scores(metric: Metric, query: Vectors, rows: Vectors) -> NDArray[np.float64]:
    """Return the scores float64[n] of the rows; larger is nearer."""
    exact_query, exact_rows = query.astype(np.float64), rows.astype(np.float64)
    if metric is Metric.L2:
        distances: NDArray[np.float64] = -np.sqrt(((exact_rows - exact_query) ** 2).sum(axis=1))
        return distances
    if metric is Metric.L1:
        sums: NDArray[np.float64] = -np.abs(exact_rows - exact_query).sum(axis=1)
        return sums
    products: NDArray[np.float64] = (exact_rows * exact_query).sum(axis=1)
    if metric is Metric.DOT:
        return products
    lengths = np.sqrt((exact_rows**2).sum(axis=1))
    cosines: NDArray[np.float64] = products / lengths / np.sqrt((exact_query**2).sum())
    return cosines


def assert_nearest(
    hits: Sequence[Hit],
    stored: Mapping[str, Sequence[float]],
    query: Vectors,
    metric: Metric,
    top_k: int,
) -> None:
    """Assert that hits have the scores of brute force, nearest first, each that of its id."""
    names = list(stored)
    rows = np.array(list(stored.values()), np.float32).reshape(-1, len(query))
    exact = dict(zip(names, scores(metric, query, rows).tolist(), strict=True))
    found = [hit.score for hit in hits]

    assert len({hit.id for hit in hits}) == len(hits) == min(top_k, len(names))
    assert found == sorted(found, reverse=True)
    np.testing.assert_allclose(found, [exact[hit.id] for hit in hits], atol=TOLERANCE)
    nearest = sorted(exact.values(), reverse=True)[:top_k]
    np.testing.assert_allclose(found, nearest, atol=TOLERANCE)
    for hit in hits:
        if metric in (Metric.L2, Metric.L1):
            assert hit.distance == -hit.score
        else:
            assert hit.distance is None
