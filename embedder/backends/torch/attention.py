"""Attention over a whole packed batch: in blocks of inputs of similar length, or in one call.

One object serves all layers of a batch. In bfloat16 on a CPU, `onednn_attention` is used instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from embedder.backends.grouping import Group
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.launcher import to_device
from embedder.backends.torch.relative_positions import RelativePositionBias

Attention = Callable[[torch.Tensor], torch.Tensor]
"""Returns [total, width] of the queries, keys and values of a batch, [total, 3 × width]."""

VarlenKernel = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, int], torch.Tensor
]
"""Attention over packed inputs of any lengths, as in `torch.nn.attention.varlen`.

Arguments: query, key and value, each [total, heads, head width]; the offsets int32[n + 1] of the
inputs for queries and for keys; the length of the longest input for queries and for keys. Returns
[total, heads, head width].
"""

Bias = RelativePositionBias | None


@dataclass(frozen=True, slots=True)
class _BlockLayout:
    """The rows of a group in its batch, and in a padded block ``[count, longest]``.

    The inputs are sorted, so the group is one ``span`` of the batch, which is the block if nothing
    is padded. Otherwise ``rows`` has the row in the span for every place of the block, and
    ``valid`` the place in the block for every row.
    """

    count: int
    longest: int
    span: slice
    rows: torch.Tensor | None
    valid: torch.Tensor | None

    @classmethod
    def of(cls, group: Group, device: torch.device) -> _BlockLayout:
        count, longest = group.rows.shape
        begin = int(group.rows[0, 0])
        span = slice(begin, begin + int(group.valid.sum()))
        if group.full:
            return cls(count, longest, span, None, None)
        rows = to_device((group.rows - begin).reshape(-1), device)
        valid = to_device(group.valid.reshape(-1).nonzero()[0], device)
        return cls(count, longest, span, rows, valid)

    def split_heads(self, qkv: torch.Tensor, heads: int) -> torch.Tensor:
        """Return a view [3, count, heads, longest, head width] of the group's rows."""
        rows = qkv[self.span]
        block = rows if self.rows is None else rows.index_select(0, self.rows)
        return block.view(self.count, self.longest, 3, heads, -1).permute(2, 0, 3, 1, 4)

    def write(self, attended: torch.Tensor, out: torch.Tensor) -> None:
        """Write [count, heads, longest, head width] to the group's rows of ``out``."""
        by_place = attended.transpose(1, 2)
        rows = out[self.span]
        if self.valid is None:
            rows.view(by_place.shape).copy_(by_place)
        else:
            flat = by_place.reshape(self.count * self.longest, -1)
            torch.index_select(flat, 0, self.valid, out=rows)


@dataclass(frozen=True, slots=True)
class SdpaBlock:
    """Attention by torch's fused kernel, for any device and number format.

    ``mask`` is added to the scores, or bool: True where a query may attend to a key.
    """

    layout: _BlockLayout
    heads: int
    mask: torch.Tensor | None

    @classmethod
    def of(cls, group: Group, shape: EncoderShape, bias: Bias, device: torch.device) -> SdpaBlock:
        """Prepare a group of inputs for all layers."""
        mask = None
        if group.masked:
            mask = to_device(group.attended, device)[:, None, None, :]
        if bias is not None:
            between = bias.between(group.rows.shape[1], group.rows.shape[1])
            mask = between if mask is None else between.masked_fill(~mask, -torch.inf)
        return cls(_BlockLayout.of(group, device), shape.heads, mask)

    def __call__(self, qkv: torch.Tensor, out: torch.Tensor) -> None:
        """Compute attention on [total, 3 × width]; write the group's rows of ``out``."""
        q, k, v = self.layout.split_heads(qkv, self.heads)
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        self.layout.write(attended, out)


@dataclass(frozen=True, slots=True)
class BlockAttention:
    """Attention block by block, over rows whose inputs are sorted by length.

    ``output`` [total, width] is overwritten by every call.
    """

    blocks: Sequence[SdpaBlock]
    output: torch.Tensor

    def __call__(self, qkv: torch.Tensor) -> torch.Tensor:
        """Return [total, width] of [total, 3 × width]; the next call overwrites it."""
        for block in self.blocks:
            block(qkv, self.output)
        return self.output


@dataclass(frozen=True, slots=True)
class VarlenAttention:
    """Attention in one call without padding; the inputs are in any order.

    ``offsets`` is int32[n + 1]: the start of the first input, and the end of each input.
    """

    kernel: VarlenKernel
    heads: int
    offsets: torch.Tensor
    longest: int

    @classmethod
    def of(
        cls, kernel: VarlenKernel, heads: int, lengths: NDArray[np.int32], device: torch.device
    ) -> VarlenAttention:
        """Prepare a batch of at least one input for all layers."""
        offsets = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        return cls(kernel, heads, to_device(offsets, device), int(lengths.max()))

    def __call__(self, qkv: torch.Tensor) -> torch.Tensor:
        """Return [total, width] of [total, 3 × width]."""
        q, k, v = qkv.view(len(qkv), 3, self.heads, -1).unbind(1)
        offsets, longest = self.offsets, self.longest
        return self.kernel(q, k, v, offsets, offsets, longest, longest).flatten(1)
