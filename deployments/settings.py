"""Everything that ``args:`` in serve_config.yaml may hold: the library's tree and the graph's.

Knows nothing of how deployments are made; `app` turns this into options.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from embedder.batching.slots import Slots
from embedder.cache.fail_open import TIMEOUT_S
from embedder.models.catalogue import names
from embedder.settings.model import (
    CacheSettings,
    EmbedderSettings,
    IndexSettings,
    LimitSettings,
    ModelSettings,
    Settings,
)

MODEL_DEPLOYMENTS = ("Ingress", "Tokenizer", "Encoder")
"""The deployments whose ``user_config`` is the list of served models."""


class ReplicaSettings(Settings):
    """What one replica of a deployment takes from its node."""

    num_cpus: float = Field(0.1, ge=0, description="logical CPUs that Ray books for a replica")
    hardware: Literal["auto", "cpu", "gpu"] = Field(
        "cpu", description="auto: a GPU where the cluster has one when the service is deployed"
    )
    num_gpus: float = Field(1.0, gt=0, description="GPUs, or a share of one, where on a GPU")
    resources: dict[str, float] = Field(
        {}, description="resources of Ray that its node must have: pins what is kept on a disk"
    )


class StageSettings(ReplicaSettings):
    """How a stateless deployment scales."""

    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(2, ge=1)
    target_ongoing_requests: float = Field(
        2.0, gt=0, description="calls in progress at each replica that autoscaling steers for"
    )
    upscale_delay_s: float = Field(5.0, ge=0)
    downscale_delay_s: float = Field(300.0, ge=0)
    flights_per_replica: int = Field(
        1, ge=1, description="calls of one ingress in the air for each replica there may be"
    )

    @model_validator(mode="after")
    def _ordered(self) -> StageSettings:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas is {self.min_replicas}, above max_replicas {self.max_replicas}"
            )
        return self

    def concurrent_calls(self, *, worth_tokens: int) -> Slots:
        """Return the calls to this stage that one ingress keeps in the air.

        One that comes on top of one for each replica holds ``worth_tokens`` at least.
        """
        count = self.flights_per_replica * self.max_replicas
        return Slots(count, eager=self.max_replicas, worth_tokens=worth_tokens)


class IngressStage(StageSettings):
    """How the ingress scales: it waits for others far more than it computes."""

    target_ongoing_requests: float = Field(400.0, gt=0, description="requests in progress at each")


class TokenizerStage(StageSettings):
    """How the tokenizer scales, and what never comes to it."""

    ingress_characters: int = Field(
        16_000,
        ge=0,
        description="the ingress itself tokenizes a request of so many characters or fewer: that "
        "takes less than asking for it; 0: none",
    )


class EncoderStage(StageSettings):
    """How the encoder scales: a core each, or a GPU where the cluster has one."""

    num_cpus: float = Field(0.5, ge=0, description="logical CPUs that Ray books for a replica")
    hardware: Literal["auto", "cpu", "gpu"] = "auto"
    replicas: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        "auto",
        description="auto: on CPUs one for each core that there is when the service is deployed, "
        "on GPUs min_replicas to max_replicas as calls come; null: so on CPUs too",
    )

    in_ingress: Literal["none", "idle", "all"] = Field(
        "idle",
        description="what an ingress on a CPU encodes itself, by the pinned models: idle: what "
        "comes while nothing is computed; all: everything, for one node without a GPU; then there "
        "is an ingress for each core, and the Encoder steps in where one fails",
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_to_calls(cls, given: Any) -> Any:
        """Let bounds that stand alone mean what they say on CPUs too."""
        bounds = {"min_replicas", "max_replicas"}
        if isinstance(given, Mapping) and "replicas" not in given and bounds & given.keys():
            return {**given, "replicas": None}
        return given

    @model_validator(mode="after")
    def _stated_once(self) -> EncoderStage:
        bounds = sorted({"min_replicas", "max_replicas"} & self.model_fields_set)
        if isinstance(self.replicas, int) and bounds:
            raise ValueError(f"replicas is {self.replicas}: leave {' and '.join(bounds)} out")
        return self


class ModelList(Settings):
    """The models that are served: what ``user_config`` of the deployments holds.

    Serve applies a changed ``user_config`` to running replicas, so a model is added, swapped or
    taken away without a restart. The first model answers where a request names none.
    """

    models: tuple[ModelSettings, ...] = Field(
        (ModelSettings(),), min_length=1, validate_default=True
    )

    @field_validator("models")
    @classmethod
    def _check(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        """Tell the models apart by name, and pin the first."""
        firsts = [names(model)[0] for model in models]
        twice = sorted({name for name in firsts if firsts.count(name) > 1})
        if twice:
            raise ValueError(f"several models are called {twice[0]!r}; give each an alias")
        return (models[0].model_copy(update={"pinned": True}), *models[1:])

    @property
    def pinned(self) -> tuple[ModelSettings, ...]:
        """Return the models that are always loaded: the first, and those that say so."""
        return tuple(model for model in self.models if model.pinned)


class Scope(str, Enum):
    """What a key may be used for; none includes another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ApiKey(Settings):
    """One key that clients may call with; `embedder key` makes one and prints these lines."""

    name: str = Field(min_length=1, description="what the operator calls it")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the key; the key is not kept")
    scopes: tuple[Scope, ...] = Field((Scope.READ,), min_length=1, description="what it may do")


class IngressLimits(LimitSettings):
    """What one request over HTTP may hold."""

    max_body_bytes: int = Field(16 * 2**20, ge=1, description="bytes of one request body")
    max_response_bytes: int = Field(
        128 * 2**20,
        ge=1,
        description="bytes of one answer, as estimated; room for 2,048 vectors of 4,096 numbers",
    )
    max_body_containers: int = Field(
        262_144, ge=1, description="lists and objects of JSON in one request body"
    )
    min_body_bytes_per_s: int = Field(
        1024, ge=0, description="a body that comes more slowly is refused, after body_grace_s"
    )
    body_grace_s: float = Field(
        10.0,
        gt=0,
        description="seconds until the first byte of a body must have come; then, seconds in which "
        "the rest may come at any pace",
    )
    max_points: int = Field(2048, ge=1, description="points per upsert")
    max_queries: int = Field(256, ge=1, description="queries per search")
    max_similarities: int = Field(
        1_000_000, ge=1, description="numbers in one matrix of similarities"
    )
    max_clusters: int = Field(1024, ge=1, description="clusters per request")
    request_timeout_s: float = Field(
        60.0, gt=0, description="seconds until a request is given up; x-request-timeout asks less"
    )


class ServedCacheSettings(CacheSettings):
    """How the cache is spread over the graph: shards that all share, and one in each ingress."""

    shards: int = Field(
        1, ge=1, le=64, description="EmbeddingCache deployments, each of max_bytes bytes"
    )
    near_bytes: int = Field(32 * 2**20, ge=0, description="the cache inside each ingress replica")
    timeout_s: float = Field(
        TIMEOUT_S, gt=0, description="a lookup in a shard that takes longer is a miss"
    )


class ServedIndexSettings(IndexSettings):
    """How the index is spread over the graph."""

    shards: int = Field(
        1,
        ge=1,
        le=64,
        description="VectorIndex deployments that each collection lies over; it cannot change "
        "once there are collections",
    )


class ServeSettings(EmbedderSettings):
    """The service: the library's settings, and how the graph runs."""

    further_models: tuple[ModelSettings, ...] = Field(
        (), description="served beside model; user_config of the deployments goes before both"
    )
    limits: IngressLimits = IngressLimits()
    cache: ServedCacheSettings = ServedCacheSettings()
    index: ServedIndexSettings = ServedIndexSettings()
    keys: tuple[ApiKey, ...] = Field(
        (), description="keys that clients must call with; without any, keep it on loopback"
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="origins whose web pages may call; none: no CORS headers"
    )
    cors_private_network: bool = Field(
        False,
        description="let these pages call although the service is in a private network, for "
        "browsers that ask before they do (Chrome)",
    )
    compress_bytes: int | None = Field(
        65_536,
        ge=1,
        description="JSON answers of so many bytes or more are compressed for clients that accept "
        "gzip, where that makes them much smaller; null: none",
    )
    data_directory: str | None = Field(
        "auto",
        min_length=1,
        description="what outlives a process is kept here, by one service only; auto: embedder/ in "
        "the user's data folder; null: nothing is kept",
    )
    load_timeout_s: float = Field(
        600.0, gt=0, description="seconds until the load of a model is given up"
    )
    ingress: IngressStage = IngressStage()
    tokenizer: TokenizerStage = TokenizerStage()
    encoder: EncoderStage = EncoderStage()
    embedding_cache: ReplicaSettings = ReplicaSettings()
    vector_index: ReplicaSettings = ReplicaSettings()

    @field_validator("data_directory")
    @classmethod
    def _check_directory(cls, stated: str | None) -> str | None:
        """Refuse a relative path: every process of Ray has a working directory of its own."""
        if stated in (None, "auto") or str(stated).startswith(("/", "~/")):
            return stated
        raise ValueError("must be an absolute path, one that begins with ~/, auto or null")

    @model_validator(mode="after")
    def _check_directories(self) -> ServeSettings:
        """Refuse relative paths of the library's settings for the same reason."""
        stated = {
            "cache.directory": self.cache.directory,
            "backend.cache_dir": self.backend.cache_dir,
        }
        for name, path in stated.items():
            if path is not None and not path.startswith(("/", "~/")):
                raise ValueError(f"{name} is {path!r}: must be absolute, or begin with ~/")
        return self

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        """Tell the keys apart by name and by digest."""
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in keys]
            if len(set(values)) < len(values):
                raise ValueError(f"several keys have the same {field}")
        return keys

    @property
    def served(self) -> ModelList:
        """Return the models that are served unless ``user_config`` says otherwise."""
        return ModelList(models=(self.model, *self.further_models))
