"""The encoders of BERT's family on packed rows: no token of padding enters a matrix product.

The layers are those of "BERT" (Devlin et al., arXiv 1810.04805): post-norm, GELU, learned absolute
positions; with MPNet's biases by distance where there are any. Knows nothing of pooling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from embedder.backends.attention import Group, distance_buckets, group_by_length
from embedder.backends.checkpoint import Checkpoint, Linear, Norm, held_bytes
from embedder.backends.shapes import EncoderShape
from embedder.models.files import ModelFiles
from embedder.types import TokenBatch


@dataclass(frozen=True, slots=True)
class _Block:
    """A group of inputs as tensors; ``mask`` and ``valid`` are None where nothing is padded.

    ``mask`` is what attention adds to its scores, or bool: what it may look at.
    """

    rows: torch.Tensor
    count: int
    longest: int
    mask: torch.Tensor | None
    valid: torch.Tensor | None

    @classmethod
    def of(cls, group: Group, bias: _Bias | None, device: torch.device) -> _Block:
        count, longest = group.rows.shape
        rows = torch.from_numpy(group.rows.reshape(-1)).to(device)
        valid = None if group.full else torch.from_numpy(group.valid).to(device)
        mask = None if valid is None else valid[:, None, None, :]
        if bias is not None:
            mask = bias.masked(longest, mask)
        return cls(rows, count, longest, mask, None if valid is None else valid.reshape(-1))


@dataclass(frozen=True, slots=True)
class _Bias:
    """What attention adds for the distance between two tokens, the same in every layer.

    ``by_distance`` is [heads, 2 × most - 1]: for distances from ``1 - most`` to ``most - 1``.
    """

    by_distance: torch.Tensor

    @classmethod
    def of(cls, buckets: torch.Tensor, most: int) -> _Bias:
        distances = torch.arange(1 - most, most)
        return cls(buckets[distance_buckets(distances).to(buckets.device)].T.contiguous())

    def masked(self, longest: int, seen: torch.Tensor | None) -> torch.Tensor:
        """Return [1 or count, heads, longest, longest], minus infinity where nothing is seen."""
        most = (self.by_distance.shape[1] + 1) // 2
        places = torch.arange(longest, device=self.by_distance.device)
        bias = self.by_distance[:, places[None, :] - places[:, None] + most - 1][None]
        return bias if seen is None else bias.masked_fill(~seen, -torch.inf)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One encoder layer with the three input projections fused into one."""

    shape: EncoderShape
    qkv: Linear
    mixed: Linear
    mixed_norm: Norm
    up: Linear
    down: Linear
    norm: Norm

    @classmethod
    def of(cls, shape: EncoderShape, weights: Checkpoint) -> _Layer:
        names = shape.names
        return cls(
            shape,
            qkv=weights.linear(names.query, names.key, names.value),
            mixed=weights.linear(names.mixed),
            mixed_norm=weights.norm(names.mixed_norm, shape.norm_epsilon),
            up=weights.linear(names.up),
            down=weights.linear(names.down),
            norm=weights.norm(names.norm, shape.norm_epsilon),
        )

    def __call__(self, rows: torch.Tensor, blocks: list[_Block]) -> torch.Tensor:
        rows = self.mixed_norm(rows + self.mixed(self._attend(self.qkv(rows), blocks)))
        inner = functional.gelu(self.up(rows), approximate=self.shape.gelu)
        return self.norm(rows + self.down(inner))

    def _attend(self, qkv: torch.Tensor, blocks: list[_Block]) -> torch.Tensor:
        shape = self.shape
        out = qkv.new_empty(len(qkv), shape.width)
        for block in blocks:
            q, k, v = (
                qkv[block.rows]
                .view(block.count, block.longest, 3, shape.heads, shape.head_width)
                .permute(2, 0, 3, 1, 4)
            )
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=block.mask)
            flat = mixed.transpose(1, 2).reshape(-1, shape.width)
            if block.valid is None:
                out[block.rows] = flat
            else:
                out[block.rows[block.valid]] = flat[block.valid]
        return out


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
        self._bias = (
            _Bias.of(weights.tensor(names.distances), len(self._positions))
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
        groups = group_by_length(tokens.lengths)
        blocks = [_Block.of(group, self._bias, self.device) for group in groups]
        ids = torch.from_numpy(tokens.ids.astype(np.int64)).to(self.device)
        positions = torch.from_numpy(token_positions(tokens, self._padding_id)).to(self.device)
        rows = self._embedding_norm(self._words[ids] + self._positions[positions])
        for layer in self._layers:
            rows = layer(rows, blocks)
        return rows


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
