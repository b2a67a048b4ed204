"""All settings of the service: the library's settings, and those of the deployments."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from deployments.settings.access import ApiKey
from deployments.settings.limits import IngressLimits
from deployments.settings.models import ModelList
from deployments.settings.stages import EncoderStage, IngressStage, ReplicaSettings, TokenizerStage
from deployments.settings.storage import ServedCacheSettings, ServedIndexSettings
from embedder.settings.model import EmbedderSettings, ModelSettings


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
    vector_index: ReplicaSettings = ReplicaSettings()

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
        }
        for name, path in stated.items():
            if path is not None and not path.startswith(("/", "~/")):
                raise ValueError(f"{name} is {path!r}: must be absolute, or begin with ~/")
        return self

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        """Refuse two keys with the same name or the same digest."""
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in keys]
            if len(set(values)) < len(values):
                raise ValueError(f"several keys have the same {field}")
        return keys

    @property
    def served(self) -> ModelList:
        """Return the models that are served if ``user_config`` lists none."""
        return ModelList(models=(self.model, *self.further_models))
