"""Pooling as a weighted sum: the weight of each token of a span, for each kind of pooling.

The formulas are those of `embedder.backends.heads.pooling`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

PoolWeights = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Returns the weights float64[total] of the tokens of spans with the sizes int64[k]."""


def _cls(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(_numbers(sizes) == 1, np.float64)


def _last(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(_numbers(sizes) == np.repeat(sizes, sizes), np.float64)


def _mean(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.repeat(1 / sizes, sizes)
    return weights


def _mean_sqrt_len(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.repeat(1 / np.sqrt(sizes), sizes)
    return weights


def _weighted_mean(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(_numbers(sizes) * np.repeat(2 / (sizes * (sizes + 1)), sizes), np.float64)


POOL_WEIGHTS: dict[str, PoolWeights] = {
    "cls": _cls,
    "last": _last,
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt_len,
    "weighted_mean": _weighted_mean,
}
"""The weights by the names of poolings; a maximum is no weighted sum."""


def _numbers(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 1, 2, … for the tokens of each span."""
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    numbers: NDArray[np.int64] = np.arange(1, len(starts) + 1) - starts
    return numbers
