"""Attention over a whole packed batch: in blocks of inputs of similar length, or in one call.

One object serves all layers of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.torch.attention_blocks import MatmulBlock, SdpaBlock
from embedder.backends.torch.copies import to_device

Attention = Callable[[torch.Tensor], torch.Tensor]
"""Returns [total, width] of the queries, keys and values of a batch, [total, 3 × width]."""

Block = SdpaBlock | MatmulBlock

VarlenKernel = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, int], torch.Tensor
]
"""Attention over packed inputs of any lengths, as in `torch.nn.attention.varlen`.

Arguments: query, key and value, each [total, heads, head width]; the offsets int32[n + 1] of the
inputs for queries and for keys; the length of the longest input for queries and for keys. Returns
[total, heads, head width].
"""


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
