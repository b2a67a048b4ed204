"""Sparse weights and token vectors of letters, which the fake encoder computes.

A sparse row has the code point of each letter and its count; the vector of a letter is (its place
in the alphabet, 1), 'a' at 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from embedder.core.entries.blobs import blobs_of
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Encoded, Vectors

THREE, WEIGHTS, TOKENS = "/models/three", "/models/weights", "/models/tokens"
OUTPUTS = {
    THREE: (OutputKind.DENSE, OutputKind.SPARSE, OutputKind.TOKENS),
    WEIGHTS: (OutputKind.SPARSE,),
    TOKENS: (OutputKind.TOKENS,),
}
"""The models with such outputs."""

TOKEN_WIDTH = 2


def ragged(kind: OutputKind, rows: Sequence[Sequence[int]]) -> RaggedRows:
    """Return the sparse rows or the token vectors of inputs, whose ids are code points."""
    lengths = np.array([len(set(row) if kind is OutputKind.SPARSE else row) for row in rows])
    if kind is OutputKind.TOKENS:
        vectors = np.array([[one - ord("a") + 1, 1] for row in rows for one in row], np.float32)
        return RaggedRows.of(vectors.reshape(-1, TOKEN_WIDTH), lengths)
    weights = [pair for row in rows for pair in sorted(Counter(row).items())]
    values = np.array([weight for _, weight in weights], np.float32)
    ids = np.array([one for one, _ in weights], np.int32)
    return RaggedRows.of(values.reshape(-1, 1), lengths, ids)


def several(
    model: str, kinds: tuple[OutputKind, ...], dense: Vectors, rows: Sequence[Sequence[int]]
) -> Encoded:
    """Return what the encoder answers for the kinds that its tokens ask for."""
    of_kinds = [
        dense if kind is OutputKind.DENSE else blobs_of(ragged(kind, rows))
        for kind in kinds or OUTPUTS[model][:1]
    ]
    return Encoded(of_kinds[0], 0.0, 0.0, others=tuple(of_kinds[1:]))
