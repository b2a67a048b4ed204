"""The BERT encoder on packed rows: no token of padding enters a matrix product.

The layers are those of "BERT" (Devlin et al., arXiv 1810.04805): post-norm, GELU, learned absolute
positions. Tensors in, tensors out; knows nothing of files, pooling or batches' origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from embedder.backends.attention import Group


@dataclass(frozen=True, slots=True)
class BertShape:
    """The numbers of a BERT ``config.json`` that the forward pass depends on."""

    layers: int
    heads: int
    width: int
    norm_epsilon: float
    gelu: str

    @property
    def head_width(self) -> int:
        """Return the components of one attention head."""
        return self.width // self.heads


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(
            rows, self.weight.shape, self.weight, self.bias, eps=self.epsilon
        )


@dataclass(frozen=True, slots=True)
class _Block:
    """A group of inputs as tensors; ``mask`` and ``valid`` are None where nothing is padded."""

    rows: torch.Tensor
    count: int
    longest: int
    mask: torch.Tensor | None
    valid: torch.Tensor | None

    @classmethod
    def of(cls, group: Group, device: torch.device) -> _Block:
        count, longest = group.rows.shape
        rows = torch.from_numpy(group.rows.reshape(-1)).to(device)
        if group.full:
            return cls(rows, count, longest, None, None)
        valid = torch.from_numpy(group.valid).to(device)
        return cls(rows, count, longest, valid[:, None, None, :], valid.reshape(-1))


class _Layer:
    """One encoder layer with the three input projections fused into one."""

    def __init__(self, shape: BertShape, weights: _Weights) -> None:
        self._shape = shape
        parts = [weights.linear(f"attention.self.{part}") for part in ("query", "key", "value")]
        self._qkv = _Linear(
            torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )
        self._attention_out = weights.linear("attention.output.dense")
        self._attention_norm = weights.norm("attention.output.LayerNorm")
        self._up = weights.linear("intermediate.dense")
        self._down = weights.linear("output.dense")
        self._norm = weights.norm("output.LayerNorm")

    def __call__(self, rows: torch.Tensor, blocks: list[_Block]) -> torch.Tensor:
        attended = self._attention_out(self._attend(self._qkv(rows), blocks))
        rows = self._attention_norm(rows + attended)
        inner = functional.gelu(self._up(rows), approximate=self._shape.gelu)
        return self._norm(rows + self._down(inner))

    def _attend(self, qkv: torch.Tensor, blocks: list[_Block]) -> torch.Tensor:
        shape = self._shape
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


class Bert:
    """A BERT encoder in one number format on one device."""

    def __init__(
        self,
        shape: BertShape,
        tensors: Mapping[str, torch.Tensor],
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        weights = _Weights(tensors, "", shape.norm_epsilon, dtype, device)
        self.shape = shape
        self.device = device
        self._words = weights.tensor("embeddings.word_embeddings.weight")
        # Every token is of segment 0, so its vector is a constant of each position.
        self._positions = (
            weights.tensor("embeddings.position_embeddings.weight")
            + weights.tensor("embeddings.token_type_embeddings.weight")[0]
        )
        self._embedding_norm = weights.norm("embeddings.LayerNorm")
        self._layers = [
            _Layer(shape, weights.under(f"encoder.layer.{number}."))
            for number in range(shape.layers)
        ]

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, groups: list[Group]
    ) -> torch.Tensor:
        """Return the last hidden state, one row a token: ``dtype[total, width]``.

        ``ids`` and ``positions`` are int64[total] on the model's device.
        """
        blocks = [_Block.of(group, self.device) for group in groups]
        rows = self._embedding_norm(self._words[ids] + self._positions[positions])
        for layer in self._layers:
            rows = layer(rows, blocks)
        return rows


@dataclass(frozen=True, slots=True)
class _Weights:
    """The tensors of a checkpoint under one prefix, converted as they are taken."""

    tensors: Mapping[str, torch.Tensor]
    prefix: str
    epsilon: float
    dtype: torch.dtype
    device: torch.device

    def under(self, prefix: str) -> _Weights:
        return _Weights(self.tensors, self.prefix + prefix, self.epsilon, self.dtype, self.device)

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[self.prefix + name].to(self.device, self.dtype)

    def linear(self, name: str) -> _Linear:
        return _Linear(self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"))

    def norm(self, name: str) -> _Norm:
        return _Norm(self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), self.epsilon)
