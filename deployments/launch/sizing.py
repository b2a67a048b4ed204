"""What is decided when the service is deployed: on what it runs, and how many encoders there are.

Pure functions of the settings and of what the cluster has. Knows nothing of Ray.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployments.settings.service import ServeSettings
from deployments.settings.stages import EncoderStage, ReplicaSettings
from embedder.settings.model import BackendSettings

GPU_CALLS_PER_REPLICA = 2
"""Calls in the air for each encoder on a GPU: the next batch is there before it is needed. A batch
of a core takes so much longer than a hop that a larger batch is the better use of the wait."""


@dataclass(frozen=True, slots=True)
class ClusterResources:
    """What there is to run on, in whole or part of cores and GPUs."""

    cpus: float
    gpus: float = 0.0


def decided(settings: ServeSettings, machine: ClusterResources) -> ServeSettings:
    """Return the settings without any ``auto`` that depends on the cluster.

    The encoder's device follows its hardware. On CPUs an encoder computes with one thread, unless
    the settings say otherwise: threads of one batch wait for each other wherever another process
    has pushed one of them off its core, and replicas do not; and those of a node share weights.
    """
    hardware = "gpu" if machine.gpus > 0 else "cpu"
    changes: dict[str, object] = {
        name: stage.model_copy(update={"hardware": hardware})
        for name, stage in settings
        if isinstance(stage, ReplicaSettings) and stage.hardware == "auto"
    }
    settings = settings.model_copy(update=changes)
    backend = settings.backend
    if backend.device == "auto":
        device = "cuda" if settings.encoder.hardware == "gpu" else "cpu"
        backend = backend.model_copy(update={"device": device})
    if backend.device == "cpu":
        backend = _on_cpus(backend)
    ingress, encoder = settings.ingress, _sized(settings, machine)
    if encoder.in_ingress == "all" and not ingress.model_fields_set & {
        "min_replicas",
        "max_replicas",
    }:
        count = _room(settings, machine)
        ingress = ingress.model_copy(update={"min_replicas": count, "max_replicas": count})
    return settings.model_copy(update={"backend": backend, "encoder": encoder, "ingress": ingress})


def lacking(
    wanted: Mapping[str, tuple[int, Mapping[str, float]]], nodes: Sequence[Mapping[str, float]]
) -> str | None:
    """Return in words which resources the nodes lack for the least number of replicas, or None.

    ``wanted`` has for each deployment that number, and what one replica of it takes.
    """
    there = "; ".join(_listed(node) for node in nodes) or "none"
    for name, (_, replica) in wanted.items():
        if not any(_holds(node, replica) for node in nodes):
            return f"a replica of {name} takes {_listed(replica)}; no node has that ({there})"
    total: Counter[str] = Counter()
    for count, replica in wanted.values():
        total.update({resource: count * amount for resource, amount in replica.items()})
    whole: Counter[str] = Counter()
    for node in nodes:
        whole.update(node)
    if _holds(whole, total):
        return None
    each = ", ".join(f"{name} {count} x {_listed(one)}" for name, (count, one) in wanted.items())
    return f"the deployments take {_listed(total)} in all ({each}); the nodes have {there}"


def _holds(node: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(node.get(name, 0) >= amount - 1e-6 for name, amount in wanted.items())


def _listed(resources: Mapping[str, float]) -> str:
    return " ".join(f"{amount:g} {name}" for name, amount in resources.items()) or "nothing"


def _on_cpus(backend: BackendSettings) -> BackendSettings:
    """Return what is meant for several processes on the cores of one node."""
    meant: dict[str, object] = {"threads": 1, "shared_weights": True}
    missing = {name: value for name, value in meant.items() if getattr(backend, name) is None}
    return backend.model_copy(update=missing)


def _sized(settings: ServeSettings, machine: ClusterResources) -> EncoderStage:
    """Return the encoder's stage with the replicas that ``auto`` or a number stands for."""
    stage = settings.encoder
    if stage.hardware == "gpu" and "flights_per_replica" not in stage.model_fields_set:
        stage = stage.model_copy(update={"flights_per_replica": GPU_CALLS_PER_REPLICA})
    if stage.replicas is None or (stage.replicas == "auto" and stage.hardware == "gpu"):
        return stage
    count = _room(settings, machine) if stage.replicas == "auto" else stage.replicas
    return stage.model_copy(update={"min_replicas": count, "max_replicas": count})


def _room(settings: ServeSettings, machine: ClusterResources) -> int:
    """Return for how many encoders there are cores, beside all that the other stages may book."""
    others = sum(
        stage.num_cpus * stage.max_replicas for stage in (settings.ingress, settings.tokenizer)
    )
    others += settings.embedding_cache.num_cpus * settings.cache.shards
    others += settings.vector_index.num_cpus * settings.index.shards
    bookable = (machine.cpus - others) / max(settings.encoder.num_cpus, 1e-9)
    return max(1, int(min(machine.cpus, bookable)))
