"""The encoders of BERT's family on packed rows: no token of padding enters a matrix product.

The layers are those of "BERT" (Devlin et al., arXiv 1810.04805): post-norm, GELU, learned absolute
positions; with MPNet's biases by distance where there are any. Knows nothing of pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.attention import Group, group_by_length
from embedder.backends.blocks import DistanceBias, FusedBlock, ProductBlock
from embedder.backends.checkpoint import Checkpoint, Linear, Norm, held_bytes
from embedder.backends.fused import FusedLinear, fuses
from embedder.backends.shapes import EncoderShape
from embedder.models.files import ModelFiles
from embedder.types import TokenBatch

AnyLinear = Linear | FusedLinear
Block = FusedBlock | ProductBlock


@dataclass(frozen=True, slots=True)
class _Layer:
    """One encoder layer with the three input projections fused into one."""

    gelu: str
    qkv: AnyLinear
    mixed: AnyLinear
    mixed_norm: Norm
    up: AnyLinear
    down: AnyLinear
    norm: Norm

    @classmethod
    def of(cls, shape: EncoderShape, weights: Checkpoint) -> _Layer:
        names = shape.names
        linear = _fused if fuses(weights.dtype, weights.device) else Checkpoint.linear
        return cls(
            shape.gelu,
            qkv=linear(weights, names.query, names.key, names.value),
            mixed=linear(weights, names.mixed),
            mixed_norm=weights.norm(names.mixed_norm, shape.norm_epsilon),
            up=linear(weights, names.up),
            down=linear(weights, names.down),
            norm=weights.norm(names.norm, shape.norm_epsilon),
        )

    def __call__(
        self, rows: torch.Tensor, blocks: Sequence[Block], mixed: torch.Tensor
    ) -> torch.Tensor:
        """Return the next rows; ``mixed`` is room for as many."""
        qkv = self.qkv(rows)
        for block in blocks:
            block(qkv, mixed)
        rows = self.mixed_norm(self.mixed.plus(mixed, rows))
        return self.norm(self.down.plus(self.up.gelu(rows, self.gelu), rows))


def _fused(weights: Checkpoint, *names: str) -> FusedLinear:
    return FusedLinear.of(weights.linear(*names))


class PackedForward:
    """An encoder of BERT's family in one number format on one device."""

    def __init__(self, shape: EncoderShape, weights: Checkpoint) -> None:
        names = shape.names
        self.device = weights.device
        self.width = shape.width
        self._padding_id = shape.padding_id
        self._words = weights.tensor("embeddings.word_embeddings.weight")
        self._positions = weights.tensor("embeddings.position_embeddings.weight")
        if names.segments is not None:
            # Every token is of segment 0, so its vector is a constant of each position.
            self._positions += weights.tensor(names.segments)[0]
        self._shape = shape
        self._fuses = fuses(weights.dtype, weights.device)
        self._bias = (
            DistanceBias.of(weights.tensor(names.distances), len(self._positions))
            if names.distances is not None
            else None
        )
        self._embedding_norm = weights.norm("embeddings.LayerNorm", shape.norm_epsilon)
        self._layers = [
            _Layer.of(shape, weights.under(f"{names.layer}.{number}"))
            for number in range(shape.layers)
        ]
        self.memory_bytes = held_bytes(
            self._words, self._positions, self._bias, self._embedding_norm, self._layers
        )

    @classmethod
    def load(cls, files: ModelFiles, *, dtype: torch.dtype, device: torch.device) -> PackedForward:
        """Load the weights of a model about which `why_not_packed` has nothing to say.

        Raises:
            UnsupportedModel: a number or a tensor is missing.
        """
        shape = EncoderShape.read(files.config)
        return cls(shape, Checkpoint.open(files.weights, dtype=dtype, device=device))

    def __call__(self, tokens: TokenBatch) -> torch.Tensor:
        """Return the last hidden state, one row a token: ``dtype[total, width]``."""
        order = ascending_rows(tokens.lengths)
        lengths = np.sort(tokens.lengths)
        blocks = [block for group in group_by_length(lengths) for block in self._blocks(group)]
        rows = self._embedded(tokens, order)
        mixed = torch.zeros_like(rows)
        for layer in self._layers:
            rows = layer(rows, blocks, mixed)
        back = torch.from_numpy(np.argsort(order))
        return rows.index_select(0, back.to(self.device))

    def _embedded(self, tokens: TokenBatch, order: NDArray[np.int64]) -> torch.Tensor:
        """Return the tokens' embeddings in the given order, and rows of no token after them."""
        padding = (0, row_count(len(order)) - len(order) if self._fuses else 0)
        positions = token_positions(tokens, self._padding_id)[order]
        ids = tokens.ids.astype(np.int64)[order]
        words, places = (
            torch.from_numpy(np.pad(column, padding)).to(self.device) for column in (ids, positions)
        )
        rows = self._words.index_select(0, words).add_(self._positions.index_select(0, places))
        return self._embedding_norm(rows)

    def _blocks(self, group: Group) -> Sequence[Block]:
        if self._fuses:
            return ProductBlock.all_of(group, self._shape, self._bias, self._words.dtype)
        return [FusedBlock.of(group, self._shape, self._bias, self.device)]


def ascending_rows(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return int64[total]: the packed rows of the inputs from the shortest to the longest."""
    by_length = np.argsort(lengths, kind="stable")
    sizes = lengths[by_length].astype(np.int64)
    starts = (np.cumsum(lengths, dtype=np.int64) - lengths)[by_length]
    return np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())


def row_count(total: int) -> int:
    """Return how many rows to compute: few numbers of rows, so that few kernels are compiled."""
    step = 8 if total < 256 else 16
    return -(-total // step) * step


def token_positions(tokens: TokenBatch, padding_id: int) -> NDArray[np.int64]:
    """Return int64[total], the row of every token in the table of positions.

    A padding id in a text stands at its own number and is not counted, as in RoBERTa.
    """
    counted = tokens.ids != padding_id
    running = np.concatenate([[0], np.cumsum(counted, dtype=np.int64)])
    starts = np.cumsum(tokens.lengths, dtype=np.int64) - tokens.lengths
    places = running[1:] - np.repeat(running[starts], tokens.lengths)
    positions: NDArray[np.int64] = places * counted + padding_id
    return positions
