"""The encoders of BERT's family on packed rows: no token of padding enters a matrix product.

The layers are those of "BERT" (Devlin et al., arXiv 1810.04805): post-norm, GELU, learned absolute
positions; with MPNet's biases by distance where there are any. Knows nothing of pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.checkpoint import Checkpoint, Linear, Norm, custom_code_error, tensor_bytes
from embedder.backends.grouping import Group, group_by_length
from embedder.backends.torch.architectures import EncoderShape, expected_rows
from embedder.backends.torch.attention import Attention, Block, BlockAttention, VarlenAttention
from embedder.backends.torch.attention_blocks import MatmulBlock, RelativePositionBias, SdpaBlock
from embedder.backends.torch.copies import to_device
from embedder.backends.torch.kernels import PLAIN, FusedGeluLinear, Kernels, fast_kernels
from embedder.backends.torch.onednn import OneDnnLinear, supports_onednn
from embedder.backends.torch.shared_weights import open_weights
from embedder.core.types import TokenBatch
from embedder.models.tokenizer.token_types import TokenTypes

if TYPE_CHECKING:
    # The forward pass needs nothing that the files of a model need.
    from embedder.models.files import ModelFiles

AnyLinear = Linear | OneDnnLinear


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
    def of(cls, shape: EncoderShape, weights: Checkpoint, kernels: Kernels) -> _Layer:
        names = shape.names
        linear = _fused if supports_onednn(weights.dtype, weights.device) else Checkpoint.linear
        return cls(
            shape.gelu,
            qkv=linear(weights, names.query, names.key, names.value),
            mixed=linear(weights, names.mixed),
            mixed_norm=weights.norm(names.mixed_norm, shape.norm_epsilon),
            up=(_activating if kernels.activates else linear)(weights, names.up),
            down=linear(weights, names.down),
            norm=weights.norm(names.norm, shape.norm_epsilon),
        )

    def __call__(self, rows: torch.Tensor, mix: Attention) -> torch.Tensor:
        """Return the next rows."""
        rows = self.mixed_norm(self.mixed.plus(mix(self.qkv(rows)), rows))
        return self.norm(self.down.plus(self.up.gelu(rows, self.gelu), rows))

    def plain(self) -> _Layer:
        """Return the layer, with the same weights, by kernels that every device has."""
        if not isinstance(self.up, FusedGeluLinear):
            return self
        return replace(self, up=Linear(self.up.weight, self.up.bias))


def _activating(weights: Checkpoint, *names: str) -> FusedGeluLinear:
    linear = weights.linear(*names)
    return FusedGeluLinear(linear.weight, linear.bias)


def _fused(weights: Checkpoint, *names: str) -> OneDnnLinear:
    return OneDnnLinear.of(weights.linear(*names))


class PackedForward:
    """An encoder of BERT's family in one number format on one device."""

    def __init__(
        self,
        shape: EncoderShape,
        weights: Checkpoint,
        kernels: Kernels = PLAIN,
        types: TokenTypes | None = None,
    ) -> None:
        """``types`` of None gives every token the type 0."""
        names = shape.names
        self.device = weights.device
        self.kernels = kernels
        self.width = shape.width
        self._padding_id = shape.padding_id
        self._words = weights.tensor("embeddings.word_embeddings.weight")
        self._positions = weights.tensor("embeddings.position_embeddings.weight")
        self._types: TokenTypes | None = None
        self._segments: torch.Tensor | None = None
        if names.segments is not None:
            segments = weights.tensor(names.segments)
            types = types or TokenTypes()
            # The vector of a type that every text has is a constant of each position.
            self._positions = self._positions + segments[types.text]
            if types.all != {types.text}:
                self._types, self._segments = types, segments - segments[types.text]
        self._shape = shape
        self._fuses = supports_onednn(weights.dtype, weights.device)
        self._bias = (
            RelativePositionBias.of(weights.tensor(names.distances), len(self._positions))
            if names.distances is not None
            else None
        )
        self._embedding_norm = weights.norm("embeddings.LayerNorm", shape.norm_epsilon)
        self._layers = [
            _Layer.of(shape, weights.under(f"{names.layer}.{number}"), kernels)
            for number in range(shape.layers)
        ]
        self.memory_bytes = tensor_bytes(
            self._words,
            self._positions,
            self._segments,
            self._bias,
            self._embedding_norm,
            self._layers,
        )

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        *,
        dtype: torch.dtype,
        device: torch.device,
        shared_in: Path | None = None,
    ) -> PackedForward:
        """Load the weights of a model about which `packed_unsupported_reason` has nothing to say.

        It computes by the fastest kernels there are; whoever loads it sees whether they agree. On a
        CPU, processes that give the same folder share what memory they can.

        Raises:
            UnsupportedModel: a number or a tensor is missing or of another size, or the model asks
                for code of its own and has tensors that only that code knows.
        """
        shape = EncoderShape.read(files.config)
        weights = open_weights(files, dtype=dtype, device=device, shared_in=shared_in)
        for name, key, rows in expected_rows(files.config):
            weights.check_rows(name, key, rows)
        forward = cls(shape, weights, fast_kernels(shape, dtype, device), files.token_types)
        if files.has_custom_code and (unknown := weights.not_taken()):
            raise custom_code_error(files.layout.transformer, unknown)
        return forward

    def use_plain_kernels(self) -> None:
        """Compute by the kernels that every device has from now on, with the same weights."""
        self.kernels = PLAIN
        self._layers = [layer.plain() for layer in self._layers]

    def __call__(self, tokens: TokenBatch) -> torch.Tensor:
        """Return the last hidden state, one row a token: ``dtype[total, width]``."""
        attend = self.kernels.attend
        if attend is not None and len(tokens):
            mix = VarlenAttention.of(attend, self._shape.heads, tokens.lengths, self.device)
            return self._through_layers(self._embedded(*self._columns(tokens)), mix)
        order = ascending_rows(tokens.lengths)
        lengths = np.sort(tokens.lengths)
        blocks = [block for group in group_by_length(lengths) for block in self._blocks(group)]
        padding = (0, row_count(len(order)) - len(order) if self._fuses else 0)
        rows = self._embedded(*(np.pad(column[order], padding) for column in self._columns(tokens)))
        rows = self._through_layers(rows, BlockAttention(blocks, torch.zeros_like(rows)))
        return rows.index_select(0, to_device(np.argsort(order), self.device))

    def _through_layers(self, rows: torch.Tensor, mix: Attention) -> torch.Tensor:
        for layer in self._layers:
            rows = layer(rows, mix)
        return rows

    def _columns(self, tokens: TokenBatch) -> list[NDArray[np.int64]]:
        """Return the ids, the positions and, if they differ, the types: int64[total] each."""
        columns = [tokens.ids.astype(np.int64), token_positions(tokens, self._padding_id)]
        return columns if self._types is None else [*columns, self._types.of_batch(tokens)]

    def _embedded(self, *columns: NDArray[np.int64]) -> torch.Tensor:
        words, places, *types = (to_device(column, self.device) for column in columns)
        rows = self._words.index_select(0, words).add_(self._positions.index_select(0, places))
        if self._segments is not None:
            rows.add_(self._segments.index_select(0, types[0]))
        return self._embedding_norm(rows)

    def _blocks(self, group: Group) -> Sequence[Block]:
        if self._fuses:
            return MatmulBlock.all_of(group, self._shape, self._bias, self._words.dtype)
        return [SdpaBlock.of(group, self._shape, self._bias, self.device)]


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
