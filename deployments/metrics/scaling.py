"""Metrics of scaling: the pools of encoders, and the number of replicas of each stage."""

from __future__ import annotations

from deployments.metrics.definition import CONTROLLER, INGRESS, counter, gauge, published_by

SCALING = published_by(
    CONTROLLER,
    gauge("embedder_scaling_replicas", "running", "running replicas of a stage", "stage"),
    gauge("embedder_scaling_target", "target", "replicas that a stage is given", "stage"),
    gauge(
        "embedder_scaling_needed", "needed", "replicas that its load needs, not rounded", "stage"
    ),
    counter(
        "embedder_scaling_decisions",
        "decisions",
        "changes of the target of a stage: up or down",
        "stage",
        "direction",
    ),
    gauge(
        "embedder_scaling_arriving_per_second",
        "arriving_per_s",
        "work that arrives for a stage each second: tokens of an encoder, characters of the "
        "tokenizer, requests of the ingress; work that was refused included",
        "stage",
    ),
    gauge("embedder_scaling_queued", "queued", "work that waits or runs in a stage", "stage"),
    gauge(
        "embedder_scaling_overflow_per_second",
        "overflow_per_s",
        "work each second that other pools cannot do",
        "stage",
    ),
    gauge(
        "embedder_scaling_replica_per_second",
        "replica_per_s",
        "measured work each second of one busy replica of a stage",
        "stage",
    ),
)
"""Metrics of the controller, about the number of replicas of each stage and its reason."""

ENCODER_POOLS = published_by(
    INGRESS,
    gauge("embedder_pool_replicas", "replicas", "running encoders of a pool", "pool"),
    gauge(
        "embedder_pool_waiting_tokens",
        "waiting_tokens",
        "tokens that wait in this ingress for a pool of encoders",
        "pool",
    ),
    gauge(
        "embedder_pool_backlog_tokens",
        "backlog_tokens",
        "tokens that wait or run in a pool, of all callers, as this ingress estimates them",
        "pool",
    ),
    gauge(
        "embedder_pool_tokens_per_second",
        "tokens_per_s",
        "rate of all replicas of a pool, 0 while unknown",
        "pool",
    ),
    counter("embedder_pool_tokens", "added_tokens", "tokens that this ingress gave a pool", "pool"),
    counter(
        "embedder_pool_failures", "failures", "calls to a pool that failed; others got them", "pool"
    ),
)
"""Metrics of an ingress replica about each pool of encoders; ``pool`` is its deployment."""
