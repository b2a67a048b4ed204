"""The metrics of one ingress replica: requests, tokens, admission, and its calls to the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

from deployments.encoder.batch_metrics import BatchMetrics
from deployments.encoder.remote_pool import PoolStats
from deployments.ingress.middleware.request_stats import PRIORITIES, RequestStats
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.reports.token_usage import TokenUsage
from deployments.metrics.publisher import MetricPublisher
from deployments.metrics.queues import CALLS, QUEUES
from deployments.metrics.requests import ADMISSION, BUILD, PIPELINE, REQUESTS
from deployments.metrics.scaling import ENCODER_POOLS
from deployments.rpc.call_stats import CALL_STATS
from embedder.inference.local import LocalEncoder
from embedder.measurements.pipeline import PipelineStats
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.threads import QueueStats

VERSION = version("embedder")


class IngressMetrics:
    """Publishes the counters of one ingress replica; ``pipeline`` is that of all its models."""

    def __init__(
        self,
        requests: RequestStats,
        usage: TokenUsage,
        admission: AdmissionControl,
        pipeline: PipelineStats,
    ) -> None:
        self._requests = requests
        self._usage = usage
        self._admission = admission
        self._pipeline = pipeline
        self._batches = BatchMetrics()
        self._queues, self._pools = MetricPublisher(QUEUES), MetricPublisher(ENCODER_POOLS)
        self._publisher = MetricPublisher((*REQUESTS, *BUILD, *PIPELINE, *ADMISSION, *CALLS))

    def publish_queues(self, queues: Sequence[QueueStats], pools: Sequence[PoolStats]) -> None:
        """Publish the numbers of each queue and of each pool of encoders."""
        self._queues.publish_queues(queues)
        for pool in pools:
            self._pools.publish(asdict(pool), pool.deployment)

    def publish(self, models: Sequence[str], connections: Sequence[Connection]) -> None:
        """Publish all numbers; ``models`` are the names of the served models."""
        self._usage.expect(models)
        requests, admission = self._requests, self._admission.stats
        queued = admission.queued_tokens
        builds = [(VERSION, one.info.name, one.info.revision) for one in connections]
        self._publisher.publish(
            {
                "answers": requests.requests,
                "seconds": requests.seconds,
                "errors": requests.errors,
                "abandoned": requests.abandoned,
                "in_flight": requests.in_flight,
                "build": dict.fromkeys(builds, 1),
                "tokens": self._usage.tokens,
                "inputs": self._pipeline.inputs,
                "stage_seconds": self._pipeline.stage_seconds,
                "refusals": self._admission.refusals,
                "returned": admission.returned,
                "queued_tokens": {PRIORITIES[priority]: queued[priority] for priority in queued},
                "reserved_tokens": admission.reserved_tokens,
                "predicted_wait_s": admission.predicted_wait_s,
                "wait_error": self._admission.wait_errors,
                "retries": CALL_STATS.retries,
                "copies": CALL_STATS.copies,
            }
        )
        colocated = [one.colocated_encoder for one in connections]
        local = [one.local for one in colocated if one is not None]
        self._batches.publish(one for one in local if isinstance(one, LocalEncoder))
