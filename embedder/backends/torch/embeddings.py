"""The first step of an encoder: the sum of word, position and type embeddings, normalized."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.checkpoint import Checkpoint, tensor_bytes
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.launcher import to_device
from embedder.core.types import TokenBatch
from embedder.models.tokenizer.token_types import TokenTypes


class Embeddings:
    """Maps packed tokens to the rows that enter the first layer."""

    def __init__(
        self, shape: EncoderShape, weights: Checkpoint, types: TokenTypes | None = None
    ) -> None:
        """``types=None`` gives every token the type 0."""
        names = shape.names
        self._device = weights.device
        self._padding_id = shape.padding_id
        self._words = weights.tensor("embeddings.word_embeddings.weight")
        self._positions = weights.tensor("embeddings.position_embeddings.weight")
        self.max_positions = len(self._positions)
        self._types: TokenTypes | None = None
        self._segments: torch.Tensor | None = None
        if names.segments is not None:
            self._add_segments(weights.tensor(names.segments), types or TokenTypes())
        self._norm = weights.norm("embeddings.LayerNorm", shape.norm_epsilon)
        self.memory_bytes = tensor_bytes(self._words, self._positions, self._segments, self._norm)

    @property
    def dtype(self) -> torch.dtype:
        """Return the number format of the rows."""
        return self._words.dtype

    def __call__(
        self, tokens: TokenBatch, order: NDArray[np.int64] | None = None, padding: int = 0
    ) -> torch.Tensor:
        """Return ``dtype[total + padding, width]``, in ``order`` if it is given.

        Rows of padding are those of the id 0 at the first position.
        """
        columns = self._columns(tokens)
        if order is not None:
            columns = [np.pad(column[order], (0, padding)) for column in columns]
        words, positions, *types = (to_device(column, self._device) for column in columns)
        rows = self._words.index_select(0, words).add_(self._positions.index_select(0, positions))
        if self._segments is not None:
            rows.add_(self._segments.index_select(0, types[0]))
        return self._norm(rows)

    def _add_segments(self, segments: torch.Tensor, types: TokenTypes) -> None:
        # The type of text tokens is added to the positions once instead of in every batch.
        self._positions = self._positions + segments[types.text]
        if types.all != {types.text}:
            self._types, self._segments = types, segments - segments[types.text]

    def _columns(self, tokens: TokenBatch) -> list[NDArray[np.int64]]:
        """Return int64[total] of ids, of positions and, if they differ, of token types."""
        columns = [tokens.ids.astype(np.int64), token_positions(tokens, self._padding_id)]
        return columns if self._types is None else [*columns, self._types.of_batch(tokens)]


def token_positions(tokens: TokenBatch, padding_id: int) -> NDArray[np.int64]:
    """Return int64[total], the position of every token, counted from ``padding_id + 1``.

    As in RoBERTa, a padding id within a text has the position ``padding_id`` and is not counted.
    """
    counted = tokens.ids != padding_id
    running = np.concatenate([[0], np.cumsum(counted, dtype=np.int64)])
    starts = np.cumsum(tokens.lengths, dtype=np.int64) - tokens.lengths
    counts = running[1:] - np.repeat(running[starts], tokens.lengths)
    positions: NDArray[np.int64] = counts * counted + padding_id
    return positions
