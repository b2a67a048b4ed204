"""The settings of the cache."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator, model_validator

from embedder.settings.tree import Settings

REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class CacheSettings(Settings):
    """The size of the cache of one process, the lifetime of entries, and where they are saved."""

    max_bytes: int = Field(256 * 2**20, ge=0, description="0 turns the cache off")
    ttl_s: float | None = Field(
        None, gt=0, description="lifetime of an entry in seconds; None: unlimited"
    )
    directory: str | None = Field(
        None,
        min_length=1,
        description="where a service keeps entries between runs; None: in its data_directory. "
        "Without a service entries are kept in memory only",
    )
    autosave_s: float = Field(
        1.0, gt=0, description="seconds after which new entries are saved; a crash loses no more"
    )
    autosave_entries: int = Field(
        10_000, ge=1, description="new entries that are saved without waiting for autosave_s"
    )
    url: SecretStr | None = Field(
        None,
        description="a Redis or Valkey that services share, in place of directory; "
        "redis://, rediss:// or unix://",
    )

    @field_validator("url")
    @classmethod
    def _is_of_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(REDIS_SCHEMES):
            raise ValueError(f"must begin with {', '.join(REDIS_SCHEMES)}")
        return url

    @model_validator(mode="after")
    def _one_place(self) -> CacheSettings:
        if self.directory is not None and self.url is not None:
            raise ValueError("directory and url are both set; entries are saved in one of them")
        return self
