"""The relative position bias of MPNet: added to each attention score by token distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

BUCKETS = 32
MAX_DISTANCE = 128
"""The number of MPNet's distance buckets; all distances from `MAX_DISTANCE` on share one."""


@dataclass(frozen=True, slots=True)
class RelativePositionBias:
    """The attention bias for each distance between two tokens, the same in every layer.

    ``by_distance`` is [heads, 2 × max_positions - 1], for distances from ``1 - max_positions`` to
    ``max_positions - 1``.
    """

    by_distance: torch.Tensor

    @classmethod
    def of(cls, buckets: torch.Tensor, max_positions: int) -> RelativePositionBias:
        """Expand the biases of the buckets, [buckets, heads], to all distances."""
        distances = torch.arange(1 - max_positions, max_positions)
        indices = relative_position_buckets(distances).to(buckets.device)
        return cls(buckets[indices].T.contiguous())

    def between(self, queries: int, keys: int) -> torch.Tensor:
        """Return [1, heads, queries, keys]; larger distances have the bias of the largest."""
        max_positions = (self.by_distance.shape[1] + 1) // 2
        device = self.by_distance.device
        distances = (
            torch.arange(keys, device=device) - torch.arange(queries, device=device)[:, None]
        )
        limit = max_positions - 1
        return self.by_distance[:, distances.clamp(-limit, limit) + limit][None]


def relative_position_buckets(distances: torch.Tensor) -> torch.Tensor:
    """Return int64[n], the bucket of each distance int64[n] from a query to a key.

    Half of the buckets are for keys after the query. Half of each half are for one distance each;
    the others grow logarithmically up to `MAX_DISTANCE` (T5, arXiv 1910.10683, section 2.1).
    """
    half = BUCKETS // 2
    exact = half // 2
    magnitude = distances.abs()
    # In float32, as in transformers: at the edge of a bucket the rounding decides.
    log_share = torch.log(magnitude.clamp(min=1).float() / exact) / math.log(MAX_DISTANCE / exact)
    logarithmic = (exact + (log_share * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(magnitude < exact, magnitude, logarithmic) + (distances > 0) * half
