"""The texts of the load, and the vectors that the library computes of them before the start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.texts import sample
from embedder import EmbeddingGenerator
from embedder.core.types import Vectors
from tests.drill.swapped import LEAST_COSINE, SwappedModel

TEXTS = 400
JOINED = 12
"""Texts that make a long one: more tokens than the default model takes."""

SWAPPED = 60
"""Texts for the model that is swapped."""

SCORE_ERROR = 0.01


class Expected:
    """``texts``, most of them short and some long, and the vector of each from every model."""

    def __init__(self, seed: int, folder: Path) -> None:
        drawn = sample(TEXTS, seed=seed)
        longs = [" ".join(drawn[at : at + JOINED]) for at in range(0, TEXTS, JOINED)]
        self.short, self.long = range(len(drawn)), range(len(drawn), len(drawn) + len(longs))
        self.texts = [*drawn, *longs]
        with EmbeddingGenerator() as generator:
            self.vectors: Vectors = generator.embed(self.texts)
        self.of_swapped = range(SWAPPED)
        self.swapped = SwappedModel(folder, self.texts[:SWAPPED])

    def wrong(self, rows: Sequence[int], vectors: Sequence[Sequence[float]]) -> int:
        """Count the vectors that are not those of the texts of these rows."""
        given = np.asarray(vectors, np.float32)
        if given.shape != (len(rows), self.vectors.shape[1]):
            return len(rows)
        return int(((given * self.vectors[list(rows)]).sum(axis=1) < LEAST_COSINE).sum())

    def wrong_scores(self, rows: Sequence[int], scores: Sequence[Sequence[float]]) -> int:
        """Count the cosines that are not those of the texts of these rows, each with each."""
        chosen = self.vectors[list(rows)]
        given = np.asarray(scores, np.float32)
        if given.shape != (len(rows), len(rows)):
            return len(rows) ** 2
        return int((np.abs(given - chosen @ chosen.T) > SCORE_ERROR).sum())
