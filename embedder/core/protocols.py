"""What the pipeline asks of its stages, and nothing of where they live.

`local` answers these protocols in the same process; the graph answers them over its handles.
Deadlines are on ``time.monotonic``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from embedder.core.types import (
    CacheHits,
    Encoded,
    Entries,
    Input,
    Priority,
    TokenBatch,
    Tokenized,
    Truncate,
)


class Tokenizing(Protocol):
    """Turns inputs into tokens."""

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: float | None
    ) -> Tokenized:
        """Return the tokens of every input, cut to the model's limit as ``truncate`` says."""


class Encoding(Protocol):
    """Turns tokens into vectors."""

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: float | None
    ) -> Encoded:
        """Return float32[n, width], pooled, before normalisation, in order; and its timings."""


class Caching(Protocol):
    """Remembers entries. Any error of it is a miss to the pipeline."""

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries that are there, each of ``width`` components."""

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Remember the entries."""
