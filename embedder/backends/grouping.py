"""Groups of inputs of similar length, which are computed as one padded block each.

No input is padded by more than a quarter of its length and two tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.pairs import NOT_ATTENDED
from embedder.core.types import TokenBatch

SLACK = 1.25
SLACK_TOKENS = 2
"""The longest input of a group may have `SLACK` × the shortest one's tokens + `SLACK_TOKENS`."""


@dataclass(frozen=True, slots=True)
class Group:
    """Inputs of a packed batch as a block ``[count, longest]`` of row numbers.

    ``rows`` is int64[count, longest]: row numbers in the packed batch. ``valid`` is
    bool[count, longest], False for padding, where ``rows`` repeats the input's first row. ``full``
    says that there is no padding. ``attended`` is False also for tokens to which no token attends.
    """

    rows: NDArray[np.int64]
    valid: NDArray[np.bool_]
    full: bool
    attended: NDArray[np.bool_]

    @property
    def masked(self) -> bool:
        """Return whether some place is not attended to."""
        return self.attended is not self.valid or not self.full

    def by_length(self) -> Iterator[Group]:
        """Yield a group without padding for each length."""
        lengths, starts = np.unique(self.valid.sum(axis=1), return_index=True)
        for length, begin, end in zip(lengths, starts, [*starts[1:], None], strict=True):
            valid = self.valid[begin:end, :length]
            attended = valid
            if self.attended is not self.valid:
                attended = self.attended[begin:end, :length]
            yield Group(self.rows[begin:end, :length], valid, True, attended)


def group_by_length(
    lengths: NDArray[np.int32], attended: NDArray[np.bool_] | None = None
) -> list[Group]:
    """Return groups that hold every input of a batch once, from the shortest to the longest.

    ``attended`` is bool[total], by the row in the packed batch; None: all tokens are.
    """
    order = np.argsort(lengths, kind="stable")
    starts = (np.cumsum(lengths, dtype=np.int64) - lengths)[order]
    ascending = lengths[order]
    groups = []
    begin = 0
    while begin < len(order):
        longest = ascending[begin] * SLACK + SLACK_TOKENS
        end = int(np.searchsorted(ascending, longest, side="right"))
        groups.append(_group(starts[begin:end], ascending[begin:end], attended))
        begin = end
    return groups


def _group(
    starts: NDArray[np.int64], lengths: NDArray[np.int32], attended: NDArray[np.bool_] | None
) -> Group:
    columns = np.arange(int(lengths.max()))[None, :]
    valid: NDArray[np.bool_] = columns < lengths[:, None]
    rows = starts[:, None] + np.where(valid, columns, 0)
    kept = valid if attended is None else valid & attended[rows]
    return Group(rows, valid, bool(valid.all()), kept)


def attended_rows(tokens: TokenBatch) -> NDArray[np.bool_] | None:
    """Return bool[total], False for tokens to which no token attends; None: all tokens are."""
    if tokens.types is None:
        return None
    attended: NDArray[np.bool_] = tokens.types != NOT_ATTENDED
    return None if attended.all() else attended
