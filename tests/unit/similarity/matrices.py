"""Matrices of small integers, whose dot products and distances are exact in single precision."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.core.types import SimilarityName, Vectors

EXACT_METRICS: tuple[SimilarityName, ...] = ("dot", "euclidean", "squared_euclidean", "manhattan")
INTEGERS = st.integers(-3, 3).map(float)


@st.composite
def integer_matrices(
    draw: st.DrawFn, rows_a: st.SearchStrategy[int], rows_b: st.SearchStrategy[int]
) -> tuple[Vectors, Vectors]:
    """Draw two matrices of 1 to 3 columns in which many rows are equal."""
    width = draw(st.integers(1, 3))
    counts = draw(rows_a), draw(rows_b)
    a, b = (draw(arrays(np.float32, (count, width), elements=INTEGERS)) for count in counts)
    return a, b
