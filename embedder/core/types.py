"""The data that stages exchange: packed arrays, and small records with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from embedder.core.outputs import ActivationName, OutputKind, RaggedRows
from embedder.core.pairs import KNOWN_TYPE, ChunkTokens, Pair, PairRow
from embedder.core.tracing import SpanContext

SimilarityName = Literal["cosine", "dot", "euclidean", "squared_euclidean", "manhattan"]
"""Metrics by the names of sentence-transformers, and the squared distance that it lacks."""

Vectors = NDArray[np.float32]
"""float32[n, d], one vector per row."""

Rows = Vectors | RaggedRows
"""The results of n inputs: dense vectors or scores; or, of different lengths, the other kinds."""

TokenRow = NDArray[np.int32]
"""int32[k], the token ids of one input."""


Input = str | Sequence[int] | Pair | ChunkTokens
"""A text, token ids of the model's vocabulary with special tokens, a pair of texts, or the tokens
of chunks."""


class Truncate(str, Enum):
    """Which end of an input above the model's limit is cut; ``NONE`` refuses the input."""

    END = "end"
    START = "start"
    NONE = "none"


class InputType(str, Enum):
    """The use of a text, by the name of its prompt: some models have a different one for each."""

    QUERY = "query"
    DOCUMENT = "document"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"


class Priority(IntEnum):
    """Interactive work goes before bulk work when both wait."""

    INTERACTIVE = 0
    BULK = 1


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token ids of n inputs without padding: int32[total], with ``lengths`` int32[n].

    ``types`` int8[total] has the token types of pairs and of texts for a multi-vector model, and
    `KNOWN_TYPE` for every token of other inputs. None: no input has types. ``kinds`` are the
    results that are asked of the inputs, in the order of `OutputKind`; (): the first output.
    ``spans`` are those of `ChunkTokens`, one item for each input; None: the inputs have none.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    types: NDArray[np.int8] | None = None
    kinds: tuple[OutputKind, ...] = ()
    spans: list[NDArray[np.int32]] | None = None

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[int] | TokenRow | PairRow | ChunkTokens],
        kinds: tuple[OutputKind, ...] = (),
    ) -> TokenBatch:
        """Pack rows of token ids, of pairs, or of chunks."""
        lengths = np.fromiter(map(len, rows), dtype=np.int32, count=len(rows))
        if not rows:
            return cls(np.empty(0, np.int32), lengths, None, kinds)
        types = None
        if isinstance(rows[0], ChunkTokens):
            chunked = cast("Sequence[ChunkTokens]", rows)
            ids = np.concatenate([row.ids for row in chunked])
            return cls(ids, lengths, None, kinds, [row.spans for row in chunked])
        if PairRow in map(type, rows):
            parts = [
                row.types if isinstance(row, PairRow) else np.full(len(row), KNOWN_TYPE, np.int8)
                for row in rows
            ]
            types = np.concatenate(parts)
            rows = [row.ids if isinstance(row, PairRow) else row for row in rows]
        ids = np.concatenate([np.asarray(row, dtype=np.int32) for row in rows])
        return cls(ids, lengths, types, kinds)

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self) -> list[TokenRow]:
        """Return a view into ``ids`` for each input."""
        return np.split(self.ids, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []

    def items(self) -> Sequence[TokenRow | PairRow | ChunkTokens]:
        """Return each input alone, such that `of` packs it again: views into the batch."""
        if not len(self.lengths):
            return []
        cuts = np.cumsum(self.lengths)[:-1]
        ids = np.split(self.ids, cuts)
        if self.spans is not None:
            return list(map(ChunkTokens, ids, self.spans))
        return ids if self.types is None else list(map(PairRow, ids, np.split(self.types, cuts)))

    def span_bounds(self) -> NDArray[np.int64]:
        """Return int64[m, 2], the spans of all inputs as numbers of tokens of the batch."""
        starts = np.cumsum(self.lengths, dtype=np.int64) - self.lengths
        own = zip(self.spans or (), starts, strict=True)
        return np.concatenate([spans + start for spans, start in own])

    def take(self, rows: NDArray[np.intp]) -> TokenBatch:
        """Return a batch of the given rows, in the given order."""
        count = len(self.lengths)
        if len(rows) == count and np.array_equal(rows, np.arange(count)):
            return self
        items = self.items()
        return TokenBatch.of([items[row] for row in rows], self.kinds)


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The tokens of n inputs after truncation, and bool[n]: which inputs were truncated."""

    tokens: TokenBatch
    truncated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """The load of one replica when it answered.

    ``queued_tokens`` wait or run in it, from all callers. ``tokens_per_s`` is 0.0 while unknown.
    """

    replica: str
    queued_tokens: int
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors float32[n, d], the longest wait of a row before its batch, and the longest batch.

    The rows of sparse weights and of token vectors come as bytes, object[n]. ``others`` are those
    of the further kinds that the tokens ask for, in their order.
    """

    vectors: NDArray[Any]
    queue_s: float
    inference_s: float
    load: ReplicaLoad | None = None
    """None if this process computed the vectors."""
    batches: tuple[SpanContext, ...] = ()
    """The spans of the batches, if a traced request is in them."""
    others: tuple[NDArray[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that each step of a result took; 0 for cached inputs."""

    tokenization_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0

    def longest(self, other: Timings) -> Timings:
        """Return the longer time of each step."""
        return Timings(
            max(self.tokenization_s, other.tokenization_s),
            max(self.queue_s, other.queue_s),
            max(self.inference_s, other.inference_s),
        )


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The description of a loaded model for the other stages.

    The digests are SHA-256 of the weights, of the configuration beside them, and of the tokenizer's
    file. ``dtype`` is the number format of the matrices, ``max_batch_tokens`` the token budget of a
    batch, and ``memory_bytes`` the size of the loaded weights. ``matryoshka`` holds the widths that
    the model was trained to be truncated to. ``truncation`` is the end of a long text that is cut
    by default. ``notes`` are sentences for the operator about decisions while loading.

    ``outputs`` are what it computes, the default one first, of which ``width`` is the width. Of
    scores, ``labels`` names each, and ``activation`` is the function that its files apply to them.
    Sparse weights are those of ids below ``vocabulary_size``; a token vector has ``token_width``
    components.
    """

    name: str
    repository: str
    revision: str
    digest: str
    config_digest: str
    tokenizer_digest: str
    width: int
    max_tokens: int
    vocabulary_size: int
    max_batch_tokens: int
    pooling: str
    dtype: str
    backend: str
    device: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: SimilarityName = "cosine"
    matryoshka: tuple[int, ...] = ()
    truncation: Truncate = Truncate.END
    memory_bytes: int = 0
    notes: tuple[str, ...] = ()
    outputs: tuple[OutputKind, ...] = (OutputKind.DENSE,)
    labels: tuple[str, ...] = ()
    activation: ActivationName = "identity"
    token_width: int = 0
