"""The settings of the library: a frozen tree that refuses unknown keys.

`deployments.settings` extends it with the settings of the service, and `sources` loads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from embedder.core.outputs import OutputKind
from embedder.settings.cache import CacheSettings
from embedder.settings.index import IndexSettings as IndexSettings
from embedder.settings.presets import PRESETS, PresetName, fill_in
from embedder.settings.tree import Settings

PoolingName = Literal["mean", "cls", "max", "last", "weighted_mean", "mean_sqrt_len"]
DtypeName = Literal["float32", "bfloat16", "float16", "int8"]


class ModelSettings(Settings):
    """The served model, and overrides of the configuration in its files."""

    name: str = Field(
        "all-MiniLM-L6-v2",
        min_length=1,
        description="alias of the catalogue, a directory, or a repository with its revision",
    )
    alias: str | None = Field(
        None, min_length=1, description="name for clients; None: that of the catalogue or folder"
    )
    revision: str | None = Field(
        None, pattern=r"^[0-9a-f]{40}$", description="commit; None: as the catalogue pins"
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="of the weights; None: as the catalogue pins"
    )
    pooling: PoolingName | None = Field(None, description="None: as the model's files say")
    outputs: tuple[OutputKind, ...] | None = Field(
        None,
        min_length=1,
        description="of dense, scores, sparse and tokens (multi-vector), what is computed; None: "
        "all that the model's files describe",
    )
    max_tokens: int | None = Field(
        None, ge=1, description="tokens per input; None: as the model's files say"
    )
    matryoshka: tuple[PositiveInt, ...] | None = Field(
        None, description="widths that answers may be cut to; None: as the catalogue says"
    )
    prompts: dict[str, str] = Field(
        {}, description="prompts by name, in addition to those of the model, which they replace"
    )
    default_prompt: str | None = Field(
        None, description="name of the prompt for requests that name none"
    )
    offline: bool = Field(False, description="never ask the hub, even while starting")
    pinned: bool = Field(False, description="never unload it in favour of other models")

    @property
    def key(self) -> str:
        """Return a text that is equal for settings that load and describe the same model."""
        return self.model_dump_json(exclude={"offline", "pinned"})


class BackendSettings(Settings):
    """The backend that computes the model, its device and its number format."""

    name: Literal["auto", "torch", "onnx", "openvino"] = Field(
        "auto",
        description="auto: torch if it supports the architecture, else onnx; on a CPU openvino "
        "if it is installed and was measured to be faster",
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    dtype: Literal["auto"] | DtypeName = Field(
        "auto",
        description="auto: bfloat16 (on an older GPU float16) if close to float32, else float32",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads of one process; None: as the process was started"
    )
    cache_dir: str | None = Field(
        None,
        description="directory for exported models and shared weights; None: embedder/ in the "
        "user's cache",
    )
    shared_weights: bool | None = Field(
        None,
        description="processes on CPUs of one node map the same files of weights into memory, and "
        "use the batch budget that one of them measured; None: those of a service do",
    )


class BatchSettings(Settings):
    """The limits of one batch."""

    max_tokens: int | None = Field(
        None, ge=1, description="tokens per batch; None: found by measuring while loading"
    )
    autotune_s: float = Field(
        2.0, ge=0, description="seconds of measuring max_tokens; 0: 2,048 on a CPU, 32,768 on a GPU"
    )
    max_items: int = Field(1024, ge=1, description="inputs per batch")
    bulk_delay_s: float = Field(
        1.0, ge=0, description="seconds that bulk work waits longer than interactive work"
    )


class LimitSettings(Settings):
    """Limits of one request, and of all waiting requests; more is refused."""

    max_inputs: int = Field(2048, ge=1, description="inputs per request, or chunks of its texts")
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
        description="longest predicted wait for other requests, in seconds; beyond it a request is "
        "refused with Retry-After",
    )
    max_wait_many_s: float = Field(
        10.0, gt=0, description="the same for a request of 32 inputs or more"
    )


class PoolSettings(Settings):
    """Limits of the models that one process keeps loaded."""

    max_bytes: int | None = Field(
        None, ge=1, description="bytes of all loaded models; None: unlimited"
    )
    idle_unload_s: float | None = Field(
        900.0, gt=0, description="unload an idle model that is not pinned after this; None: never"
    )


class EmbedderSettings(Settings):
    """All settings of the library."""

    preset: PresetName = Field(
        "balanced", description="fills in settings that nothing else assigns"
    )
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
        # An invalid preset is refused later, together with all other problems.
        preset = next((name for name in PRESETS if name == given.get("preset")), None)
        return given if preset is None else fill_in(preset, given)
