"""Finds the nearest allowed rows of a quantised segment by its codes and by stored vectors.

Far from a query, distances differ by less than the error of a code. So the vectors of the rows with
the best codes are read from the store, in growing numbers, until the error of the codes that they
show cannot bring another row among the nearest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.segments.scoring import Positions, Scores, approximate_scores
from embedder.index.segments.segment import Segment

GROWTH = 4
MAX_READ = 2**16
"""Upper bound on the rows that are read for a query, which takes about a second."""
READ_ROWS = 4096
"""Rows that are read at once: 6 MiB at 384 components."""
SHARED_BY = 64
"""Queries for which rows are read together: at most 64 MiB of positions and scores."""

Fetch = Callable[[NDArray[np.int64]], Vectors]
"""Reads normalized vectors float32[n, d] by ascending pks."""

ByCodes = Callable[[Vectors, int], tuple[Scores, Positions]]
"""Returns scores and positions, both [q, n], of the allowed rows with the best codes: as many as it
is asked for, or all.
"""


def nearest_by_codes(
    segment: Segment, queries: Vectors, k: int, wanted: int, by_codes: ByCodes, fetch: Fetch
) -> tuple[Scores, Positions]:
    """Return scores and positions, both [q, wanted]; the first ``k`` rows are the nearest ones.

    ``wanted`` rows are allowed, or more.
    """
    found = [
        _nearest(segment, queries[start : start + SHARED_BY], k, wanted, by_codes, fetch)
        for start in range(0, len(queries), SHARED_BY)
    ]
    return np.concatenate([one for one, _ in found]), np.concatenate([at for _, at in found])


def _nearest(
    segment: Segment, queries: Vectors, k: int, wanted: int, by_codes: ByCodes, fetch: Fetch
) -> tuple[Scores, Positions]:
    size = wanted
    while True:
        by_code, at = by_codes(queries, size)
        scores = _stored_scores(segment, queries, at, fetch)
        error = np.abs(scores - by_code).max(axis=1)
        enough = by_code[:, -1] + error <= np.partition(scores, -k, axis=1)[:, -k]
        if enough.all() or at.shape[1] < size or size >= MAX_READ:
            break
        size = min(GROWTH * size, MAX_READ)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :wanted]
    return np.take_along_axis(scores, best, 1), np.take_along_axis(at, best, 1)


def _stored_scores(segment: Segment, queries: Vectors, at: Positions, fetch: Fetch) -> Scores:
    """Return the scores [q, n] of the stored vectors of rows, in the unit of FAISS."""
    distinct, columns = np.unique(at, return_inverse=True)
    scores = [
        approximate_scores(
            segment.metric, queries, fetch(segment.pks[distinct[start : start + READ_ROWS]])
        )
        for start in range(0, len(distinct), READ_ROWS)
    ]
    return np.take_along_axis(np.concatenate(scores, axis=1), columns.reshape(at.shape), 1)
