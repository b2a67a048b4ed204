"""The headers of text-embeddings-inference about a computation."""

from __future__ import annotations

import time
from collections.abc import Mapping

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.wire.formats import timing_headers
from embedder.core.request import Embeddings, Outputs, Scores
from embedder.core.types import ModelInfo


def compute_headers(
    context: RequestContext,
    model: ModelInfo,
    answer: Embeddings | Scores | Outputs,
    characters: int,
) -> Mapping[str, str]:
    """Return headers about the device, the durations and the tokens."""
    return {
        "x-compute-type": f"{model.device.partition(':')[0]}+{model.dtype}",
        "x-compute-time": str(round((time.monotonic() - context.began) * 1000)),
        "x-compute-characters": str(characters),
        "x-compute-tokens": str(int(answer.token_counts.sum())),
        **timing_headers(answer),
    }
