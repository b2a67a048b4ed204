"""From one vector a token to one vector an input, on packed rows.

Every function takes the hidden states float[total, d] of a batch laid end to end and the lengths
int64[n] that cut it, and returns float32[n, d]. Knows nothing of models; assumes no padding, so no
attention mask is needed and position 0 of an input is its first real token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    # Pooling computes where the library's settings are not there, too.
    from embedder.settings.model import PoolingName

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cls(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Take each input's first token."""
    return hidden[_ends(lengths) - lengths].float()


def last(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Take each input's last token."""
    return hidden[_ends(lengths) - 1].float()


def mean(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Average each input's tokens."""
    return _sum(hidden.float(), lengths) / lengths.unsqueeze(1)


def mean_sqrt_len(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sum each input's tokens and divide by the square root of their number."""
    return _sum(hidden.float(), lengths) / lengths.unsqueeze(1).sqrt()


def weighted_mean(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Average each input's tokens with weights 1, 2, 3, … (SGPT, arXiv 2202.08904, eq. 1)."""
    count = len(hidden)
    starts = torch.repeat_interleave(_ends(lengths) - lengths, lengths, output_size=count)
    weights = torch.arange(1, count + 1, device=hidden.device) - starts
    total = lengths * (lengths + 1) / 2
    return _sum(hidden.float() * weights.unsqueeze(1), lengths) / total.unsqueeze(1)


def maximum(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Take each component's largest value over an input's tokens."""
    # Unsafe: to check the lengths, a GPU's would have to be waited for.
    return torch.segment_reduce(hidden.float(), "max", lengths=lengths, axis=0, unsafe=True)


POOLS: dict[PoolingName, Pool] = {
    "cls": cls,
    "last": last,
    "max": maximum,
    "mean": mean,
    "mean_sqrt_len": mean_sqrt_len,
    "weighted_mean": weighted_mean,
}
"""The pooling of every name that settings and model files may hold."""


def _ends(lengths: torch.Tensor) -> torch.Tensor:
    return torch.cumsum(lengths, 0)


def _sum(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    if values.is_cuda:
        # Threads of a GPU that add to one row do so in any order, and round differently each time.
        return torch.segment_reduce(values, "sum", lengths=lengths, axis=0, unsafe=True)
    rows = torch.repeat_interleave(
        torch.arange(len(lengths), device=values.device), lengths, output_size=len(values)
    )
    out = torch.zeros(len(lengths), values.shape[1], dtype=values.dtype, device=values.device)
    return out.index_add_(0, rows, values)
