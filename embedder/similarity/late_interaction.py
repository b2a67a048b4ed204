"""MaxSim of token vectors: how well the tokens of texts match those of a query, one by one.

The score of ColBERT (Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via
Contextualized Late Interaction over BERT", 2020): the sum, over the tokens of the query, of the
largest dot product with a token of the text. Of vectors of unit length, these are cosines.
"""

from __future__ import annotations

import numpy as np

from embedder.core.errors import InvalidVector
from embedder.core.outputs import RaggedRows
from embedder.core.types import Vectors

TILE = 2**22
"""Dot products that are computed at once, 16 MiB."""


def maxsim(query: Vectors, texts: RaggedRows) -> Vectors:
    """Return float32[n], the MaxSim of the tokens float32[q, d] of a query with those of n texts.

    A text without tokens has the score 0.

    Raises:
        InvalidVector: the tokens of the query and of the texts have different widths.
    """
    if query.ndim != 2 or query.shape[1] != texts.width:
        problem = f"has the shape {query.shape}; tokens of the texts have {texts.width} components"
        raise InvalidVector("query", problem)
    scores = np.zeros(len(texts), np.float32)
    filled = np.flatnonzero(texts.lengths)
    # Rows of no tokens are left out: `reduceat` would return the token after them.
    starts, stops = texts.offsets[:-1][filled], texts.offsets[1:][filled]
    begin = 0
    while begin < len(filled):
        most = starts[begin] + TILE // max(1, len(query))
        end = max(begin + 1, int(np.searchsorted(stops, most, side="right")))
        tokens = texts.values[starts[begin] : stops[end - 1]]
        similarities = query @ tokens.T
        best = np.maximum.reduceat(similarities, starts[begin:end] - starts[begin], axis=1)
        scores[filled[begin:end]] = best.sum(axis=0)
        begin = end
    return scores
