"""The loads of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedder.measurements.histogram import LOAD_SECONDS, Histogram


@dataclass(slots=True)
class LoadStats:
    """The loads of one model since the start, and whether it is loaded now, with its bytes."""

    seconds: Histogram = field(default_factory=lambda: Histogram(LOAD_SECONDS))
    failures: int = 0
    loaded: int = 0
    bytes: int = 0

    def numbers(self) -> Mapping[str, object]:
        """Return the numbers by name."""
        return {
            "load_seconds": self.seconds,
            "load_failures": self.failures,
            "loaded": self.loaded,
            "bytes": self.bytes,
        }
