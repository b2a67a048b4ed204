"""All settings of the service: the library's settings, three sections extended, and the stages."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from deployments.settings.access import ApiKey, check_keys
from deployments.settings.encoders import EncoderStage
from deployments.settings.logs import LogSettings
from deployments.settings.models import ModelList
from deployments.settings.stages import (
    IndexStage,
    IngressStage,
    ReplicaSettings,
    TokenizerStage,
)
from embedder.cache.fail_open import TIMEOUT_S
from embedder.settings.cache import CacheSettings
from embedder.settings.model import EmbedderSettings, IndexSettings, LimitSettings, ModelSettings


class IngressLimits(LimitSettings):
    """The limits of one HTTP request."""

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
    """The shared cache, sharded over deployments, and the local cache of each ingress replica."""

    shards: int = Field(
        1, ge=1, le=64, description="EmbeddingCache deployments, each of max_bytes bytes"
    )
    local_bytes: int = Field(
        32 * 2**20, ge=0, description="bytes of the local cache of each ingress replica"
    )
    timeout_s: float = Field(
        TIMEOUT_S, gt=0, description="seconds after which a lookup in a shard counts as a miss"
    )


class ServedIndexSettings(IndexSettings):
    """The index, sharded over deployments."""

    shards: int = Field(
        1,
        ge=1,
        le=64,
        description="VectorIndex deployments over which each collection is sharded; fixed once "
        "collections exist",
    )


class ServeSettings(EmbedderSettings):
    """The settings of the service: the library's settings, and those of the deployments."""

    further_models: tuple[ModelSettings, ...] = Field(
        (), description="served beside model; user_config of the deployments overrides both"
    )
    limits: IngressLimits = IngressLimits()
    cache: ServedCacheSettings = ServedCacheSettings()
    index: ServedIndexSettings = ServedIndexSettings()
    keys: tuple[ApiKey, ...] = Field(
        (), description="API keys of clients; without keys the service must listen on loopback"
    )
    keys_file: str | None = Field(
        None,
        min_length=1,
        description="a file with further keys, a list of such entries, which is read again when it "
        "changes; with it every request needs a key, whatever the file holds",
    )
    logs: LogSettings = LogSettings()
    cors_origins: tuple[str, ...] = Field(
        (), description="origins whose web pages may call the service; none: no CORS headers"
    )
    cors_private_network: bool = Field(
        False,
        description="let these pages call a service in a private network, for browsers that ask "
        "before such calls (Chrome)",
    )
    compress_bytes: int | None = Field(
        65_536,
        ge=1,
        description="JSON answers of at least so many bytes are compressed for clients that accept "
        "gzip, if that makes them much smaller; null: never",
    )
    data_directory: str | None = Field(
        "auto",
        min_length=1,
        description="folder of the cache's and the index's files, for one service only; auto: "
        "embedder/ in the user's data folder; null: no files",
    )
    load_timeout_s: float = Field(
        600.0, gt=0, description="seconds after which the load of a model fails"
    )
    ingress: IngressStage = IngressStage()
    tokenizer: TokenizerStage = TokenizerStage()
    encoder: EncoderStage = EncoderStage()
    embedding_cache: ReplicaSettings = ReplicaSettings()
    vector_index: IndexStage = IndexStage()

    @field_validator("data_directory")
    @classmethod
    def _check_directory(cls, stated: str | None) -> str | None:
        """Refuse a relative path, because each process of Ray has its own working directory."""
        if stated in (None, "auto") or str(stated).startswith(("/", "~/")):
            return stated
        raise ValueError("must be an absolute path, one that begins with ~/, auto or null")

    @model_validator(mode="after")
    def _check_directories(self) -> ServeSettings:
        """Refuse relative paths of the library's settings for the same reason."""
        stated = {
            "cache.directory": self.cache.directory,
            "backend.cache_dir": self.backend.cache_dir,
            "keys_file": self.keys_file,
        }
        for name, path in stated.items():
            if path is not None and not path.startswith(("/", "~/")):
                raise ValueError(f"{name} is {path!r}: must be absolute, or begin with ~/")
        return self

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        """Refuse too many keys, and two with the same name or the same digest."""
        check_keys(keys)
        return keys

    @model_validator(mode="after")
    def _check_pools(self) -> ServeSettings:
        """Refuse a GPU as device of the backend if a pool of encoders has none."""
        device = self.backend.device
        on_cpu = [pool.name for pool in self.encoder.pools if pool.hardware == "cpu"]
        if on_cpu and device not in ("auto", "cpu"):
            raise ValueError(
                f"backend.device is {device!r} and pool {on_cpu[0]!r} of encoder.pools computes on "
                "the CPU: leave backend.device out"
            )
        return self

    @model_validator(mode="after")
    def _check_index(self) -> ServeSettings:
        """Refuse several replicas of a shard that write one SQLite file."""
        most = self.vector_index.max_replicas
        if self.index.url is None and most > 1:
            raise ValueError(
                f"vector_index.max_replicas is {most}, but a shard in a SQLite file has one "
                "replica: set index.url to a PostgreSQL database, or max_replicas to 1"
            )
        return self

    @property
    def requires_keys(self) -> bool:
        """Return whether requests need a key; with a file they do even if it holds none."""
        return bool(self.keys) or self.keys_file is not None

    @property
    def served(self) -> ModelList:
        """Return the models that are served if ``user_config`` lists none."""
        return ModelList(models=(self.model, *self.further_models))

    @property
    def model_deployments(self) -> tuple[str, ...]:
        """Return the deployments whose ``user_config`` is the list of served models."""
        return ("Ingress", "Tokenizer", *(pool.deployment for pool in self.encoder.deployments))
