"""The forward pass of BERT-like encoders on packed rows, so no matrix product computes padding.

The layers are those of "BERT" (Devlin et al., arXiv 1810.04805): post-norm, GELU, learned absolute
positions; for MPNet also a relative position bias.
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
from embedder.backends.grouping import Group, attended_rows, group_by_length
from embedder.backends.torch.architectures import EncoderShape, expected_rows
from embedder.backends.torch.attention import (
    Attention,
    Block,
    BlockAttention,
    MatmulBlock,
    SdpaBlock,
    VarlenAttention,
)
from embedder.backends.torch.kernels import (
    PLAIN,
    FusedGeluLinear,
    Kernels,
    OneDnnLinear,
    fast_kernels,
    supports_onednn,
)
from embedder.backends.torch.launcher import to_device
from embedder.backends.torch.relative_positions import RelativePositionBias
from embedder.backends.torch.shared_weights import open_weights
from embedder.core.types import TokenBatch
from embedder.models.tokenizer.token_types import TokenTypes

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles

AnyLinear = Linear | OneDnnLinear


@dataclass(frozen=True, slots=True)
class _Layer:
    """One encoder layer; the projections to query, key and value are one linear map."""

    gelu: str
    qkv: AnyLinear
    attention_output: AnyLinear
    attention_norm: Norm
    up: AnyLinear
    down: AnyLinear
    output_norm: Norm

    @classmethod
    def of(cls, shape: EncoderShape, weights: Checkpoint, kernels: Kernels) -> _Layer:
        names = shape.names
        onednn = supports_onednn(weights.dtype, weights.device)

        def linear(*parts: str, fused_gelu: bool = False) -> AnyLinear:
            plain = weights.linear(*parts)
            if fused_gelu:
                return FusedGeluLinear(plain.weight, plain.bias)
            return OneDnnLinear.of(plain) if onednn else plain

        return cls(
            shape.gelu,
            qkv=linear(names.query, names.key, names.value),
            attention_output=linear(names.attention_output),
            attention_norm=weights.norm(names.attention_norm, shape.norm_epsilon),
            up=linear(names.up, fused_gelu=kernels.fused_gelu),
            down=linear(names.down),
            output_norm=weights.norm(names.output_norm, shape.norm_epsilon),
        )

    def __call__(self, rows: torch.Tensor, attention: Attention) -> torch.Tensor:
        """Return the rows after this layer."""
        attended = attention(self.qkv(rows))
        rows = self.attention_norm(self.attention_output.add(attended, rows))
        return self.output_norm(self.down.add(self.up.gelu(rows, self.gelu), rows))

    def plain(self) -> _Layer:
        """Return the layer with the same weights and the kernels that every device has."""
        if not isinstance(self.up, FusedGeluLinear):
            return self
        return replace(self, up=Linear(self.up.weight, self.up.bias))


class PackedForward:
    """A BERT-like encoder in one number format on one device."""

    def __init__(
        self,
        shape: EncoderShape,
        weights: Checkpoint,
        kernels: Kernels = PLAIN,
        types: TokenTypes | None = None,
    ) -> None:
        """``types=None`` gives every token the type 0."""
        names = shape.names
        self.device = weights.device
        self.kernels = kernels
        self.width = shape.width
        self._shape = shape
        self._words = weights.tensor("embeddings.word_embeddings.weight")
        self._positions = weights.tensor("embeddings.position_embeddings.weight")
        self._types: TokenTypes | None = None
        self._segments: torch.Tensor | None = None
        if names.segments is not None:
            self._add_segments(weights.tensor(names.segments), types or TokenTypes())
        self._uses_onednn = supports_onednn(weights.dtype, weights.device)
        self._bias = (
            RelativePositionBias.of(weights.tensor(names.relative_bias), len(self._positions))
            if names.relative_bias is not None
            else None
        )
        self._embedding_norm = weights.norm("embeddings.LayerNorm", shape.norm_epsilon)
        self._layers = [
            _Layer.of(shape, weights.child(f"{names.layer}.{number}"), kernels)
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

    def _add_segments(self, segments: torch.Tensor, types: TokenTypes) -> None:
        # The type of text tokens is added to the positions once instead of in every batch.
        self._positions = self._positions + segments[types.text]
        if types.all != {types.text}:
            self._types, self._segments = types, segments - segments[types.text]

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        *,
        dtype: torch.dtype,
        device: torch.device,
        shared_in: Path | None = None,
    ) -> PackedForward:
        """Load a model for which `packed_unsupported_reason` is None, with the fastest kernels.

        The caller must check that the kernels are accurate. On a CPU, processes with the same
        ``shared_in`` share the memory of the weights.

        Raises:
            UnsupportedModel: a number or a tensor is missing or has another size, or the model has
                weights that only its own code uses.
        """
        shape = EncoderShape.read(files.config)
        weights = open_weights(files, dtype=dtype, device=device, shared_in=shared_in)
        for name, key, rows in expected_rows(files.config):
            weights.check_rows(name, key, rows)
        forward = cls(shape, weights, fast_kernels(shape, dtype, device), files.token_types)
        if files.has_custom_code and (unused := weights.unused_tensors()):
            raise custom_code_error(files.layout.transformer, unused)
        return forward

    def use_plain_kernels(self) -> None:
        """Switch to the kernels that every device has, with the same weights."""
        self.kernels = PLAIN
        self._layers = [layer.plain() for layer in self._layers]

    def __call__(self, tokens: TokenBatch) -> torch.Tensor:
        """Return the last hidden states, one row per token: ``dtype[total, width]``."""
        kernel, attended = self.kernels.attention, attended_rows(tokens)
        if kernel is not None and len(tokens) and attended is None:
            varlen = VarlenAttention.of(kernel, self._shape.heads, tokens.lengths, self.device)
            return self._through_layers(self._embed(*self._columns(tokens)), varlen)
        order = ascending_rows(tokens.lengths)
        lengths = np.sort(tokens.lengths)
        groups = group_by_length(lengths, None if attended is None else attended[order])
        blocks = [block for group in groups for block in self._blocks(group)]
        padding = (0, row_count(len(order)) - len(order) if self._uses_onednn else 0)
        rows = self._embed(*(np.pad(column[order], padding) for column in self._columns(tokens)))
        rows = self._through_layers(rows, BlockAttention(blocks, torch.zeros_like(rows)))
        return rows.index_select(0, to_device(np.argsort(order), self.device))

    def _through_layers(self, rows: torch.Tensor, attention: Attention) -> torch.Tensor:
        for layer in self._layers:
            rows = layer(rows, attention)
        return rows

    def _columns(self, tokens: TokenBatch) -> list[NDArray[np.int64]]:
        """Return int64[total] of ids, of positions and, if they differ, of token types."""
        columns = [tokens.ids.astype(np.int64), token_positions(tokens, self._shape.padding_id)]
        return columns if self._types is None else [*columns, self._types.of_batch(tokens)]

    def _embed(self, *columns: NDArray[np.int64]) -> torch.Tensor:
        words, positions, *types = (to_device(column, self.device) for column in columns)
        rows = self._words.index_select(0, words).add_(self._positions.index_select(0, positions))
        if self._segments is not None:
            rows.add_(self._segments.index_select(0, types[0]))
        return self._embedding_norm(rows)

    def _blocks(self, group: Group) -> Sequence[Block]:
        if self._uses_onednn:
            return MatmulBlock.all_of(group, self._shape, self._bias, self._words.dtype)
        return [SdpaBlock.of(group, self._shape, self._bias, self.device)]


def ascending_rows(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return int64[total]: the packed row numbers with the inputs in ascending length."""
    by_length = np.argsort(lengths, kind="stable")
    sizes = lengths[by_length].astype(np.int64)
    starts = (np.cumsum(lengths, dtype=np.int64) - lengths)[by_length]
    return np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())


def row_count(total: int) -> int:
    """Return the number of rows rounded up, so that oneDNN compiles kernels for few shapes."""
    step = 8 if total < 256 else 16
    return -(-total // step) * step


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
