"""The kinds of vector index."""

from __future__ import annotations

from enum import Enum


class IndexKind(str, Enum):
    """How the larger segments of a collection are searched; small ones are searched exactly."""

    AUTO = "auto"
    FLAT = "flat"
    HNSW = "hnsw"
    IVF_FLAT = "ivf_flat"
    IVF_SQ8 = "ivf_sq8"
    IVF_PQ = "ivf_pq"


INVERTED = frozenset({IndexKind.IVF_FLAT, IndexKind.IVF_SQ8, IndexKind.IVF_PQ})

QUANTISED = frozenset({IndexKind.IVF_SQ8, IndexKind.IVF_PQ})
"""Kinds without exact vectors in their segments: candidates are scored with stored vectors."""

OVERFETCH = {IndexKind.IVF_SQ8: 2, IndexKind.IVF_PQ: 10}
"""Candidates per wanted hit that a quantised segment returns, to be scored exactly."""
