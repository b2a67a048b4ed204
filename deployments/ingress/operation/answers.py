"""The bodies of responses to operators, where they differ from the records of the stages.

They hold no paths, no hosts and no texts of clients; the log has the details.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, computed_field
from pydantic.dataclasses import dataclass

from deployments.encoder.remote_pool import PoolStats
from deployments.index.client import ShardStats
from deployments.ingress.service.replicas import Problem
from deployments.rpc.replica_name import ReplicaStats
from embedder.batching.batcher import BatcherStats
from embedder.cache.fail_open import SharedCacheState
from embedder.index.contract.points import Metric
from embedder.inference.encoder_pool import EncoderStats
from embedder.inference.residency import LoadState, ModelState
from embedder.measurements.cache import CacheStats
from embedder.models.catalogue import model_names
from embedder.pipeline.admission_control import AdmissionStats
from embedder.pipeline.threads import QueueStats
from embedder.settings.model import ModelSettings

T = TypeVar("T")

NOT_LOADED = "it could not be loaded; the log says why"


@dataclass(kw_only=True, config=ConfigDict(json_schema_serialization_defaults_required=True))
class Cache(CacheStats):
    """A cache of vectors: counters since its start, and what it holds."""

    max_bytes: int
    age_s: float | None = Field(description="age of the oldest entry")

    @computed_field(description="null before the first lookup")  # type: ignore[prop-decorator]
    @property
    def hit_ratio(self) -> float | None:
        """Return the share of lookups that found an entry."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


@dataclass(kw_only=True)
class LocalCache(Cache):
    """The cache inside one ingress replica.

    ``expired`` entries were too old, ``evicted`` ones made room, ``rejected`` ones were too large.
    """

    replica: str


class CacheStore(BaseModel):
    """The store on disk or in Redis behind a cache shard."""

    state: str
    dirty: int = Field(description="changes that have not been written")
    written: int
    failures: int = Field(description="failed writes, which are retried")
    corrupt: int = Field(description="damaged rows that were deleted")
    renamed_files: int = Field(description="damaged or foreign files that were renamed")
    last_write_age_s: float | None


@dataclass(kw_only=True)
class CacheShard(Cache):
    """One shard of the shared cache, counted as a `LocalCache`; ``store`` is null without one."""

    shard: str
    store: CacheStore | None


class Caches(BaseModel):
    """The local caches of all ingress replicas, and the shards of the shared cache."""

    local: list[LocalCache | Problem]
    shards: list[CacheShard | Problem]


class Cleared(BaseModel):
    """The number of removed entries; an entry in several caches counts in each."""

    cleared: int


class Ingress(BaseModel):
    """The ingress replica that answers; it counts its own requests since its start."""

    replica: str = Field(description="the name in Serve's logs and dashboard")
    uptime_s: float
    in_flight: int = Field(description="requests in progress, including this one")
    tasks: int = Field(description="tasks of its event loop")
    answers: dict[str, int] = Field(description="by status")
    abandoned: int = Field(description="requests whose client disconnected")
    in_flight_inputs: int = Field(description="inputs that are being computed, of all models")
    admission: AdmissionStats
    queues: list[QueueStats]
    local_cache: LocalCache
    shards: list[SharedCacheState] = Field(description="the cache shards as this replica sees them")


class ServedModel(BaseModel):
    """One served model, in the ingress replica that answers."""

    name: str
    state: str
    problem: str | None
    waiting: int = Field(description="inputs that wait for an encoder")
    colocated: BatcherStats | None = Field(
        description="batches encoded in this ingress; null if it has no encoder"
    )


class LoadedModel(BaseModel):
    """One model in one replica; ``load_s`` is the duration of the load."""

    name: str
    state: LoadState
    bytes: int
    in_use: int
    pinned: bool
    idle_s: float | None
    loading_s: float | None
    load_s: float | None
    problem: str | None


class EncoderModel(LoadedModel):
    """One model in one encoder replica; ``batching`` is null unless it is loaded."""

    waiting: int
    batching: BatcherStats | None


class Encoder(BaseModel):
    """One encoder replica."""

    deployment: str
    replica: str
    models: list[EncoderModel]


class Tokenizer(BaseModel):
    """One tokenizer replica."""

    replica: str
    models: list[LoadedModel]
    queues: list[QueueStats]


class Collection(BaseModel):
    """One collection of the index."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    metric: Metric
    width: int | None
    count: int
    sequence: int


class Stats(BaseModel):
    """The statistics of the whole service."""

    ingress: Ingress
    models: list[ServedModel]
    pools: list[PoolStats] = Field(description="the encoders as the replica that answers sees them")
    encoders: list[Encoder | Problem]
    tokenizers: list[Tokenizer | Problem]
    caches: list[CacheShard | Problem]
    indexes: list[ShardStats | Problem]
    collections: list[Collection] | Problem


local_cache = TypeAdapter(LocalCache).validate_python
cache_shard = TypeAdapter(CacheShard).validate_python


def converted(answers: Sequence[Any], shape: Callable[[Any], T]) -> list[T | Problem]:
    """Return the answers of replicas as bodies; problems stay as they are."""
    return [one if isinstance(one, Problem) else shape(one) for one in answers]


def encoder(deployment: str, stats: ReplicaStats[EncoderStats]) -> Encoder:
    """Return the statistics of an encoder replica of this deployment."""
    models = [
        EncoderModel(**_loaded(one.model), waiting=one.waiting, batching=one.batching)
        for one in stats.models
    ]
    return Encoder(deployment=deployment, replica=stats.replica, models=models)


def tokenizer(stats: ReplicaStats[ModelState[str]]) -> Tokenizer:
    """Return the statistics of a tokenizer replica."""
    models = [LoadedModel(**_loaded(one)) for one in stats.models]
    return Tokenizer(replica=stats.replica, models=models, queues=list(stats.queues))


def _loaded(state: ModelState[str]) -> dict[str, Any]:
    """Return the fields of `LoadedModel`; key and error may hold paths, so they are left out."""
    fields = {one: getattr(state, one) for one in LoadedModel.model_fields if hasattr(state, one)}
    name = model_names(ModelSettings.model_validate_json(state.key))[0]
    return {**fields, "name": name, "problem": NOT_LOADED if state.error else None}
