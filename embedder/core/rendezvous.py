"""Rendezvous hashing: each key belongs to the shard with the highest score for it.

A shard that is added takes its share of keys from all others; no key moves between those.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""Constants of splitmix64 (Steele, Lea and Flood, 2014), whose finalizer gives the scores."""


def owners(hashes: NDArray[np.uint64], shards: int) -> NDArray[np.intp]:
    """Return the shard, 0 to ``shards - 1``, of each key by its 64-bit hash."""
    if shards == 1:
        return np.zeros(len(hashes), np.intp)
    seeds = np.arange(1, shards + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    scores = _mixed(hashes[:, None] ^ seeds[None, :])
    owner: NDArray[np.intp] = scores.argmax(axis=1)
    return owner


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_MIX[0])
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_MIX[1])
    return words ^ (words >> np.uint64(31))
