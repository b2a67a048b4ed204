"""Settings that depend on the cluster: the hardware of each stage and the number of encoders.

Pure functions of the settings and of the cluster's resources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deployments.settings.encoders import EncoderDeployment, EncoderReplicas
from deployments.settings.service import ServeSettings
from deployments.settings.stages import ReplicaSettings
from embedder.settings.model import BackendSettings

EncodersT = TypeVar("EncodersT", bound=EncoderReplicas)

GPU_CALLS_PER_REPLICA = 2
"""Concurrent calls per encoder on a GPU, so that the next batch arrives before it is needed. On a
CPU core a batch takes much longer than a call, so waiting for a larger batch is faster."""


@dataclass(frozen=True, slots=True)
class ClusterResources:
    """The CPU cores and GPUs of the cluster; fractions are allowed."""

    cpus: float
    gpus: float = 0.0


def resolve_auto(settings: ServeSettings, cluster: ClusterResources) -> ServeSettings:
    """Return the settings with every ``auto`` that depends on the cluster replaced by its value.

    The encoder's device follows its hardware. On CPUs an encoder computes with one thread, unless
    the settings say otherwise: the threads of one batch wait for each other when another process
    preempts one of them, but replicas do not; and the replicas of a node share weights.
    """
    hardware = "gpu" if cluster.gpus > 0 else "cpu"
    changes: dict[str, object] = {
        name: stage.model_copy(update={"hardware": hardware})
        for name, stage in settings
        if isinstance(stage, ReplicaSettings) and stage.hardware == "auto"
    }
    settings = settings.model_copy(update=changes)
    ingress, encoder, backend = settings.ingress, settings.encoder, settings.backend
    if encoder.pools:  # `pool_settings` decides for each of them
        pools = tuple(_sized(pool, pool.replicas) for pool in encoder.pools)
        encoder = encoder.model_copy(update={"pools": pools})
        return settings.model_copy(update={"encoder": encoder})
    backend = _backend(backend, encoder.hardware)
    bounds = {"min_replicas", "max_replicas"} & ingress.model_fields_set
    count = _encoders_that_fit(settings, cluster)
    if encoder.placement == "colocated" and backend.device == "cpu" and not bounds:
        ingress = ingress.model_copy(update={"min_replicas": count, "max_replicas": count})
    replicas = encoder.replicas
    if replicas == "auto":
        replicas = count if encoder.hardware == "cpu" else None
    encoder = _sized(encoder, replicas)
    return settings.model_copy(update={"encoder": encoder, "ingress": ingress, "backend": backend})


def pool_settings(settings: ServeSettings, pool: EncoderDeployment) -> ServeSettings:
    """Return the settings of the replicas of a pool; ``settings`` come from `resolve_auto`."""
    backend = _backend(settings.backend, pool.replicas.hardware)
    return settings.model_copy(update={"backend": backend})


def missing_resources(
    wanted: Mapping[str, tuple[int, Mapping[str, float]]], nodes: Sequence[Mapping[str, float]]
) -> str | None:
    """Return a sentence about the resources that the nodes lack, or None if they have enough.

    ``wanted`` has the minimum number of replicas of each deployment, and the resources of one. A
    deployment without a minimum may wait for nodes that have them.
    """
    available = "; ".join(_listed(node) for node in nodes) or "none"
    for name, (count, replica) in wanted.items():
        if count and not any(_fits(node, replica) for node in nodes):
            return f"a replica of {name} takes {_listed(replica)}; no node has that ({available})"
    total: Counter[str] = Counter()
    for count, replica in wanted.values():
        total.update({resource: count * amount for resource, amount in replica.items()})
    cluster: Counter[str] = Counter()
    for node in nodes:
        cluster.update(node)
    if _fits(cluster, total):
        return None
    each = ", ".join(f"{name} {n} x {_listed(replica)}" for name, (n, replica) in wanted.items())
    return f"the deployments take {_listed(total)} in all ({each}); the nodes have {available}"


def _fits(node: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(node.get(name, 0) >= amount - 1e-6 for name, amount in wanted.items())


def _listed(resources: Mapping[str, float]) -> str:
    return " ".join(f"{amount:g} {name}" for name, amount in resources.items()) or "nothing"


def _backend(backend: BackendSettings, hardware: str) -> BackendSettings:
    """Return the settings of a backend that computes on this hardware."""
    if backend.device == "auto":
        device = "cuda" if hardware == "gpu" else "cpu"
        backend = backend.model_copy(update={"device": device})
    if backend.device != "cpu":
        return backend
    # For several processes on one node's cores.
    defaults: dict[str, object] = {"threads": 1, "shared_weights": True}
    missing = {name: value for name, value in defaults.items() if getattr(backend, name) is None}
    return backend.model_copy(update=missing)


def _sized(stage: EncodersT, replicas: int | None) -> EncodersT:
    """Return encoders with a fixed number of replicas, if one is given, and calls for them."""
    changes: dict[str, object] = {}
    if stage.hardware == "gpu" and "calls_per_replica" not in stage.model_fields_set:
        changes["calls_per_replica"] = GPU_CALLS_PER_REPLICA
    if replicas is not None:
        changes |= {"min_replicas": replicas, "max_replicas": replicas}
    return stage.model_copy(update=changes)


def _encoders_that_fit(settings: ServeSettings, cluster: ClusterResources) -> int:
    """Return the number of encoders that fit beside the CPUs that other stages may reserve."""
    others = sum(
        stage.num_cpus * stage.max_replicas for stage in (settings.ingress, settings.tokenizer)
    )
    others += settings.embedding_cache.num_cpus * settings.cache.shards
    index = settings.vector_index
    others += index.num_cpus * index.max_replicas * settings.index.shards
    fitting = (cluster.cpus - others) / max(settings.encoder.num_cpus, 1e-9)
    return max(1, int(min(cluster.cpus, fitting)))
