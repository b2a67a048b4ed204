"""What every backend is to the rest of the library, and where it is chosen.

Knows the names of the backends, not how they compute: a backend's library is imported only when
that backend is loaded.
"""

from __future__ import annotations

from typing import Protocol

from embedder.config import BackendSettings
from embedder.models.files import ModelFiles
from embedder.types import TokenBatch, Vectors


class Backend(Protocol):
    """A loaded model: packed tokens in, pooled full-width vectors out, before normalisation.

    ``padded`` tells packing how a batch is paid for; ``max_batch_tokens`` is the budget that
    suits the device when the operator names none.
    """

    name: str
    device: str
    dtype: str
    width: int
    padded: bool
    max_batch_tokens: int

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width], one row an input, in order.

        Raises:
            OutOfMemory: the batch does not fit; a smaller one may.
        """


def load_backend(files: ModelFiles, settings: BackendSettings) -> Backend:
    """Load a model's weights into the backend that the settings ask for."""
    from embedder.backends.torch import TorchBackend

    return TorchBackend.load(files, settings)
