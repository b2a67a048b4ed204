"""The settings of the library: one frozen tree, unknown keys refused, every limit with its name.

Knows nothing of Ray: `deployments.settings` extends this tree with what the graph needs. Reads no
environment and no file: `settings_sources` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)

from embedder.settings.presets import PRESETS, PresetName, fill_in

PoolingName = Literal["mean", "cls", "max", "last", "weighted_mean", "mean_sqrt_len"]
DtypeName = Literal["float32", "bfloat16", "float16", "int8"]

REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class Settings(BaseModel):
    """Base of every node of the tree.

    Errors do not show what was given, which may hold a password; `settings_sources` shows the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ModelSettings(Settings):
    """Which model is served, and what of its own configuration is overridden."""

    name: str = Field(
        "all-MiniLM-L6-v2",
        min_length=1,
        description="alias of the catalogue, a directory, or a repository with its revision",
    )
    alias: str | None = Field(
        None, min_length=1, description="what clients call it; None: as the catalogue or its folder"
    )
    revision: str | None = Field(
        None, pattern=r"^[0-9a-f]{40}$", description="commit; None: as the catalogue pins"
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of the weights; None: as the catalogue pins"
    )
    pooling: PoolingName | None = Field(None, description="None: as the model's files say")
    max_tokens: int | None = Field(
        None, ge=1, description="tokens per input; None: as the model's files say"
    )
    matryoshka: tuple[PositiveInt, ...] | None = Field(
        None, description="widths that answers may be cut to; None: as the catalogue says"
    )
    prompts: dict[str, str] = Field(
        {}, description="texts put in front of inputs, by name; they go before the model's own"
    )
    default_prompt: str | None = Field(
        None, description="name of the prompt used where a request names none"
    )
    offline: bool = Field(False, description="never ask the hub, even while starting")
    pinned: bool = Field(False, description="keep it loaded, whatever else is asked for")

    @property
    def key(self) -> str:
        """Return a text that is the same for all settings that load and describe the same."""
        return self.model_dump_json(exclude={"offline", "pinned"})


class BackendSettings(Settings):
    """What computes the model, and in which number format."""

    name: Literal["auto", "torch", "onnx"] = Field(
        "auto", description="auto: torch where it has the architecture, else onnx"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    dtype: Literal["auto"] | DtypeName = Field(
        "auto",
        description="auto: bfloat16 (on an older GPU float16) where a probe agrees, else float32",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads of one process; None: as the process was started"
    )
    cache_dir: str | None = Field(
        None,
        description="exported models and shared weights are kept here; None: embedder/ in the "
        "user's cache",
    )
    shared_weights: bool | None = Field(
        None,
        description="whether processes that compute on CPUs of one node hold the weights in files "
        "that all of them map into memory; None: those of a service do",
    )


class BatchSettings(Settings):
    """What one batch may hold."""

    max_tokens: int | None = Field(
        None, ge=1, description="tokens per batch; None: found by measuring while loading"
    )
    tune_s: float = Field(
        2.0, ge=0, description="seconds of measuring; 0: 2,048 tokens on a CPU, 32,768 on a GPU"
    )
    max_items: int = Field(1024, ge=1, description="inputs per batch")
    bulk_delay_s: float = Field(
        1.0, ge=0, description="how much longer bulk work waits than interactive work"
    )


class LimitSettings(Settings):
    """What one request may hold, and what all may that wait; more is refused."""

    max_inputs: int = Field(2048, ge=1, description="inputs per request")
    max_characters: int = Field(
        122_880,
        ge=1,
        description="characters per input, unless the request says which end of it to cut",
    )
    max_request_tokens: int = Field(
        300_000, ge=1, description="tokens per request that are not in the cache"
    )
    max_queued_tokens: int = Field(
        600_000, ge=1, description="tokens that wait or are computed for one ingress"
    )
    max_wait_s: float = Field(
        0.5,
        gt=0,
        description="seconds that a request may be predicted to wait for others before it is told "
        "to come back",
    )
    max_wait_many_s: float = Field(
        10.0, gt=0, description="the same for a request of 32 inputs or more"
    )


class CacheSettings(Settings):
    """How much the cache in one process may hold, for how long, and where it is saved."""

    max_bytes: int = Field(256 * 2**20, ge=0, description="0 turns the cache off")
    ttl_s: float | None = Field(
        None, gt=0, description="seconds that an entry is given back for; None: no end"
    )
    directory: str | None = Field(
        None,
        min_length=1,
        description="a service keeps entries here between runs; None: in its data_directory. One "
        "process without a service keeps them in memory only",
    )
    autosave_s: float = Field(
        1.0, gt=0, description="seconds after which new entries are saved; a crash loses no more"
    )
    autosave_entries: int = Field(
        10_000, ge=1, description="so many new entries are saved without waiting for autosave_s"
    )
    url: SecretStr | None = Field(
        None,
        description="a Redis or Valkey that a service shares with others, in place of directory; "
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


class IndexSettings(Settings):
    """Where one shard of the index lives, and how it trades memory, speed and restarts."""

    directory: str | None = Field(
        None, min_length=1, description="what is stored lives here; None: until the process ends"
    )
    recovery_s: float = Field(
        5.0, gt=0, description="how long a start may take after a crash; snapshots are made for it"
    )
    delta_rows: int = Field(
        4096, ge=1, description="new points that are searched one by one before they are sealed"
    )
    max_dead: float = Field(
        0.2, gt=0, le=0.3, description="share of deleted points that has a segment rewritten"
    )
    max_queued_bytes: int = Field(
        64 * 2**20, ge=1, description="bytes of points that wait to be written; more are refused"
    )
    reserve_bytes: int = Field(
        32 << 20,
        ge=0,
        description="disk held back, so that a full disk refuses no deletes and no start; twice "
        "the log of changes, and at most an eighth of the disk",
    )
    min_indexed_rows: int = Field(
        2000, ge=1, description="smaller segments are flat, whatever the kind of the collection"
    )
    auto_hnsw_rows: int = Field(
        50_000, ge=1, description="segments of kind auto become HNSW graphs from here on"
    )
    hnsw_links: int = Field(32, ge=4, le=128, description="M of HNSW graphs that are built")
    hnsw_build_effort: int = Field(
        100, ge=8, le=1000, description="efConstruction of HNSW graphs that are built"
    )
    hnsw_search_effort: int = Field(
        64, ge=8, le=4096, description="efSearch at least; twice top_k where that is more"
    )
    ivf_probes: int | None = Field(
        None, ge=1, description="inverted lists read by a query; None: an eighth of them"
    )
    search_threads: int = Field(
        1, ge=1, description="FAISS threads of one search; several searches run side by side"
    )
    build_threads: int = Field(1, ge=1, description="FAISS threads that build a segment")


class PoolSettings(Settings):
    """How many models one process keeps loaded."""

    max_bytes: int | None = Field(
        None, ge=1, description="bytes of all loaded models; None: no bound"
    )
    idle_unload_s: float | None = Field(
        900.0, gt=0, description="unload a model that is not pinned after this; None: never"
    )


class EmbedderSettings(Settings):
    """Everything the library can be told."""

    preset: PresetName = Field("balanced", description="fills in what is not said elsewhere")
    model: ModelSettings = ModelSettings()
    backend: BackendSettings = BackendSettings()
    batching: BatchSettings = BatchSettings()
    limits: LimitSettings = LimitSettings()
    cache: CacheSettings = CacheSettings()
    pool: PoolSettings = PoolSettings()
    index: IndexSettings = IndexSettings()

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        # Whatever is no name of a preset is refused later, with all that is wrong beside it.
        preset = next((name for name in PRESETS if name == given.get("preset")), None)
        return given if preset is None else fill_in(preset, given)
