"""What the store of an index shard has done, and how far a replica follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedder.measurements.histogram import SECONDS, Histogram


@dataclass(slots=True)
class CommitStats:
    """The commits of a store: their durations, those that failed, and the writes of the others."""

    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    failures: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class StoreMeasurements:
    """A store's commits, and its connections for reads by state; ``follower_lag_s`` in seconds."""

    commits: CommitStats
    connections: Mapping[str, int]
    follower_lag_s: float

    def numbers(self) -> Mapping[str, object]:
        """Return the numbers by name."""
        return {
            "commit_seconds": self.commits.seconds,
            "commit_failures": self.commits.failures,
            "committed_writes": self.commits.writes,
            "connections": self.connections,
            "follower_lag_s": self.follower_lag_s,
        }
