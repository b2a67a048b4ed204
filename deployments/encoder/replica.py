"""The Encoder deployment: runs the library's encoders and batchers in replicas."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ray import serve

from deployments.autoscaling.reports import INITIAL_RATE, QUEUED, RATE
from deployments.encoder.batch_metrics import BatchMetrics
from deployments.logs.replica_log import configure_replica_log
from deployments.metrics.encoding import COST, MODELS
from deployments.metrics.publisher import MetricPublisher
from deployments.rpc.model_updates import ModelUpdates
from deployments.rpc.replica_name import ReplicaStats, replica_id
from deployments.settings.encoders import EncoderDeployment
from deployments.settings.service import ServeSettings
from deployments.tracing.tracer import sent_requests, service_tracer
from embedder.core.deadline import Deadline
from embedder.core.tracing import SpanContext, serving
from embedder.core.types import Encoded, ModelInfo, Priority, TokenBatch
from embedder.inference.encoder_pool import EncoderPool, EncoderStats
from embedder.settings.model import ModelSettings

STUCK_S = 60.0
"""Seconds; longer than any batch takes, even with a large model on a slow core."""


class EncoderReplica:
    """Encodes packed tokens into vectors on one device, for several models.

    Serve marks a replica as running when its first `reconfigure` returns; by then every pinned
    model has computed a batch. All replicas have the pinned models, so their calls go to the least
    busy replica. A replica announces any other model that it loads, and Serve sends the calls for
    that model to it.
    """

    def __init__(self, settings: ServeSettings, pool: EncoderDeployment | None = None) -> None:
        configure_replica_log(settings.logs)
        self._encoders = EncoderPool(settings)
        self._pinned = ModelUpdates(self._encoders, serves=pool.serves if pool else None)
        self._tracer = service_tracer()
        self._batch_metrics = BatchMetrics()
        self._metrics, self._cost = MetricPublisher(MODELS), MetricPublisher(COST)
        self._dollars_per_s = ((pool and pool.replicas.dollars_per_hour) or 0.0) / 3600.0
        self._began = time.monotonic()
        self._batches_seen = 0
        self._progress_s = time.monotonic()

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Load the pinned models; Serve calls this at the start and on change."""
        await self._pinned.apply(user_config)

    async def describe(self, model: ModelSettings) -> ModelInfo:
        """Return the facts of a model that other stages need; load the model if necessary."""
        info = await self._encoders.describe(model)
        await self._announce()
        return info

    async def stats(self) -> ReplicaStats[EncoderStats]:
        """Return the state and the statistics of every model of this replica."""
        return ReplicaStats(replica_id(), self._encoders.stats())

    async def encode(
        self,
        model: ModelSettings,
        tokens: TokenBatch,
        priority: Priority,
        deadline: Deadline,
        requests: tuple[SpanContext, ...] = (),
    ) -> Encoded:
        """Return float32[n, width], pooled, not normalized, in input order; and the load.

        ``requests`` are the spans of the traced requests that the tokens belong to.
        """
        encoders = self._encoders
        with serving(sent_requests(self._tracer, requests)):
            encoded = await encoders.encode(model, tokens, priority=priority, deadline=deadline)
        await self._announce()
        return replace(encoded, load=encoders.replica_load(replica_id(), model))

    async def _announce(self) -> None:
        """Let Serve send further calls for this call's model to this replica."""
        if name := serve.get_multiplexed_model_id():
            await self._announced(name)

    @serve.multiplexed(max_num_models_per_replica=-1)  # type: ignore[untyped-decorator]
    async def _announced(self, name: str) -> str:
        # Serve caches only the returned name; `EncoderPool` keeps the models, by bytes.
        return name

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the queued tokens and the rates; Serve reports them to the controller."""
        work = self._encoders.work
        return {
            QUEUED: work.queued_tokens,
            RATE: work.tokens_per_s,
            INITIAL_RATE: self._encoders.tuned_tokens_per_s,
        }

    def _publish(self) -> None:
        self._batch_metrics.publish(self._encoders.loaded.values())
        for name, loads in self._encoders.load_stats().items():
            self._metrics.publish(loads.numbers(), name)
        dollars = self._dollars_per_s * (time.monotonic() - self._began)
        self._cost.publish({"dollars": dollars})

    async def check_health(self) -> None:
        """Unload idle models, and fail if batches are pending and none has ended for `STUCK_S`.

        Publish the metrics as well.

        An idle replica computes a batch of one token, so that a broken device is noticed.

        Raises:
            RuntimeError: no batch has ended for `STUCK_S`.
        """
        encoders = self._encoders
        self._publish()
        await encoders.unload_idle()
        if encoders.idle:
            await encoders.probe()
        now, ended = time.monotonic(), encoders.batches
        if encoders.idle or ended != self._batches_seen:
            self._batches_seen, self._progress_s = ended, now
        elif now - self._progress_s > STUCK_S:
            raise RuntimeError(f"no batch has ended for {now - self._progress_s:.0f} s")
