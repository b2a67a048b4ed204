"""How the inputs of a packed batch are grouped so that attention pads little and is called rarely.

Only attention sees whole inputs; every other layer works on packed rows. Inputs of like length
are laid into one padded block, so one call serves many, and no block pads by more than a quarter.
Pure integer arithmetic: knows nothing of weights, layers or devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLACK = 1.25
"""A group's longest input may be this many times its shortest, plus `SLACK_TOKENS`."""

SLACK_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Group:
    """Some inputs of a packed batch as a block ``[count, longest]`` of row numbers.

    ``rows`` is int64[count, longest] into the packed rows; places beyond an input's end repeat
    its first row and are False in ``valid`` bool[count, longest]. ``full`` says that none is.
    """

    rows: NDArray[np.int64]
    valid: NDArray[np.bool_]
    full: bool


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
