"""The protocol that every backend implements."""

from __future__ import annotations

from typing import Protocol

from embedder.core.types import TokenBatch, Vectors


class Backend(Protocol):
    """A loaded model: maps packed tokens to pooled vectors of full width, not normalized.

    A cross-encoder maps them to raw scores, of which ``width`` is the number.

    ``padded``: a batch costs longest input × count instead of the sum of the lengths.
    ``max_batch_tokens``: the batch budget for this device where none was measured.
    ``memory_bytes``: the size of the weights. ``max_concurrency``: how many threads should call
    `encode` at once. Above 1, a device that computes asynchronously receives the next batch
    while it computes one. ``notes``: sentences for the operator about what was chosen at load.
    """

    name: str
    device: str
    dtype: str
    width: int
    padded: bool
    max_batch_tokens: int
    memory_bytes: int
    max_concurrency: int
    notes: tuple[str, ...]

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width], one row per input, in order.

        Raises:
            OutOfMemory: the batch does not fit into memory; a smaller one may.
            BackendFailure: the computation failed for another reason.
        """
