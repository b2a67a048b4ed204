"""What the pipelines of one process have done, in plain numbers."""

from __future__ import annotations

from embedder.measurements.histogram import SECONDS, Histogram

STAGES = ("cache", "tokenize", "queue", "encode", "index")
"""The stages of a request; ``queue`` is the wait for a batch."""

SOURCES = ("local_cache", "shared_cache", "joined", "computed")
"""Where the vector of an input came from; ``joined`` is a computation of another request."""


class PipelineStats:
    """Counters since the start.

    ``inputs`` counts distinct inputs of requests by `SOURCES`. ``stage_seconds`` has the durations
    in each of `STAGES`.
    """

    def __init__(self) -> None:
        self.inputs = dict.fromkeys(SOURCES, 0)
        self.stage_seconds = {stage: Histogram(SECONDS) for stage in STAGES}

    def computed(self, inputs: int, tokenize_s: float, queue_s: float, encode_s: float) -> None:
        """Count one computation by the model."""
        self.inputs["computed"] += inputs
        self.stage_seconds["tokenize"].observe(tokenize_s)
        self.stage_seconds["queue"].observe(queue_s)
        self.stage_seconds["encode"].observe(encode_s)
