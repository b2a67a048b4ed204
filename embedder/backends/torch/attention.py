"""What attention makes of a packed batch: in blocks of inputs of like length, or in one call.

One object serves all layers of a batch. Knows nothing of weights, nor of how a kernel computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.torch.attention_blocks import MatmulBlock, SdpaBlock
from embedder.backends.torch.copies import to_device

Attention = Callable[[torch.Tensor], torch.Tensor]
"""Return [total, width] of the queries, keys and values of a batch [total, 3 × width]."""

Block = SdpaBlock | MatmulBlock


class VarlenKernel(Protocol):
    """Attention over inputs of any lengths, laid end to end, as `torch.nn.attention.varlen` has it.

    ``query``, ``key`` and ``value`` are [total, heads, head width]; ``cu_seq_q`` and ``cu_seq_k``
    int32[n + 1], where inputs begin and end; ``max_q`` and ``max_k`` the longest one's tokens.
    """

    def __call__(  # noqa: PLR0913 - torch's signature
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seq_q: torch.Tensor,
        cu_seq_k: torch.Tensor,
        max_q: int,
        max_k: int,
        /,
    ) -> torch.Tensor:
        """Return [total, heads, head width]."""


@dataclass(frozen=True, slots=True)
class BlockAttention:
    """Attention block by block, over rows whose inputs are sorted by length.

    ``mixed`` is room for what one layer's blocks make, [total, width].
    """

    blocks: Sequence[Block]
    mixed: torch.Tensor

    def __call__(self, qkv: torch.Tensor) -> torch.Tensor:
        """Return [total, width] of [total, 3 × width]; the next call overwrites it."""
        for block in self.blocks:
            block(qkv, self.mixed)
        return self.mixed


@dataclass(frozen=True, slots=True)
class VarlenAttention:
    """Attention over a whole batch, whose inputs are in any order; nothing is padded.

    ``ends`` is int32[n + 1]: where the first input begins, and where each ends.
    """

    attend: VarlenKernel
    heads: int
    ends: torch.Tensor
    longest: int

    @classmethod
    def of(
        cls, attend: VarlenKernel, heads: int, lengths: NDArray[np.int32], device: torch.device
    ) -> VarlenAttention:
        """Prepare a batch of at least one input for all layers."""
        ends = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=ends[1:])
        return cls(attend, heads, to_device(ends, device), int(lengths.max()))

    def __call__(self, qkv: torch.Tensor) -> torch.Tensor:
        """Return [total, width] of [total, 3 × width]."""
        q, k, v = qkv.view(len(qkv), 3, self.heads, -1).unbind(1)
        ends, longest = self.ends, self.longest
        return self.attend(q, k, v, ends, ends, longest, longest).flatten(1)
