"""Protocols of the stages that the pipeline calls, in the same process or over Ray handles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from embedder.core.deadline import Deadline
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.core.types import Encoded, Input, Priority, TokenBatch, Tokenized, Truncate


class Tokenizing(Protocol):
    """Turns inputs into tokens."""

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        """Return the tokens of every input; ``truncate`` is the end that is cut at the limit."""


class Encoding(Protocol):
    """Turns tokens into vectors."""

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        """Return the rows of the kinds that the tokens ask for, in order, and timings.

        Dense vectors are float32[n, width], pooled and not normalized.
        """


class Caching(Protocol):
    """Stores entries. The pipeline counts any error as a miss."""

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the stored entries among ``keys``, each of ``width`` components."""

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Store the entries."""
