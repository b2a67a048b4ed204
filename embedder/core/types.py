"""The shapes that travel between stages: packed arrays and the small records around them.

Imports nothing of ours. Knows neither how texts become tokens nor how tokens become vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SimilarityName = Literal["cosine", "dot", "euclidean", "squared_euclidean", "manhattan"]
"""How vectors are compared, as sentence-transformers calls it; of the squared one it knows none."""

Vectors = NDArray[np.float32]
"""float32[n, d], one row a vector."""

TokenRow = NDArray[np.int32]
"""int32[k], the token ids of one input."""

Input = str | Sequence[int]
"""A text, or token ids of the model's own vocabulary, special tokens included."""


class PromptedText(str):
    """A text with a prompt in front of it, of which cutting the start leaves the prompt alone.

    ``prompt_length`` is the number of characters of the prompt.
    """

    prompt_length: int

    @classmethod
    def of(cls, prompt: str, text: str) -> PromptedText:
        """Join a prompt and a text."""
        joined = cls(prompt + text)
        joined.prompt_length = len(prompt)
        return joined


class Truncate(str, Enum):
    """Which end of an input above the model's limit is cut; ``NONE`` refuses it instead."""

    END = "end"
    START = "start"
    NONE = "none"


class InputType(str, Enum):
    """What a text is for: models that are trained on both put different prompts in front."""

    QUERY = "query"
    DOCUMENT = "document"


class Priority(IntEnum):
    """Whose work goes first where both wait: a person's, or a batch job's."""

    INTERACTIVE = 0
    BULK = 1


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token ids of several inputs, one after the other without padding.

    ``ids`` is int32[total] and ``lengths`` int32[n]; the lengths sum to ``total``.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | TokenRow]) -> TokenBatch:
        """Pack the given rows of token ids."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int32, count=len(rows))
        if not rows:
            return cls(np.empty(0, np.int32), lengths)
        return cls(np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]), lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self) -> list[TokenRow]:
        """Return one view into ``ids`` for each input."""
        return np.split(self.ids, np.cumsum(self.lengths)[:-1]) if len(self) else []

    def take(self, rows: NDArray[np.intp]) -> TokenBatch:
        """Return a batch of the given rows, in the given order."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return self
        views = self.rows()
        return TokenBatch.of([views[row] for row in rows])


@dataclass(frozen=True, slots=True)
class Tokenized:
    """What the tokenizer answers: the tokens after truncation, and which inputs were cut."""

    tokens: TokenBatch
    truncated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Entries:
    """What is known of n inputs: full-width vectors before normalisation, and their tokens.

    ``vectors`` is float32[n, d], ``token_counts`` int32[n], ``truncated`` bool[n]. This is what
    the cache holds: every dimension, normalisation and ``usage`` is derived from it.
    """

    vectors: Vectors
    token_counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]

    @classmethod
    def allocate(cls, count: int, width: int) -> Entries:
        """Return ``count`` uninitialised rows of ``width`` components."""
        return cls(
            np.empty((count, width), np.float32),
            np.empty(count, np.int32),
            np.empty(count, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.token_counts)

    def take(self, rows: NDArray[np.intp]) -> Entries:
        """Return copies of the given rows, in the given order."""
        return Entries(self.vectors[rows], self.token_counts[rows], self.truncated[rows])

    def view(self, rows: slice) -> Entries:
        """Return views of some rows that stand together."""
        return Entries(self.vectors[rows], self.token_counts[rows], self.truncated[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Entries]) -> Entries:
        """Return the rows of all parts, of which there is one at least, one after the other."""
        return cls(
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.token_counts for part in parts]),
            np.concatenate([part.truncated for part in parts]),
        )

    def put(self, rows: NDArray[np.intp], source: Entries) -> None:
        """Overwrite the given rows with all rows of ``source``."""
        self.vectors[rows] = source.vectors
        self.token_counts[rows] = source.token_counts
        self.truncated[rows] = source.truncated


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encoder answers: float32[n, d], and where the time went, in seconds.

    ``queue_s`` is the longest wait of any row before its batch began, ``inference_s`` the longest
    computation of any batch that held one.
    """

    vectors: Vectors
    queue_s: float
    inference_s: float


@dataclass(frozen=True, slots=True)
class Timings:
    """How many seconds the parts of an answer took; what a cache had took none."""

    tokenization_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0

    def longest(self, other: Timings) -> Timings:
        """Return the longer time of each part."""
        return Timings(
            max(self.tokenization_s, other.tokenization_s),
            max(self.queue_s, other.queue_s),
            max(self.inference_s, other.inference_s),
        )


@dataclass(slots=True)
class EntryResults:
    """Entries, and for each of them whether a cache had it: ``cached`` is bool[n].

    ``timings`` are the longest of whatever was computed for any of them.
    """

    entries: Entries
    cached: NDArray[np.bool_]
    timings: Timings = Timings()

    @classmethod
    def of_hits(cls, hits: CacheHits, count: int, width: int) -> EntryResults:
        """Return ``count`` rows of which only the hits are filled, and marked as cached."""
        answers = cls(Entries.allocate(count, width), np.zeros(count, np.bool_))
        answers.entries.put(hits.rows, hits.entries)
        answers.cached[hits.rows] = True
        return answers

    def missing(self) -> list[int]:
        """Return the rows that no cache had."""
        rows: list[int] = np.flatnonzero(~self.cached).tolist()
        return rows

    def put(
        self, rows: NDArray[np.intp], source: EntryResults, source_rows: NDArray[np.intp]
    ) -> None:
        """Overwrite the given rows with some rows of ``source``, for which it took its time."""
        self.entries.put(rows, source.entries.take(source_rows))
        self.cached[rows] = source.cached[source_rows]
        self.timings = self.timings.longest(source.timings)


@dataclass(frozen=True, slots=True)
class CacheHits:
    """Which of the keys asked for were there: row numbers, and their entries in that order.

    ``ttls_s`` float64[n] is how many seconds each may still be remembered; None: all forever.
    """

    rows: NDArray[np.intp]
    entries: Entries
    ttls_s: NDArray[np.float64] | None = None

    def ttls_of(self, count: int) -> NDArray[np.float64] | None:
        """Return a life for each of the ``count`` keys asked for, no end where one is missing."""
        if self.ttls_s is None:
            return None
        ttls_s = np.full(count, np.inf)
        ttls_s[self.rows] = self.ttls_s
        return ttls_s

    @classmethod
    def empty(cls, width: int) -> CacheHits:
        """Return that none of the keys was there."""
        return cls(np.empty(0, np.intp), Entries.allocate(0, width))

    @classmethod
    def merged(cls, parts: Sequence[tuple[NDArray[np.intp], CacheHits]], width: int) -> CacheHits:
        """Join the hits of several lookups, each for the given rows of one list of keys."""
        if len(parts) == 1:
            rows, hits = parts[0]
            return cls(rows[hits.rows], hits.entries, hits.ttls_s)
        if not parts:
            return cls.empty(width)
        rows = np.concatenate([rows[hits.rows] for rows, hits in parts])
        order = np.argsort(rows)
        entries = Entries.concatenate([hits.entries for _, hits in parts]).take(order)
        if all(hits.ttls_s is None for _, hits in parts):
            return cls(rows[order], entries)
        lives = [
            np.full(len(hits.rows), np.inf) if hits.ttls_s is None else hits.ttls_s
            for _, hits in parts
        ]
        return cls(rows[order], entries, np.concatenate(lives)[order])


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the other stages need to know of a loaded model.

    The digests are SHA-256: of the weights, of the configuration beside them, and of the
    tokenizer's file.
    ``dtype`` is what the matrices are computed in; ``max_batch_tokens`` is what the encoder
    computes at once; ``memory_bytes`` is what the loaded weights take. ``matryoshka`` holds the
    widths that the model was trained to be cut to. ``truncation`` is the end of a long text that
    is cut where a caller names none. ``notes`` say in sentences what was decided for the operator
    while loading.
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
