"""The most relevant rows that are not alike: maximal marginal relevance, chosen greedily.

Of answers that nearly repeat each other it takes one (Carbonell and Goldstein, 1998). Knows
nothing of models or texts; what is near is what `metrics` says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import METRICS, as_row, check_matrices, placed


def maximal_marginal_relevance(
    query: Vectors,
    candidates: Vectors,
    k: int,
    *,
    diversity: float = 0.5,
    metric: SimilarityName = "cosine",
) -> NDArray[np.int64]:
    """Return int64[min(k, m)]: rows of float32[m, d] in the order in which they are chosen.

    The first is the nearest to ``query`` float32[d]; then always the one with the largest
    ``(1 - diversity) * relevance - diversity * likeness``, where relevance is the measure to the
    query and likeness that to the nearest row chosen before. So a ``diversity`` of 0 is plain
    search, and λ of the literature is 1 minus it. Of equals the row with the lower number comes
    first.

    Raises:
        InvalidVector: a vector is not finite or has another shape, or is so large that a measure
            has no float32.
        InvalidInput: ``k`` is below 1, ``diversity`` outside 0 to 1, or there is no such measure.
    """
    if k < 1:
        raise InvalidInput("k", f"is {k}; it must be at least 1")
    if not 0 <= diversity <= 1:
        raise InvalidInput("diversity", f"is {diversity}; it must be between 0 and 1")
    question = as_row(query, "query")
    check_matrices(question, candidates, metric, ("query", "candidates"))
    if not len(candidates):
        return np.empty(0, np.int64)
    rows = placed(candidates, metric)
    with np.errstate(over="ignore", invalid="ignore"):
        relevance = _checked(METRICS[metric](placed(question, metric), rows)[0], metric)
        return _choose(relevance, rows, min(k, len(rows)), diversity, metric)


def _choose(
    relevance: NDArray[np.float64], rows: Vectors, k: int, diversity: float, metric: SimilarityName
) -> NDArray[np.int64]:
    worth = (1 - diversity) * relevance
    likeness = np.full(len(rows), -np.inf)
    chosen = np.full(k, relevance.argmax(), np.int64)
    for turn in range(1, k):
        last = chosen[turn - 1]
        measured = METRICS[metric](rows[last : last + 1], rows)[0]
        np.maximum(likeness, _checked(measured, metric), out=likeness)
        gains = worth - diversity * likeness
        gains[chosen[:turn]] = -np.inf
        chosen[turn] = gains.argmax()
    return chosen


def _checked(measured: Vectors, metric: SimilarityName) -> NDArray[np.float64]:
    for row in np.flatnonzero(~np.isfinite(measured)).tolist():
        what = f"is too large: its {metric} measure has no float32"
        raise InvalidVector(f"candidates[{row}]", what)
    return measured.astype(np.float64)
