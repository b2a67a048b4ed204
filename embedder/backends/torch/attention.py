"""Attention over a whole packed batch: in blocks of inputs of similar length, or in one call.

One object serves all layers of a batch. A block is computed by torch's fused kernel; in bfloat16 on
a CPU by batched matrix products, which oneDNN computes several times faster for the short inputs
and narrow heads of these models.
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

KEY_MULTIPLE = 32
"""Keys are padded to a multiple of this: the softmax of other widths is several times slower."""

QUERY_MULTIPLE = 8
"""Queries are padded to a multiple of this: oneDNN compiles a kernel for every new shape."""

MAX_SCORES = 2**20
"""The most attention scores of a block, unless a single input has more.

Larger blocks leave the cache of a core. Their memory is returned to the system after every layer
and mapped again page by page, which takes a quarter of the time at 256 tokens per input.
"""

FLOAT32_TOKENS = 16
"""Attention of inputs up to this length is computed in float32.

Their vectors are means of few rows, so rounding errors cancel out less, and there is little to
compute.
"""

_ZERO = torch.zeros((), dtype=torch.bfloat16)


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
class MatmulBlock:
    """Attention by batched matrix products, keys and queries padded to sizes that suit a CPU.

    ``queries`` [count, heads, queries, head width] and ``keys_values`` [2, count, heads, keys, head
    width] are buffers that every layer overwrites; their padding is zero. ``mask`` is added to the
    scores.
    """

    layout: _BlockLayout
    queries: torch.Tensor
    keys_values: torch.Tensor
    mask: torch.Tensor | None

    @classmethod
    def all_of(
        cls, group: Group, shape: EncoderShape, bias: Bias, dtype: torch.dtype
    ) -> list[MatmulBlock]:
        """Prepare a group of inputs for all layers, in blocks of at most `MAX_SCORES`."""
        longest = group.rows.shape[1]
        scores = shape.heads * _round_up(longest, QUERY_MULTIPLE) * _round_up(longest, KEY_MULTIPLE)
        parts = group.split(max(1, MAX_SCORES // scores))
        return [cls._of(part, shape, bias, dtype) for part in parts]

    @classmethod
    def _of(cls, group: Group, shape: EncoderShape, bias: Bias, dtype: torch.dtype) -> MatmulBlock:
        count, longest = group.rows.shape
        dtype = torch.float32 if longest <= FLOAT32_TOKENS else dtype
        queries, keys = _round_up(longest, QUERY_MULTIPLE), _round_up(longest, KEY_MULTIPLE)
        mask = bias.between(queries, keys) if bias is not None else None
        if group.masked or keys > longest:
            rows = group.attended if group.masked else group.attended[:1]
            columns = ((0, 0), (0, keys - longest))
            masked = torch.from_numpy(np.pad(~rows, columns, constant_values=True))
            unmasked = torch.zeros((), dtype=dtype) if mask is None else mask.to(dtype)
            mask = torch.where(
                masked[:, None, None, :], torch.tensor(-torch.inf, dtype=dtype), unmasked
            )
        return cls(
            _BlockLayout.of(group, torch.device("cpu")),
            torch.zeros(count, shape.heads, queries, shape.head_width, dtype=dtype),
            torch.zeros(2, count, shape.heads, keys, shape.head_width, dtype=dtype),
            mask,
        )

    def __call__(self, qkv: torch.Tensor, out: torch.Tensor) -> None:
        """Compute attention on [total, 3 × width]; write the group's rows of ``out``."""
        count, heads, queries, head_width = self.queries.shape
        longest = self.layout.longest
        block = self.layout.split_heads(qkv, heads)
        self.queries[:, :, :longest].copy_(block[0])
        self.keys_values[:, :, :, :longest].copy_(block[1:])
        q = self.queries.flatten(0, 1)
        k, v = self.keys_values.flatten(1, 2)
        scores = torch.baddbmm(
            _ZERO.to(q.dtype), q, k.transpose(1, 2), beta=0, alpha=head_width**-0.5
        )
        if self.mask is not None:
            scores.view(count, heads, queries, -1).add_(self.mask)
        attended = torch.bmm(scores.softmax(-1), v).view(count, heads, queries, head_width)
        self.layout.write(attended[:, :, :longest].to(out.dtype), out)


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


Block = SdpaBlock | MatmulBlock


@dataclass(frozen=True, slots=True)
class BlockAttention:
    """Attention block by block, over rows whose inputs are sorted by length.

    ``output`` [total, width] is overwritten by every call.
    """

    blocks: Sequence[Block]
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
