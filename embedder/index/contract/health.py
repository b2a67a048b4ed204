"""The health of a shard of the index, for operators and readiness probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embedder.core.errors import StageUnavailable


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """How the last start went; ``points_from_store`` were in no snapshot, so the store was read."""

    seconds: float
    points: int
    points_from_store: int
    was_clean: bool


Status = Literal["ready", "degraded", "read_only", "unavailable", "failed"]
"""``degraded``: some collections are damaged, and all others are served. ``unavailable``: the
database does not answer, so that only stale searches are served.
"""


@dataclass(frozen=True)
class IndexHealth:
    """Whether a shard is usable; ``problem`` says what is wrong and what to do, without paths."""

    status: Status
    problem: str | None


@dataclass(frozen=True)
class IndexStats(IndexHealth):
    """The health and the statistics of a shard; ``object_failures`` are calls of object stores."""

    collections: int
    points: int
    damaged_snapshots: int
    save_failures: int
    object_failures: int
    recovery: RecoveryReport


def health_of(
    failure: Exception | None,
    refusal: Exception | None,
    damaged: Sequence[Exception],
    lost: Exception | None = None,
) -> IndexHealth:
    """Return the worst that applies: the shard failed, refuses writes, or lacks collections.

    ``lost`` says why its database does not answer.
    """
    if failure is not None and not isinstance(failure, StageUnavailable):
        return IndexHealth("failed", str(failure))
    if (lost := failure or lost) is not None:
        return IndexHealth("unavailable", str(lost))
    if refusal is not None:
        return IndexHealth("read_only", str(refusal))
    if damaged:
        return IndexHealth("degraded", "; ".join(map(str, damaged)))
    return IndexHealth("ready", None)
