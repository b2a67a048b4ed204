"""Metrics of the requests: what an ingress answers, refuses, admits and computes."""

from __future__ import annotations

from deployments.metrics.definition import INGRESS, counter, gauge, histogram, published_by

REQUESTS = published_by(
    INGRESS,
    counter(
        "embedder_requests",
        "answers",
        "requests answered, by the method and the path that the API declares, the HTTP status, the "
        "model that embedded and the priority; other: no route; none: no model",
        "method",
        "route",
        "status",
        "model",
        "priority",
    ),
    histogram(
        "embedder_request_seconds",
        "seconds",
        "time from the head of a request to the start of its response",
        "method",
        "route",
    ),
    counter("embedder_errors", "errors", "requests answered with an error, by its code", "code"),
    counter("embedder_abandoned_requests", "abandoned", "requests whose client went away"),
    gauge("embedder_requests_in_flight", "in_flight", "requests that are being answered"),
)
"""Metrics of every HTTP request."""

PIPELINE = published_by(
    INGRESS,
    counter(
        "embedder_tokens",
        "tokens",
        "tokens of answered inputs, cached ones included, by model and by the name of the API key",
        "model",
        "key",
    ),
    counter(
        "embedder_inputs",
        "inputs",
        "distinct inputs of requests, by where the vector came from: local_cache, shared_cache, "
        "joined (a computation that another request had started) or computed",
        "source",
    ),
    histogram(
        "embedder_stage_seconds",
        "stage_seconds",
        "time of a request in a stage: cache (a lookup in the shards), tokenize, queue (the wait "
        "for a batch), encode (the batch), or index (the calls of a request to the shards)",
        "stage",
    ),
)
"""Metrics of the way from texts to vectors."""

ADMISSION = published_by(
    INGRESS,
    counter(
        "embedder_refusals",
        "refusals",
        "requests refused before work started: wait (it would be too long) or queue (too many "
        "tokens are queued)",
        "reason",
    ),
    counter(
        "embedder_returned_requests",
        "returned",
        "admitted requests that had been refused before, and came back at their time",
    ),
    gauge("embedder_queued_tokens", "queued_tokens", "tokens queued or computed", "priority"),
    gauge(
        "embedder_reserved_tokens",
        "reserved_tokens",
        "tokens of refused requests for which capacity is reserved",
    ),
    gauge(
        "embedder_predicted_wait_seconds",
        "predicted_wait_s",
        "wait that is predicted for an interactive request that comes now",
    ),
    histogram(
        "embedder_predicted_wait_error_seconds",
        "wait_error",
        "difference between the wait of a computation and its prediction at admission: longer or "
        "shorter than predicted",
        "direction",
    ),
)
"""Metrics of admission control."""

BUILD = published_by(
    INGRESS,
    gauge(
        "embedder_build_info",
        "build",
        "always 1, for each served model that has loaded",
        "version",
        "model",
        "revision",
    ),
)
"""The version of the service, and the models that it serves."""
