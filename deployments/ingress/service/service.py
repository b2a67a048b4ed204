"""The service of one ingress replica: pipelines over handles, the caches and the index."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from deployments.encoder.remote_pool import RemotePool
from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.middleware.accepted_keys import AcceptedKeys
from deployments.ingress.middleware.large_bodies import LargeBodies
from deployments.ingress.middleware.request_stats import RequestStats
from deployments.ingress.service.caches import IngressCaches
from deployments.ingress.service.connection import Connection, Connector
from deployments.ingress.service.model_calls import ModelCalls
from deployments.ingress.service.models import ServedModels
from deployments.ingress.service.numeric_work import NumericWork
from deployments.ingress.service.readiness import Readiness, StageProbe, readiness
from deployments.ingress.service.replicas import Handles, Replicas
from deployments.ingress.service.reports.ingress_metrics import IngressMetrics
from deployments.ingress.service.reports.scaling_report import (
    ScalingReport,
    other_queues,
    pool_queues,
)
from deployments.ingress.service.reports.token_usage import TokenUsage
from deployments.ingress.service.reservation_exchange import ReservationExchange
from deployments.ingress.service.search_admission import SearchAdmission
from deployments.rpc.replica_name import replica_id
from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from embedder.core.deadline import Deadline
from embedder.core.outputs import Tasks
from embedder.measurements.pipeline import PipelineStats
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.threads import QueueStats, summed

logger = logging.getLogger("ray.serve")


class Service(ModelCalls):
    """What the routes and the handle of one ingress replica call."""

    def __init__(self, settings: ServeSettings, handles: Handles) -> None:
        self.settings = settings
        self.replica = replica_id()
        self.keys = AcceptedKeys(settings)
        self.request_stats = RequestStats()
        self.admission = AdmissionControl(settings.limits)
        self.reservations = ReservationExchange(self.admission, handles.ingress, self.replica)
        self.large_bodies = LargeBodies(settings.limits.max_wait_s)
        self.numeric_work = NumericWork(settings.limits.max_wait_s)
        self.replicas = Replicas(handles)
        self.cache_names, self.index_names = tuple(handles.caches), tuple(handles.indexes)
        self.pipeline_stats = PipelineStats()
        self.index = RemoteIndex(
            handles.indexes,
            settings.limits.max_response_bytes,
            settings.vector_index.calls_per_replica,
            self.pipeline_stats.stage_seconds["index"],
        )
        self.search_admission = SearchAdmission(self.index, AdmissionControl(settings.limits))
        self.caches = IngressCaches(settings.cache, handles.caches)
        self.encoder_pools = [
            RemotePool(pool, handles.encoders[pool.deployment], self.admission.answered)
            for pool in settings.encoder.deployments
        ]
        connect = Connector(
            settings,
            handles.tokenizer,
            self.encoder_pools,
            self.caches,
            self.admission,
            self.pipeline_stats,
        )
        self.models: ServedModels[Connection] = ServedModels(connect)
        self.token_usage = TokenUsage(self.keys)
        self.handle_calls = 0
        self._scaling = ScalingReport()
        self._metrics = IngressMetrics(
            self.request_stats, self.token_usage, self.admission, self.pipeline_stats
        )
        self._probe = StageProbe(handles, self.encoder_pools)

    def configure(self, user_config: Mapping[str, Any], tasks: Sequence[Tasks | None] = ()) -> None:
        """Serve the models of a ``user_config``; requests in progress end on their model.

        ``tasks`` are those of each model by its files, as in `ServedModels.configure`.

        Raises:
            pydantic.ValidationError: it is not a list of models, and no model is served yet.
        """
        try:
            models = ModelList.model_validate(user_config).models
        except ValidationError as error:
            if not self.models.states():
                raise
            logger.error("user_config is wrong, the models stay as they are: %s", error)
            return
        self.models.configure(models, tasks)

    def deadline(self, timeout_s: float | None) -> Deadline:
        """Return the deadline of a call by handle, at most ``request_timeout_s`` from now."""
        limit_s = self.settings.limits.request_timeout_s
        return Deadline.after(limit_s if timeout_s is None else min(timeout_s, limit_s))

    def run_maintenance(self) -> None:
        """Publish metrics, count the ingresses, connect to pools, and announce loaded models."""
        self.reservations.run_maintenance()
        connections = self.models.serving()
        self._metrics.publish([one.name for one in self.models.states()], connections)
        self._metrics.publish_queues(self.queues, [pool.stats for pool in self.encoder_pools])
        for connection in connections:
            connection.encoder.refresh()
        self.caches.run_maintenance(connection.info for connection in connections)

    def scaling_report(self) -> dict[str, float]:
        """Return what this ingress reports for scaling since its last report."""
        stats = self.request_stats
        answered = stats.requests.total() + stats.abandoned + self.handle_calls
        tokenizers = [connection.tokenizer for connection in self.models.serving()]
        return self._scaling.take(
            arrived=answered + stats.in_flight,
            answered=answered,
            encoders=pool_queues(self.encoder_pools),
            others=other_queues(tokenizers, self.index.shards),
            refused_tokens=self.admission.refused_tokens,
            returned_tokens=self.admission.returned_tokens,
        )

    @property
    def queues(self) -> list[QueueStats]:
        """Return the statistics of the queues for threads and for the index shards."""
        tokenizers = [connection.colocated_tokenizer for connection in self.models.serving()]
        return [
            self.large_bodies.stats,
            *self.numeric_work.queues,
            self.search_admission.queue,
            summed("tokenizer", [one.queue for one in tokenizers if one is not None]),
        ]

    async def readiness(self) -> Readiness:
        """Return which capabilities can be used; probes share calls to the stages."""
        states = await self._probe.states()
        default = self.models.state(None)
        pools = [one.deployment for one in self.encoder_pools if one.serves(default.settings)]
        return readiness(
            states,
            default,
            self.caches.shared.states,
            self.index_names,
            pools,
            keys_problem=self.keys.problem,
        )
