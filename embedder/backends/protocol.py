"""What every backend is to the rest of the library.

Knows neither how one computes nor which there are: `loading` chooses.
"""

from __future__ import annotations

from typing import Protocol

from embedder.core.types import TokenBatch, Vectors


class Backend(Protocol):
    """A loaded model: packed tokens in, pooled full-width vectors out, before normalisation.

    ``padded`` tells packing how a batch is paid for; ``max_batch_tokens`` is the budget that
    suits the device when nothing has been measured. ``memory_bytes`` is what the weights take.
    ``in_flight`` is how many threads may call `encode` at once, and should: a device that computes
    by itself is told of the next batch while it computes one. ``notes`` say in sentences what was
    decided for the operator.
    """

    name: str
    device: str
    dtype: str
    width: int
    padded: bool
    max_batch_tokens: int
    memory_bytes: int
    in_flight: int
    notes: tuple[str, ...]

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width], one row an input, in order.

        Raises:
            OutOfMemory: the batch does not fit; a smaller one may.
            BackendFailure: the computation failed in another way.
        """
