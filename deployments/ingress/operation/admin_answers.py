"""The bodies of responses to operators, and their conversion from the records of the stages.

They hold no paths, no hosts and no texts of clients; the log has the details.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from deployments.ingress.operation.cache_answers import CacheShard, FarCache, FromRecord, NearCache
from deployments.ingress.service.replicas import Problem
from deployments.rpc.replica_name import ReplicaStats
from embedder.index.contract.points import Metric
from embedder.inference.encoder_pool import EncoderStats
from embedder.inference.residency import ModelState, State
from embedder.models.catalogue import model_names
from embedder.pipeline.admission_control import AdmissionStats
from embedder.settings.model import ModelSettings

T = TypeVar("T")

NOT_LOADED = "it could not be loaded; the log says why"


class Backlog(FromRecord):
    """Admission control of one ingress; ``tokens_per_s`` is null until it is measured."""

    queued_tokens: dict[str, int] = Field(description="by priority")
    tokens_per_s: float | None
    predicted_wait_s: float = Field(description="predicted for interactive work that arrives now")
    admitted: int
    refused: int
    returned: int = Field(description="admitted requests that had been refused before")
    booked_tokens: int = Field(
        description="reserved for refused requests that are expected to return"
    )


class Queue(FromRecord):
    """A queue for threads or for the index shards."""

    name: str
    waiting: int = Field(description="admitted and not started")
    running: int
    refused: int = Field(description="refused since the start")


class Ingress(FromRecord):
    """The ingress replica that answers; it counts its own requests since its start."""

    replica: str = Field(description="the name in Serve's logs and dashboard")
    uptime_s: float
    in_flight: int = Field(description="requests in progress, including this one")
    tasks: int = Field(description="tasks of its event loop")
    answers: dict[str, int] = Field(description="by status")
    abandoned: int = Field(description="requests whose client disconnected")
    flights: int = Field(description="inputs that are being computed, of all models")
    backlog: Backlog
    queues: list[Queue]
    near_cache: NearCache
    shards: list[FarCache] = Field(description="the state of the cache shards in this replica")


class Batches(FromRecord):
    """The batches of one model on one device."""

    batches: int
    items: int
    tokens: int
    failed: int
    dropped: int = Field(description="inputs that were cancelled or past their deadline")
    bisections: int
    out_of_memory: int
    budget_tokens: int = Field(description="present limit of tokens in a batch")
    largest_batch_tokens: int
    busy_s: float


class ServedModel(FromRecord):
    """One served model, in the ingress replica that answers."""

    name: str
    state: str
    problem: str | None
    waiting: int = Field(description="inputs that wait for an encoder")
    in_ingress: Batches | None = Field(
        description="batches encoded in this ingress; null if it has no encoder"
    )


class LoadedModel(FromRecord):
    """One model in one replica."""

    name: str
    state: State
    bytes: int
    in_use: int
    pinned: bool
    idle_s: float | None
    loading_s: float | None
    load_s: float | None = Field(description="duration of the load")
    problem: str | None


class EncoderModel(LoadedModel):
    """One model in one encoder replica; ``batching`` is null unless it is loaded."""

    waiting: int
    batching: Batches | None


class Encoder(FromRecord):
    """One encoder replica."""

    replica: str
    models: list[EncoderModel]


class Tokenizer(FromRecord):
    """One tokenizer replica."""

    replica: str
    models: list[LoadedModel]
    queues: list[Queue]


class Collection(FromRecord):
    """One collection of the index."""

    name: str
    metric: Metric
    width: int | None
    count: int
    sequence: int


class Recovery(FromRecord):
    """The last start of a shard; ``replayed`` points were read from the store."""

    seconds: float
    points: int
    replayed: int
    was_clean: bool


class IndexShard(FromRecord):
    """One shard of the index."""

    shard: str
    status: str = Field(description="ready, degraded, read_only or failed")
    problem: str | None = Field(
        description="the damaged collections, or why the shard is not ready, and the remedy"
    )
    collections: int
    points: int
    damaged_snapshots: int = Field(description="renamed, and built again from the store")
    save_failures: int = Field(description="failed writes of snapshots")
    recovery: Recovery
    queues: list[Queue]


class Stats(BaseModel):
    """The statistics of the whole service."""

    ingress: Ingress
    models: list[ServedModel]
    encoders: list[Encoder | Problem]
    tokenizers: list[Tokenizer | Problem]
    caches: list[CacheShard | Problem]
    indexes: list[IndexShard | Problem]
    collections: list[Collection] | Problem


def converted(answers: Sequence[Any], shape: Callable[[Any], T]) -> list[T | Problem]:
    """Return the answers of replicas as bodies; problems stay as they are."""
    return [one if isinstance(one, Problem) else shape(one) for one in answers]


def backlog(stats: AdmissionStats) -> Backlog:
    """Return the statistics of admission control."""
    queued = {priority.name.lower(): tokens for priority, tokens in stats.queued_tokens.items()}
    fields = {name: getattr(stats, name) for name in Backlog.model_fields}
    return Backlog(**{**fields, "queued_tokens": queued})


def encoder(stats: ReplicaStats[EncoderStats]) -> Encoder:
    """Return the statistics of an encoder replica."""
    models = [
        EncoderModel(
            **_loaded(one.model),
            waiting=one.waiting,
            batching=None if one.batching is None else Batches.model_validate(one.batching),
        )
        for one in stats.models
    ]
    return Encoder(replica=stats.replica, models=models)


def tokenizer(stats: ReplicaStats[ModelState[str]]) -> Tokenizer:
    """Return the statistics of a tokenizer replica."""
    models = [LoadedModel(**_loaded(one)) for one in stats.models]
    queues = [Queue.model_validate(one) for one in stats.queues]
    return Tokenizer(replica=stats.replica, models=models, queues=queues)


def _loaded(state: ModelState[str]) -> dict[str, Any]:
    fields = {one: getattr(state, one) for one in LoadedModel.model_fields if hasattr(state, one)}
    name = model_names(ModelSettings.model_validate_json(state.key))[0]
    return {**fields, "name": name, "problem": NOT_LOADED if state.error else None}
