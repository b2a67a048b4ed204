"""Least squares on relative errors, with parameters that are not negative. Pure.

A point of a millisecond weighs as much as one of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def fit(columns: Sequence[Numbers], values: Numbers) -> list[float]:
    """Return the factor of each column whose sum comes nearest to the values, in parts of them.

    Each column and ``values`` are float64[n].

    Raises:
        ValueError: there are fewer values than columns, or one that is not positive.
    """
    if len(values) < len(columns):
        raise ValueError(f"{len(values)} points cannot determine {len(columns)} parameters")
    if not (values > 0).all():
        raise ValueError("a law is fitted to positive figures only")
    weighted = np.stack(columns, axis=1) / values[:, None]
    best, least = np.zeros(len(columns)), float(len(values))
    # With few columns all sets of those that count can be tried: the optimum is among them.
    for size in range(1, len(columns) + 1):
        for chosen in map(list, combinations(range(len(columns)), size)):
            factors = np.linalg.lstsq(weighted[:, chosen], np.ones(len(values)), rcond=None)[0]
            left = float(np.square(weighted[:, chosen] @ factors - 1).sum())
            if (factors >= 0).all() and left < least:
                best, least = np.zeros(len(columns)), left
                best[chosen] = factors
    return [float(factor) for factor in best]
