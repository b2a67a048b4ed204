"""Pooling: from one vector per token to one vector per input, on packed rows.

Every function takes the hidden states float[total, d] of a packed batch and the lengths int64[n] of
its inputs, and returns float32[n, d]. Packed rows have no padding, so no attention mask is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.settings.model import PoolingName

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cls(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the first token of each input."""
    return hidden[_ends(lengths) - lengths].float()


def last(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the last token of each input."""
    return hidden[_ends(lengths) - 1].float()


def mean(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean of the tokens of each input."""
    return _sum(hidden.float(), lengths) / lengths.unsqueeze(1)


def mean_sqrt_len(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the sum of the tokens of each input, divided by the square root of their count."""
    return _sum(hidden.float(), lengths) / lengths.unsqueeze(1).sqrt()


def weighted_mean(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the mean with weights 1, 2, 3, … of each input (SGPT, arXiv 2202.08904, eq. 1)."""
    count = len(hidden)
    starts = torch.repeat_interleave(_ends(lengths) - lengths, lengths, output_size=count)
    weights = torch.arange(1, count + 1, device=hidden.device) - starts
    total = lengths * (lengths + 1) / 2
    return _sum(hidden.float() * weights.unsqueeze(1), lengths) / total.unsqueeze(1)


def maximum(hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the maximum of each component over the tokens of each input."""
    # unsafe=True skips a check of the lengths, which would wait for the GPU.
    return torch.segment_reduce(hidden.float(), "max", lengths=lengths, axis=0, unsafe=True)


POOLS: dict[PoolingName, Pool] = {
    "cls": cls,
    "last": last,
    "max": maximum,
    "mean": mean,
    "mean_sqrt_len": mean_sqrt_len,
    "weighted_mean": weighted_mean,
}
"""The pooling functions by their names in settings and model files."""


def _ends(lengths: torch.Tensor) -> torch.Tensor:
    return torch.cumsum(lengths, 0)


def _sum(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    if values.is_cuda:
        # index_add_ on a GPU adds in an undefined order, so its rounding differs from run to run.
        return torch.segment_reduce(values, "sum", lengths=lengths, axis=0, unsafe=True)
    rows = torch.repeat_interleave(
        torch.arange(len(lengths), device=values.device), lengths, output_size=len(values)
    )
    out = torch.zeros(len(lengths), values.shape[1], dtype=values.dtype, device=values.device)
    return out.index_add_(0, rows, values)
