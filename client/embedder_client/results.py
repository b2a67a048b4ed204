"""What calls return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RankedText:
    """The position of a text in its call, and its score."""

    index: int
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """The weights float32[k] of a text, and the vocabulary id of each, int32[k], ascending."""

    ids: NDArray[np.int32]
    weights: Vectors


@dataclass(frozen=True, slots=True, eq=False)
class OutputRows:
    """The kinds of results that were asked for, one item per input, in order; None for others.

    ``dense`` is float32[n, width]; ``tokens`` has float32[k, width] for an input of k tokens.
    """

    dense: Vectors | None
    sparse: list[SparseVector] | None
    tokens: list[Vectors] | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """The chunk ``text[start:stop]`` of a text, with its number of tokens as the model reads it."""

    start: int
    stop: int
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class ChunkEmbeddings:
    """The chunks of one text in order, and their vectors float32[n, width], one row per chunk."""

    chunks: list[Chunk]
    vectors: Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A point of a collection: an id, and a text, a vector float32[width] or both."""

    id: str
    text: str | None = None
    vector: Vectors | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """A result of a search; a larger ``score`` is nearer.

    ``score`` is None where a reranked point has no text to score. The other fields are None unless
    the search includes them.
    """

    id: str
    score: float | None
    text: str | None = None
    metadata: Mapping[str, Any] | None = None
    vector: Vectors | None = None
    scores: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """The results of a query, the best first; ``partial`` if a shard of the index was away."""

    hits: list[Hit]
    partial: bool


@dataclass(frozen=True, slots=True, eq=False)
class Upserted:
    """The number of stored points, and the last sequence number of the collection."""

    count: int
    sequence: int
