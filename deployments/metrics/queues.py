"""Metrics of queues of threads, and of calls between the stages."""

from __future__ import annotations

from deployments.metrics.definition import (
    INDEX,
    INGRESS,
    TOKENIZER,
    counter,
    gauge,
    published_by,
)

QUEUES = published_by(
    (INGRESS, TOKENIZER, INDEX),
    gauge("embedder_queue_waiting", "waiting", "admitted work that has not started", "queue"),
    gauge("embedder_queue_running", "running", "work that runs", "queue"),
    gauge(
        "embedder_queue_oldest_seconds",
        "oldest_s",
        "age of the oldest work that has not started, 0 if none waits",
        "queue",
    ),
    counter("embedder_queue_refused", "refused", "work that would have waited too long", "queue"),
)
"""Metrics of each queue of an ingress replica, a tokenizer replica and an index shard."""

CALLS = published_by(
    INGRESS,
    counter(
        "embedder_call_retries",
        "retries",
        "calls to a stage that were repeated, because their replica was lost",
        "stage",
    ),
    counter(
        "embedder_call_copies",
        "copies",
        "calls to a stage that were sent again, because they were late",
        "stage",
    ),
)
"""Metrics of an ingress replica about its calls to the other stages."""
