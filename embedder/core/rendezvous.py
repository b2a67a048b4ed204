"""Rendezvous hashing: what goes to which of several places, so that few things ever move.

A thing goes to the place with the highest score for it. A place that is added takes its share from
every other one, and nothing moves between those. Knows nothing of things or places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""The constants of splitmix64 (Steele, Lea and Flood 2014), whose finaliser gives the scores."""


def owners(hashes: NDArray[np.uint64], places: int) -> NDArray[np.intp]:
    """Return the number of the place, below ``places``, of each thing by its 64-bit hash."""
    if places == 1:
        return np.zeros(len(hashes), np.intp)
    seeds = np.arange(1, places + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    scores = _mixed(hashes[:, None] ^ seeds[None, :])
    owner: NDArray[np.intp] = scores.argmax(axis=1)
    return owner


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_MIX[0])
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_MIX[1])
    return words ^ (words >> np.uint64(31))
