"""Which index kinds there are, and which metrics each of them may be built for.

An allow-list: FAISS aborts the process on some other pairs, and silently computes another metric
on a few. Knows nothing of how an index is built.
"""

from __future__ import annotations

from enum import Enum

from embedder.errors import InvalidInput
from embedder.index.points import Metric


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

def check_kind(kind: IndexKind, metric: Metric) -> None:
    """Refuse a kind that cannot be built for the metric.

    Raises:
        InvalidInput: the error names both.
    """
    if metric is Metric.L1 and kind in INVERTED:
        raise InvalidInput(
            "index", f"is {kind.value}, which has no metric l1: use flat, hnsw or auto"
        )
