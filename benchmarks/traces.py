"""The CPU time of a cached request without tracing, and with a share of the requests traced.

The application is the real one, over a pipeline whose cache has the answer, and the steps of Serve
around it are Serve's own. Spans are encoded as they are sent, and then dropped. Blocks of requests
of each kind alternate, so that a disturbance meets all of them. The table has the mean of the
fastest quarter of the blocks, which other programs have disturbed least.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import cast
from unittest import mock

import numpy as np
import orjson
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from ray.serve._private import tracing_utils
from starlette.types import ASGIApp

from benchmarks.asgi_client import post
from benchmarks.one_model import MODEL, WIDTH, one_model
from deployments.ingress.asgi import build_asgi
from deployments.ingress.service.replicas import Handles
from deployments.ingress.service.service import Service
from deployments.rpc.handle_client import Handle
from deployments.settings.service import ServeSettings
from deployments.tracing.exporter import RequestSpans
from embedder.cache.memory import MemoryCache
from embedder.core.entries.entries import Entries
from embedder.core.protocols import Encoding, Tokenizing
from embedder.pipeline.fingerprint import Fingerprinter
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages

RATIOS = (0.01, 1.0)
"""Shares of the requests that are traced."""

TEXT = "hello world"


class Dropped(SpanExporter):
    """Encodes spans, and drops them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode the spans."""
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


class Cached(Service):
    """A service whose pipeline has the vector of `TEXT` in its cache."""

    def __init__(self) -> None:
        none = cast("Handle", None)
        super().__init__(ServeSettings(), Handles(none, {"Encoder": none}, {}, {}, none))
        cache = MemoryCache(2**20)
        keys = Fingerprinter(MODEL).keys([TEXT], prompt="", truncate=MODEL.truncation)
        vector = np.random.default_rng(0).standard_normal((1, WIDTH), np.float32)
        cache.put_many(keys, Entries(vector, np.full(1, 4, np.int32), np.zeros(1, np.bool_)))
        stages = Stages(cast("Tokenizing", None), cast("Encoding", None), cache)
        self.models = one_model(Pipeline(MODEL, stages, limits=self.settings.limits))


class Traced:
    """The application with a share of its requests traced; a ``ratio`` of None is without tracing.

    Serve's own step around a request is part of it.
    """

    def __init__(self, ratio: float | None) -> None:
        self.name = "off" if ratio is None else f"{ratio:.0%} traced"
        self._enabled = ratio is not None
        self._provider = TracerProvider(sampler=ParentBasedTraceIdRatio(ratio or 0.0))
        self._provider.add_span_processor(RequestSpans(Dropped()))
        provider = self._provider if self._enabled else trace.NoOpTracerProvider()
        with mock.patch.object(trace, "get_tracer_provider", return_value=provider):
            self._app: ASGIApp = build_asgi(Cached())

    async def cpu_us(self, count: int) -> float:
        """Return the microseconds of CPU time of one request, as the mean of ``count``."""
        body = orjson.dumps({"input": TEXT})
        tracer = self._provider.get_tracer(tracing_utils.__name__)
        with (
            mock.patch.object(tracing_utils, "_tracing_enabled", self._enabled),
            mock.patch.object(tracing_utils, "_tracer", tracer),
        ):
            began_s = time.process_time()
            for _ in range(count):
                await asyncio.create_task(self._request(body))
            self._provider.force_flush()
            return 1e6 * (time.process_time() - began_s) / count

    async def _request(self, body: bytes) -> None:
        """Answer a request in a task of its own, as the server does."""
        if not tracing_utils.is_tracing_enabled():
            await post(self._app, "/v1/embeddings", body)
            return
        context = tracing_utils.extract_propagated_context(None)
        with tracing_utils.TraceContextManager("request", trace_context=context):
            await post(self._app, "/v1/embeddings", body)


async def measure(rounds: int, count: int) -> dict[str, list[float]]:
    """Return the microseconds of each kind of request, one figure a round."""
    kinds = [Traced(ratio) for ratio in (None, *RATIOS)]
    figures: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind in kinds:
            cpu_us = await kind.cpu_us(count)
            if number > 0:  # the first round warms up
                figures[kind.name].append(cpu_us)
    return figures


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--count", type=int, default=1000, help="requests of a kind in a round")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.rounds, options.count))
    off = figures["off"]
    print(f"CPU of a cached request, {options.rounds} rounds of {options.count}")
    print(f"{'':14}{'µs':>8}{'to off':>9}{'quartiles of rounds':>22}")
    for name, each in figures.items():
        ratios = [one / other for one, other in zip(each, off, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        ratio, spread = _fastest(each) / _fastest(off), f"{low:.3f} … {high:.3f}"
        print(f"{name:14}{_fastest(each):8.1f}{ratio:9.3f}{spread:>22}")


def _fastest(figures: Sequence[float]) -> float:
    """Return the mean of the lowest quarter."""
    return statistics.mean(sorted(figures)[: max(1, len(figures) // 4)])


if __name__ == "__main__":
    main()
