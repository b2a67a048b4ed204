"""The catalogue: every metric of the service, in the order of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployments.metrics.cache import CACHE, CACHE_STORE, SHARED_CACHE
from deployments.metrics.definition import MetricDefinition
from deployments.metrics.encoding import BATCHES, COST, MODELS
from deployments.metrics.index import INDEX, INDEX_STORE
from deployments.metrics.queues import CALLS, QUEUES
from deployments.metrics.requests import ADMISSION, BUILD, PIPELINE, REQUESTS
from deployments.metrics.scaling import ENCODER_POOLS, SCALING

SUBJECTS: Mapping[str, Sequence[MetricDefinition]] = {
    "Requests": (*REQUESTS, *BUILD),
    "From texts to vectors": PIPELINE,
    "Admission": ADMISSION,
    "Batches and devices": BATCHES,
    "Models": (*MODELS, *COST),
    "Cache": (*CACHE, *CACHE_STORE, *SHARED_CACHE),
    "Index": (*INDEX, *INDEX_STORE),
    "Queues and calls": (*QUEUES, *CALLS),
    "Pools and scaling": (*ENCODER_POOLS, *SCALING),
}

CATALOGUE: tuple[MetricDefinition, ...] = tuple(
    metric for metrics in SUBJECTS.values() for metric in metrics
)
