"""Which kinds of index there are. Knows nothing of how one is built."""

from __future__ import annotations

from enum import Enum


class IndexKind(str, Enum):
    """How a collection's larger segments are searched; small ones are always searched exactly."""

    AUTO = "auto"
    FLAT = "flat"
    HNSW = "hnsw"
    IVF_FLAT = "ivf_flat"
    IVF_SQ8 = "ivf_sq8"
    IVF_PQ = "ivf_pq"


INVERTED = frozenset({IndexKind.IVF_FLAT, IndexKind.IVF_SQ8, IndexKind.IVF_PQ})

QUANTISED = frozenset({IndexKind.IVF_SQ8, IndexKind.IVF_PQ})
"""Kinds whose segments hold no exact vectors: their candidates are scored from the truth."""
