"""The composition root: the only file that knows the whole graph.

`build` validates the arguments of serve_config.yaml, binds the deployments and returns the
application. Knows nothing of what the stages compute.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.schema import LoggingConfig

from deployments.cache.replica import CacheReplica
from deployments.encoder.replica import EncoderReplica
from deployments.index.replica import IndexReplica
from deployments.ingress.deployment import Ingress
from deployments.launch.preflight import load_arguments
from deployments.launch.services import MARK_VARIABLE, report_to_starter
from deployments.launch.sizing import ClusterResources, decided, lacking
from deployments.settings.service import ServeSettings
from deployments.settings.stages import ReplicaSettings, StageSettings
from deployments.tokenizer.replica import TokenizerReplica
from embedder.core.errors import ConfigurationError, EmbedderError
from embedder.core.host import usable_cores

logger = logging.getLogger("ray.serve")

HEALTH_CHECK_PERIOD_S = 5
HEALTH_CHECK_TIMEOUT_S = 10
"""Noticed dead within seconds; a slow answer under load is not yet a dead replica."""


def build(args: dict[str, Any]) -> Application:
    """Return the application for these arguments of serve_config.yaml.

    Raises:
        ConfigurationError: an argument is unknown or out of its bounds; or it was `embedder serve`
            that started Ray, and its machine has not the resources.
    """
    try:
        settings = decided(load_arguments(args).settings, _machine())
        _check_room(settings)
    except EmbedderError as error:
        report_to_starter(str(error))
        raise
    models = settings.served.model_dump(mode="json")
    tokenizer = _stateless(TokenizerReplica, "Tokenizer", settings.tokenizer, models).bind(settings)
    encoder = _stateless(EncoderReplica, "Encoder", settings.encoder, models).bind(settings)
    caches = {
        name: _stateful(CacheReplica, name, settings.embedding_cache).bind(settings, name)
        for name in (f"EmbeddingCache-{shard}" for shard in range(settings.cache.shards))
    }
    indexes = {
        name: _stateful(IndexReplica, name, settings.vector_index).bind(settings, name)
        for name in (f"VectorIndex-{shard}" for shard in range(settings.index.shards))
    }
    ingress = _stateless(Ingress, "Ingress", settings.ingress, models)
    ingress = ingress.options(ray_actor_options=_in_its_loop(_resources(settings.ingress)))
    return ingress.bind(
        settings, tokenizer=tokenizer, encoder=encoder, caches=caches, indexes=indexes
    )


def _machine() -> ClusterResources:
    """Return what the cluster has, or this process where Ray does not run, as in local testing."""
    if not ray.is_initialized():
        return ClusterResources(cpus=usable_cores())
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return ClusterResources(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0))


def _check_room(settings: ServeSettings) -> None:
    """Refuse what this Ray could never place, at once; where it may grow, only warn."""
    if not ray.is_initialized():
        return
    scaled = {
        "Ingress": settings.ingress,
        "Tokenizer": settings.tokenizer,
        "Encoder": settings.encoder,
    }
    wanted = {name: (stage.min_replicas, _taken(stage)) for name, stage in scaled.items()}
    wanted["EmbeddingCache"] = (settings.cache.shards, _taken(settings.embedding_cache))
    wanted["VectorIndex"] = (settings.index.shards, _taken(settings.vector_index))
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    known = {name for _, replica in wanted.values() for name in replica}
    problem = lacking(
        wanted,
        [
            {name: amount for name, amount in node["Resources"].items() if name in known}
            for node in nodes
            if node["Alive"]
        ],
    )
    if problem is None:
        return
    if MARK_VARIABLE in os.environ:
        raise ConfigurationError(problem)
    logger.warning("%s; replicas wait until there are more nodes", problem)


def _taken(stage: ReplicaSettings) -> dict[str, float]:
    """Return what one replica books, by the names of Ray's resources."""
    options = _resources(stage)
    gpus = {"GPU": options["num_gpus"]} if "num_gpus" in options else {}
    return {"CPU": options["num_cpus"], **gpus, **options.get("resources", {})}


def _stateless(
    kind: type, name: str, stage: StageSettings, models: dict[str, Any]
) -> serve.Deployment:
    return _deployment(
        kind,
        name,
        stage,
        user_config=models,
        autoscaling_config={
            "min_replicas": stage.min_replicas,
            "max_replicas": stage.max_replicas,
            "target_ongoing_requests": stage.target_ongoing_requests,
            "upscale_delay_s": stage.upscale_delay_s,
            "downscale_delay_s": stage.downscale_delay_s,
        },
    )


def _stateful(kind: type, name: str, stage: ReplicaSettings) -> serve.Deployment:
    """One replica that owns its state; a second would hold another state.

    Nobody stands in for it, so its death is looked for often.
    """
    return _deployment(kind, name, stage, num_replicas=1, health_check_period_s=1)


def _deployment(kind: type, name: str, stage: ReplicaSettings, **options: Any) -> serve.Deployment:
    given: dict[str, Any] = {
        "ray_actor_options": _resources(stage),
        # Work is bounded in flights and tokens by the ingress; a bound in calls would stall it.
        "max_ongoing_requests": 10_000,
        "graceful_shutdown_timeout_s": 20,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
        "logging_config": LoggingConfig(enable_access_log=False),
        **options,
    }
    return serve.deployment(name=name, **given)(kind)


def _in_its_loop(actor_options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of an actor whose calls to other deployments run in its own event loop.

    That saves a change of threads for each call. Throughput mode does it for every process of the
    cluster, and those without a loop could then not call; so it is turned off for them.
    """
    if os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED") != "1":
        return actor_options
    variables = {"RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"}
    return {**actor_options, "runtime_env": {"env_vars": variables}}


def _resources(stage: ReplicaSettings) -> dict[str, Any]:
    resources: dict[str, Any] = {"num_cpus": stage.num_cpus}
    if stage.hardware == "gpu":
        resources["num_gpus"] = stage.num_gpus
    if stage.resources:
        resources["resources"] = stage.resources
    return resources
