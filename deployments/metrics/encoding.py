"""Metrics of the encoders: batches, devices, models and what they cost."""

from __future__ import annotations

from deployments.metrics.definition import (
    ENCODER,
    INGRESS,
    TOKENIZER,
    counter,
    gauge,
    histogram,
    published_by,
)
from embedder.measurements.histogram import LOAD_SECONDS, SIZES, TOKENS

BATCHES = published_by(
    (ENCODER, INGRESS),
    histogram(
        "embedder_batch_inputs", "batch_inputs", "inputs of a batch", "model", boundaries=SIZES
    ),
    histogram(
        "embedder_batch_tokens",
        "batch_tokens",
        "tokens of a batch, without padding; the rate of its sum is the tokens per second",
        "model",
        boundaries=TOKENS,
    ),
    histogram("embedder_batch_seconds", "batch_seconds", "time of a batch on the device", "model"),
    counter(
        "embedder_batch_padding_tokens",
        "padding",
        "tokens of padding in batches; the packing efficiency is the tokens divided by tokens and "
        "padding",
        "model",
    ),
    gauge(
        "embedder_batch_budget_tokens",
        "budget_tokens",
        "tokens that a batch may have now, which is less than configured while memory is short",
        "model",
    ),
    counter("embedder_batch_failures", "failed", "batches that failed, and were divided", "model"),
    counter(
        "embedder_batch_out_of_memory",
        "out_of_memory",
        "batches for which the device had too little memory",
        "model",
    ),
    counter(
        "embedder_dropped_inputs",
        "dropped",
        "inputs that were not computed, because no request waited for them any longer",
        "model",
    ),
    counter(
        "embedder_device_busy_seconds", "busy_s", "time in which a batch was computed", "model"
    ),
    gauge("embedder_encoder_waiting_inputs", "waiting", "inputs that wait for a batch", "model"),
    gauge(
        "embedder_encoder_waiting_tokens", "waiting_tokens", "tokens that wait for a batch", "model"
    ),
    gauge(
        "embedder_encoder_oldest_seconds",
        "oldest_s",
        "age of the oldest input that waits for a batch, 0 if none waits",
        "model",
    ),
)
"""Metrics of each model's encoder: those of the replicas, and one in an ingress on a CPU."""

MODELS = published_by(
    (ENCODER, TOKENIZER),
    histogram(
        "embedder_model_load_seconds",
        "load_seconds",
        "time of a load that succeeded; its count is the number of loads",
        "model",
        boundaries=LOAD_SECONDS,
    ),
    counter("embedder_model_load_failures", "load_failures", "loads that failed", "model"),
    gauge("embedder_model_loaded", "loaded", "1 if the model is loaded, else 0", "model"),
    gauge("embedder_model_bytes", "bytes", "bytes of the weights of a loaded model", "model"),
)
"""Metrics of the models that a replica has or has had."""

COST = published_by(
    ENCODER,
    counter(
        "embedder_cost_dollars",
        "dollars",
        "price of the time of this replica, where its pool has a dollars_per_hour; divided by the "
        "sum of embedder_batch_tokens it is the price of a token",
    ),
)
"""What the replicas of a pool with a configured price cost."""
