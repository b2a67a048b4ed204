"""How the inputs of a packed batch are grouped so that attention pads little and is called rarely.

Only attention sees whole inputs; every other layer works on packed rows. Inputs of like length
are laid into one padded block, so one call serves many, and no block pads by more than a quarter.
Pure arithmetic on places: knows nothing of weights, layers or devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

SLACK = 1.25
"""A group's longest input may be this many times its shortest, plus `SLACK_TOKENS`."""

SLACK_TOKENS = 2

BUCKETS = 32
FARTHEST = 128
"""How many kinds of distance MPNet tells apart, and the distance from which on all are one kind."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some inputs of a packed batch as a block ``[count, longest]`` of row numbers.

    ``rows`` is int64[count, longest] into the packed rows; places beyond an input's end repeat
    its first row and are False in ``valid`` bool[count, longest]. ``full`` says that none is.
    """

    rows: NDArray[np.int64]
    valid: NDArray[np.bool_]
    full: bool

    def parts(self, most: int) -> Iterator[Group]:
        """Give groups of at most ``most`` of the inputs, in order, each as wide as it must be."""
        for begin in range(0, len(self.rows), most):
            valid = self.valid[begin : begin + most]
            longest = int(valid.sum(axis=1).max())
            valid = valid[:, :longest]
            yield Group(self.rows[begin : begin + most, :longest], valid, bool(valid.all()))


def group_by_length(lengths: NDArray[np.int32]) -> list[Group]:
    """Group the inputs of a batch; every packed row is in exactly one group's valid places."""
    order = np.argsort(lengths, kind="stable")
    starts = (np.cumsum(lengths, dtype=np.int64) - lengths)[order]
    ascending = lengths[order]
    groups = []
    begin = 0
    while begin < len(order):
        ceiling = ascending[begin] * SLACK + SLACK_TOKENS
        end = int(np.searchsorted(ascending, ceiling, side="right"))
        groups.append(_block(starts[begin:end], ascending[begin:end]))
        begin = end
    return groups


def _block(starts: NDArray[np.int64], lengths: NDArray[np.int32]) -> Group:
    columns = np.arange(int(lengths.max()))[None, :]
    valid: NDArray[np.bool_] = columns < lengths[:, None]
    rows = starts[:, None] + np.where(valid, columns, 0)
    return Group(rows, valid, bool(valid.all()))


def relative_position_buckets(distances: torch.Tensor) -> torch.Tensor:
    """Return int64[n], the bucket of every distance int64[n] from one token to another.

    Half of the buckets are for tokens that follow; of each half, half are for one distance each
    and the rest grow logarithmically up to ``FARTHEST`` (T5, arXiv 1910.10683, section 2.1).
    """
    half = BUCKETS // 2
    exact = half // 2
    away = distances.abs()
    # In float32, as transformers has it: at a bucket's edge the rounding decides.
    far = torch.log(away.clamp(min=1).float() / exact) / math.log(FARTHEST / exact)
    grown = (exact + (far * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(away < exact, away, grown) + (distances > 0) * half
