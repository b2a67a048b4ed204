"""Pools spans of inputs that the model reads whole, for late chunking."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.error_translation import translate_errors
from embedder.backends.heads.dense import DenseHead
from embedder.backends.heads.loading import Heads
from embedder.backends.torch.launcher import to_device
from embedder.core.outputs import OutputKind
from embedder.core.types import TokenBatch, Vectors


class SpanPooling:
    """The method `encode_spans` of a backend with a forward pass and a head for dense vectors."""

    _forward: Any
    _heads: Heads

    @torch.inference_mode()
    def encode_spans(self, tokens: TokenBatch, spans: NDArray[np.int64]) -> Vectors:
        """Return float32[k, width], the head's result for the hidden states of each span alone."""
        head = self._heads[OutputKind.DENSE]
        assert isinstance(head, DenseHead)
        lengths = spans[:, 1] - spans[:, 0]
        # The tokens of all spans, end to end.
        rows = np.repeat(spans[:, 1] - np.cumsum(lengths), lengths) + np.arange(lengths.sum())
        with translate_errors():
            hidden = self._forward(tokens)[to_device(rows, self._forward.device)]
            pooled = head(hidden, to_device(lengths, hidden.device))
            vectors: Vectors = pooled.to("cpu", torch.float32).numpy()
        return vectors
