"""The headers of text-embeddings-inference about a computation."""

from __future__ import annotations

import time

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.wire.formats import timing_headers
from embedder.core.request import Embeddings, Outputs, Scores
from embedder.core.types import ModelInfo


def compute_headers(
    context: RequestContext,
    model: ModelInfo,
    answer: Embeddings | Scores | Outputs,
    characters: int,
) -> list[tuple[bytes, bytes]]:
    """Return raw headers of a response about the device, the durations and the tokens."""
    kind = f"{model.device.partition(':')[0]}+{model.dtype}"
    return [
        (b"x-compute-type", kind.encode()),
        (b"x-compute-time", b"%d" % round((time.monotonic() - context.began) * 1000)),
        (b"x-compute-characters", b"%d" % characters),
        (b"x-compute-tokens", b"%d" % answer.token_counts.sum()),
        *timing_headers(answer),
    ]
