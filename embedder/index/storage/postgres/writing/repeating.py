"""Decides what follows a transaction that failed."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import repeat

from embedder.core.errors import StageUnavailable
from embedder.core.storage_errors import StorageDamaged
from embedder.index.storage.postgres.connection.error_codes import is_conflict

PAUSE_S, MAX_PAUSE_S = 0.01, 0.5
"""Seconds before the first repetition, and the limit up to which each pause doubles."""


class Next(Enum):
    """What to do with the writes of a failed transaction."""

    REPEAT = "repeat"
    DIVIDE = "divide"
    """Commit each one alone, so that only those that caused the error fail."""
    FAIL = "fail"


def after_failure(error: Exception, writes: int, left_s: float) -> Next:
    """Decide by the error of a transaction with ``writes``, which may be repeated for ``left_s``.

    Nothing of the transaction is committed.
    """
    if not writes:
        return Next.FAIL
    if isinstance(error, StageUnavailable):
        return Next.REPEAT if left_s > 0 else Next.FAIL
    if is_final(error):
        return Next.FAIL
    if writes > 1:
        return Next.DIVIDE
    return Next.REPEAT if is_conflict(error) and left_s > 0 else Next.FAIL


def is_final(error: BaseException) -> bool:
    """Say whether the error means that no later write can be trusted."""
    return isinstance(error, StorageDamaged) and error.collection is None


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each repetition, without end."""
    pause_s = PAUSE_S
    while pause_s < MAX_PAUSE_S:
        yield pause_s
        pause_s *= 2
    yield from repeat(MAX_PAUSE_S)
