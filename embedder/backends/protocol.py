"""The protocol that every backend implements."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from embedder.core.outputs import OutputKind
from embedder.core.types import Rows, TokenBatch, Vectors


class Backend(Protocol):
    """A loaded model: maps packed tokens to pooled vectors of full width, not normalized.

    A cross-encoder maps them to raw scores, of which ``width`` is the number.

    ``outputs``: the kinds of results that it computes; ``width`` is that of the first. The entries
    of token rows have ``token_width`` components (0 without such rows).
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
    outputs: tuple[OutputKind, ...]
    token_width: int
    padded: bool
    max_batch_tokens: int
    memory_bytes: int
    max_concurrency: int
    notes: tuple[str, ...]

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return the first of ``outputs``, float32[n, width]: one row per input, in order.

        Raises:
            OutOfMemory: the batch does not fit into memory; a smaller one may.
            BackendFailure: the computation failed for another reason.
        """

    def compute(
        self, tokens: TokenBatch, kinds: Collection[OutputKind]
    ) -> Mapping[OutputKind, Rows]:
        """Return the results of each of ``kinds``, which are among ``outputs``, from one pass.

        Of tokens with spans, the dense result is `RaggedRows` with a vector for each span.

        Raises:
            OutOfMemory, BackendFailure: as `encode`.
        """
