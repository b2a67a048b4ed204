"""The composition root: builds the Serve application from the arguments of serve_config.yaml."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.context import _get_global_client

from deployments.autoscaling.configuration import autoscaling_config
from deployments.cache.replica import CacheReplica
from deployments.encoder.replica import EncoderReplica
from deployments.index.replica import IndexReplica
from deployments.ingress.deployment import IngressReplica
from deployments.launch.actor_options import (
    actor_options,
    replica_resources,
    routed_in_own_loop,
)
from deployments.launch.exposure import check_machines
from deployments.launch.pinning import check_pinned
from deployments.launch.preflight import load_arguments
from deployments.launch.services.instances import MARK_VARIABLE, report_to_starter
from deployments.launch.sizing import (
    ClusterResources,
    missing_resources,
    pool_settings,
    resolve_auto,
)
from deployments.settings.encoders import EncoderDeployment
from deployments.settings.service import ServeSettings
from deployments.settings.stages import ReplicaSettings, StageSettings
from deployments.tokenizer.replica import TokenizerReplica
from embedder.core.errors import ConfigurationError, EmbedderError
from embedder.measurements.host import usable_cores

logger = logging.getLogger("ray.serve")

HEALTH_CHECK_PERIOD_S = 5
HEALTH_CHECK_TIMEOUT_S = 5
"""Serve kills a replica that leaves three checks in a row unanswered: a hung one after 15 to 20 s.
That is long for a busy replica, and short for requests that wait up to 60 s."""

STATEFUL_CHECK_PERIOD_S = 1


def build(args: dict[str, Any]) -> Application:
    """Return the application for these arguments of serve_config.yaml.

    Raises:
        ConfigurationError: an argument is unknown or out of its bounds; or `embedder serve` started
            Ray, and the machine lacks resources; or as `check_machines` and `check_pinned`.
    """
    try:
        settings = resolve_auto(load_arguments(args).settings, _cluster_resources())
        _check_exposure(settings)
        _check_files(settings)
        _check_resources(settings)
    except EmbedderError as error:
        report_to_starter(str(error))
        raise
    models = settings.served.model_dump(mode="json")
    tokenizer = _stateless(TokenizerReplica, "Tokenizer", settings.tokenizer, models).bind(settings)
    encoders = {
        pool.deployment: _pool(pool, settings, models) for pool in settings.encoder.deployments
    }
    caches = {
        name: _stateful(CacheReplica, name, settings.embedding_cache).bind(settings, name)
        for name in (f"EmbeddingCache-{shard}" for shard in range(settings.cache.shards))
    }
    indexes = {
        name: _shard(name, settings).bind(settings, name)
        for name in (f"VectorIndex-{shard}" for shard in range(settings.index.shards))
    }
    options = routed_in_own_loop(actor_options(settings.ingress))
    ingress = _stateless(IngressReplica, "Ingress", settings.ingress, models)
    return ingress.options(ray_actor_options=options).bind(
        settings, tokenizer=tokenizer, encoders=encoders, caches=caches, indexes=indexes
    )


def _cluster_resources() -> ClusterResources:
    """Return the cluster's resources, or this process's where Ray does not run."""
    if not ray.is_initialized():
        return ClusterResources(cpus=usable_cores())
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return ClusterResources(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0))


def _check_exposure(settings: ServeSettings) -> None:
    """Refuse a service open to callers without a key, or out of reach of its own cluster."""
    if not ray.is_initialized():
        return
    cpus: Counter[str] = Counter()
    for node in _alive_nodes():
        cpus[node["NodeManagerAddress"]] += node["Resources"].get("CPU", 0.0)
    client = _get_global_client(raise_if_no_controller_running=False)
    check_machines(
        cpus,
        host=None if client is None else client.http_config.host,
        has_keys=settings.requires_keys,
        haproxy=os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1",
        tls=client is not None and client.http_config.ssl_certfile is not None,
    )


def _check_files(settings: ServeSettings) -> None:
    """Refuse an index in files that a restarted replica may not find again."""
    in_files = settings.index.url is None and settings.data_directory is not None
    if in_files and ray.is_initialized():
        stage = settings.vector_index
        check_pinned(_alive_nodes(), stage.resources, stage.label_selector)


def _alive_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _check_resources(settings: ServeSettings) -> None:
    """Refuse replicas that this Ray can never place; if its cluster may grow, only warn."""
    if not ray.is_initialized():
        return
    scaled: dict[str, StageSettings] = {
        "Ingress": settings.ingress,
        "Tokenizer": settings.tokenizer,
        **{pool.deployment: pool.replicas for pool in settings.encoder.deployments},
    }
    wanted = {
        name: (stage.min_replicas, replica_resources(stage)) for name, stage in scaled.items()
    }
    wanted["EmbeddingCache"] = (settings.cache.shards, replica_resources(settings.embedding_cache))
    replicas = settings.index.shards * settings.vector_index.min_replicas
    wanted["VectorIndex"] = (replicas, replica_resources(settings.vector_index))
    resources = {name for _, replica in wanted.values() for name in replica}
    problem = missing_resources(
        wanted,
        [
            {name: amount for name, amount in node["Resources"].items() if name in resources}
            for node in _alive_nodes()
        ],
    )
    if problem is None:
        return
    if MARK_VARIABLE in os.environ:
        raise ConfigurationError(problem)
    logger.warning("%s; replicas wait until there are more nodes", problem)


def _stateless(
    kind: type,
    name: str,
    stage: StageSettings,
    models: dict[str, Any],
    overflow: Sequence[str] = (),
) -> serve.Deployment:
    """Return a deployment that holds models; ``overflow`` names those that can do its work."""
    batches = kind is EncoderReplica
    return _scaled(kind, name, stage, batches=batches, overflow=overflow, user_config=models)


def _pool(pool: EncoderDeployment, settings: ServeSettings, models: dict[str, Any]) -> Application:
    """Return the encoders of one pool; pools that share models with it can do its work."""
    others = (one for one in settings.encoder.deployments if one is not pool)
    overflow = [one.deployment for one in others if pool.shares_models(one)]
    deployment = _stateless(EncoderReplica, pool.deployment, pool.replicas, models, overflow)
    return deployment.bind(pool_settings(settings, pool), pool)


def _shard(name: str, settings: ServeSettings) -> serve.Deployment:
    """Return a shard of the index, which scales if its points are in a database."""
    stage = settings.vector_index
    if settings.index.url is None:
        return _stateful(IndexReplica, name, stage)
    period_s = STATEFUL_CHECK_PERIOD_S
    return _scaled(IndexReplica, name, stage, batches=True, health_check_period_s=period_s)


def _scaled(
    kind: type,
    name: str,
    stage: StageSettings,
    *,
    batches: bool,
    overflow: Sequence[str] = (),
    **options: Any,
) -> serve.Deployment:
    return _deployment(
        kind,
        name,
        stage,
        autoscaling_config=autoscaling_config(stage, batches=batches, overflow=overflow),
        max_replicas_per_node=stage.max_replicas_per_node,
        max_surge_percent=stage.max_surge_percent,
        **options,
    )


def _stateful(kind: type, name: str, stage: ReplicaSettings) -> serve.Deployment:
    """Return a deployment of exactly one replica, because a second would have a state of its own.

    No other replica can answer while it is down, so its health is checked more often.
    """
    period_s = STATEFUL_CHECK_PERIOD_S
    return _deployment(kind, name, stage, num_replicas=1, health_check_period_s=period_s)


def _deployment(kind: type, name: str, stage: ReplicaSettings, **options: Any) -> serve.Deployment:
    defaults: dict[str, Any] = {
        "ray_actor_options": actor_options(stage),
        # The ingress limits concurrent calls and tokens; a second limit here could stall it.
        "max_ongoing_requests": 10_000,
        "graceful_shutdown_timeout_s": 20,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
        **options,
    }
    return serve.deployment(name=name, **defaults)(kind)
