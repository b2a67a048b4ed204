"""What an operator is told: the shapes, and how they follow from what the parts say of themselves.

No path, no host and no text of a client is in them; the log has what is hidden here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, computed_field

from deployments.ingress.service.replicas import Problem
from deployments.rpc.replica_name import ReplicaStats
from embedder.cache.store.circuit_breaker import CircuitState
from embedder.index.contract.points import Metric
from embedder.inference.encoder_pool import EncoderStats
from embedder.inference.residency import ModelState, State
from embedder.models.catalogue import model_names
from embedder.pipeline.admission_control import AdmissionStats
from embedder.settings.model import ModelSettings

T = TypeVar("T")

NOT_LOADED = "it could not be loaded; the log says why"


class _Told(BaseModel):
    """A shape that is filled from a record of the same fields."""

    model_config = ConfigDict(from_attributes=True)


class Cache(_Told):
    """A cache of vectors: counters since its start, and what it holds."""

    entries: int
    bytes: int
    max_bytes: int
    hits: int
    misses: int
    expired: int = Field(description="entries whose time was over")
    evicted: int = Field(description="entries that made room for others")
    rejected: int = Field(description="entries too large to be kept")
    age_s: float | None = Field(description="since the oldest entry was put here")

    @computed_field(description="null before anything was looked up")  # type: ignore[prop-decorator]
    @property
    def hit_ratio(self) -> float | None:
        """Return the share of lookups that found something."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


class NearCache(Cache):
    """The cache inside one ingress replica."""

    replica: str


class CacheStore(_Told):
    """What a shard keeps its entries in, beside its memory."""

    state: str
    dirty: int = Field(description="changes that are not written yet")
    written: int
    failures: int = Field(description="writes that were refused; they are tried again")
    corrupt: int = Field(description="damaged rows that were dropped")
    set_aside: int = Field(description="damaged or foreign files that were renamed")
    last_write_age_s: float | None


class CacheShard(Cache):
    """One shard of the cache that all ingress replicas share; ``store`` is null without one."""

    shard: str
    store: CacheStore | None


class FarCache(_Told):
    """What this ingress has seen of one shard."""

    name: str
    circuit: CircuitState
    failures: int = Field(description="calls that came to nothing in time; each was a miss")
    opened: int = Field(description="how often it failed so often that it was left alone")
    pending: int = Field(description="inserts on their way")


class Backlog(_Told):
    """What waits or is computed for one ingress; ``tokens_per_s`` is null until it is measured."""

    queued_tokens: dict[str, int] = Field(description="by priority")
    tokens_per_s: float | None
    predicted_wait_s: float = Field(description="of interactive work that would come at once")
    admitted: int
    refused: int
    returned: int = Field(description="admitted ones that had been told to come back")
    booked_tokens: int = Field(description="awaited from those who were told to come back")


class Queue(_Told):
    """Work that waits for threads, or queries for the shards of the index."""

    name: str
    waiting: int = Field(description="admitted, and not started yet")
    running: int
    refused: int = Field(description="how often work was refused, since the start")


class Ingress(_Told):
    """The ingress replica that answers; every count is its own, since its start."""

    replica: str = Field(description="as Serve's logs and dashboard call it")
    uptime_s: float
    in_flight: int = Field(description="requests in progress, this one included")
    tasks: int = Field(description="tasks of its event loop")
    answers: dict[str, int] = Field(description="by status")
    abandoned: int = Field(description="requests whose client had gone")
    flights: int = Field(description="inputs that are being computed, over all models")
    backlog: Backlog
    queues: list[Queue]
    near_cache: NearCache
    shards: list[FarCache] = Field(description="what it has seen of the cache's shards")


class Batches(_Told):
    """What a device has computed with one model."""

    batches: int
    items: int
    tokens: int
    failed: int
    dropped: int = Field(description="inputs whose caller had gone, or whose time was over")
    bisections: int
    out_of_memory: int
    budget_tokens: int = Field(description="tokens that one batch may hold at this moment")
    largest_batch_tokens: int
    busy_s: float


class ServedModel(_Told):
    """One model that clients may name, as the ingress replica that answers sees it."""

    name: str
    state: str
    problem: str | None
    waiting: int = Field(description="inputs that wait to be sent to an encoder")
    in_ingress: Batches | None = Field(
        description="what this ingress has encoded itself; null where it has no encoder"
    )


class LoadedModel(_Told):
    """One model inside one replica."""

    name: str
    state: State
    bytes: int
    in_use: int
    pinned: bool
    idle_s: float | None
    loading_s: float | None
    load_s: float | None = Field(description="what its load took")
    problem: str | None


class EncoderModel(LoadedModel):
    """One model inside one encoder; ``batching`` is null unless it is loaded."""

    waiting: int
    batching: Batches | None


class Encoder(_Told):
    """One encoder replica."""

    replica: str
    models: list[EncoderModel]


class Tokenizer(_Told):
    """One tokenizer replica."""

    replica: str
    models: list[LoadedModel]
    queues: list[Queue]


class Collection(_Told):
    """One collection of the index."""

    name: str
    metric: Metric
    width: int | None
    count: int
    sequence: int


class Recovery(_Told):
    """How the last start of a shard went; ``replayed`` points were read anew from the truth."""

    seconds: float
    points: int
    replayed: int
    was_clean: bool


class IndexShard(_Told):
    """One shard of the index."""

    shard: str
    status: str = Field(description="ready, degraded, read_only or failed")
    problem: str | None = Field(
        description="which collections are damaged, or why the shard is not ready; and the remedy"
    )
    collections: int
    points: int
    damaged_snapshots: int = Field(description="set aside, and made again from the truth")
    save_failures: int = Field(description="snapshots that could not be written")
    recovery: Recovery
    queues: list[Queue]


class Stats(BaseModel):
    """The whole service at this moment."""

    ingress: Ingress
    models: list[ServedModel]
    encoders: list[Encoder | Problem]
    tokenizers: list[Tokenizer | Problem]
    caches: list[CacheShard | Problem]
    indexes: list[IndexShard | Problem]
    collections: list[Collection] | Problem


class Caches(BaseModel):
    """The caches of all ingress replicas, and the shards of the one that they share."""

    near: list[NearCache | Problem]
    shards: list[CacheShard | Problem]


class Cleared(BaseModel):
    """How many entries are forgotten; one that several caches held counts in each."""

    cleared: int


def told(answers: Sequence[Any], shape: Callable[[Any], T]) -> list[T | Problem]:
    """Return the answers of a stage's replicas in their shape; a problem is one already."""
    return [one if isinstance(one, Problem) else shape(one) for one in answers]


def backlog(stats: AdmissionStats) -> Backlog:
    """Return what is told of a backlog."""
    queued = {priority.name.lower(): tokens for priority, tokens in stats.queued_tokens.items()}
    fields = {name: getattr(stats, name) for name in Backlog.model_fields}
    return Backlog(**{**fields, "queued_tokens": queued})


def encoder(stats: ReplicaStats[EncoderStats]) -> Encoder:
    """Return what is told of an encoder replica."""
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
    """Return what is told of a tokenizer replica."""
    models = [LoadedModel(**_loaded(one)) for one in stats.models]
    queues = [Queue.model_validate(one) for one in stats.queues]
    return Tokenizer(replica=stats.replica, models=models, queues=queues)


def _loaded(state: ModelState[str]) -> dict[str, Any]:
    fields = {one: getattr(state, one) for one in LoadedModel.model_fields if hasattr(state, one)}
    name = model_names(ModelSettings.model_validate_json(state.key))[0]
    return {**fields, "name": name, "problem": NOT_LOADED if state.error else None}
