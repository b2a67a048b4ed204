"""The forward pass of BERT-like encoders on packed rows, so no matrix product computes padding.

The layers are those of "BERT" (Devlin et al., arXiv 1810.04805): post-norm, GELU, learned absolute
positions; for MPNet also a relative position bias.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.checkpoint import Checkpoint, Linear, Norm, custom_code_error, tensor_bytes
from embedder.backends.grouping import attended_rows, group_by_length
from embedder.backends.torch.architectures import EncoderShape, expected_rows
from embedder.backends.torch.attention import (
    Attention,
    BlockAttention,
    SdpaBlock,
    VarlenAttention,
)
from embedder.backends.torch.embeddings import Embeddings
from embedder.backends.torch.kernels import (
    PLAIN,
    FusedGeluLinear,
    Kernels,
    fast_kernels,
    supports_onednn,
)
from embedder.backends.torch.launcher import to_device
from embedder.backends.torch.onednn_layers import OneDnnLayers
from embedder.backends.torch.relative_positions import RelativePositionBias
from embedder.backends.torch.shared_weights import open_weights
from embedder.core.types import TokenBatch
from embedder.models.tokenizer.token_types import TokenTypes

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles


@dataclass(frozen=True, slots=True)
class _Layer:
    """One encoder layer; the projections to query, key and value are one linear map."""

    gelu: str
    qkv: Linear
    attention_output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm

    @classmethod
    def of(cls, shape: EncoderShape, weights: Checkpoint, kernels: Kernels) -> _Layer:
        names = shape.names
        up = weights.linear(names.up)
        return cls(
            shape.gelu,
            qkv=weights.linear(names.query, names.key, names.value),
            attention_output=weights.linear(names.attention_output),
            attention_norm=weights.norm(names.attention_norm, shape.norm_epsilon),
            up=FusedGeluLinear(up.weight, up.bias) if kernels.fused_gelu else up,
            down=weights.linear(names.down),
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
        self._embeddings = Embeddings(shape, weights, types)
        self._bias = (
            RelativePositionBias.of(
                weights.tensor(names.relative_bias), self._embeddings.max_positions
            )
            if names.relative_bias is not None
            else None
        )
        layers = [weights.child(f"{names.layer}.{number}") for number in range(shape.layers)]
        self._onednn: OneDnnLayers | None = None
        self._layers: list[_Layer] = []
        if kernels == PLAIN and supports_onednn(weights.dtype, weights.device):
            self._onednn = OneDnnLayers(shape, layers, self._bias)
        else:
            self._layers = [_Layer.of(shape, layer, kernels) for layer in layers]
        self.memory_bytes = self._embeddings.memory_bytes + tensor_bytes(self._bias, self._layers)
        self.memory_bytes += self._onednn.memory_bytes if self._onednn else 0

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
            return self._through_layers(self._embeddings(tokens), varlen)
        order = ascending_rows(tokens.lengths)
        lengths = np.sort(tokens.lengths)
        groups = group_by_length(lengths, None if attended is None else attended[order])
        if self._onednn is not None:
            rows = self._embeddings(tokens, order, row_count(len(order)) - len(order))
            rows = self._onednn(rows, groups)
        else:
            rows = self._embeddings(tokens, order, 0)
            blocks = [SdpaBlock.of(group, self._shape, self._bias, self.device) for group in groups]
            rows = self._through_layers(rows, BlockAttention(blocks, torch.zeros_like(rows)))
        return rows.index_select(0, to_device(np.argsort(order), self.device))

    def _through_layers(self, rows: torch.Tensor, attention: Attention) -> torch.Tensor:
        for layer in self._layers:
            rows = layer(rows, attention)
        return rows


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
