"""The settings of the library: one frozen tree, unknown keys refused, every limit with its name.

Knows nothing of Ray: `deployments.settings` extends this tree with what the graph needs. Reads no
environment and no file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PoolingName = Literal["mean", "cls", "max", "last", "weighted_mean", "mean_sqrt_len"]


class Settings(BaseModel):
    """Base of every node of the tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(Settings):
    """Which model is served, and what of its own configuration is overridden."""

    name: str = Field(
        "all-MiniLM-L6-v2", min_length=1, description="alias of the catalogue, or a directory"
    )
    pooling: PoolingName | None = Field(None, description="None: as the model's files say")
    max_tokens: int | None = Field(
        None, ge=1, description="tokens per input; None: as the model's files say"
    )
    offline: bool = Field(False, description="never ask the hub, even while starting")


class BackendSettings(Settings):
    """What computes the model, and in which number format."""

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 where the hardware has it and a probe agrees"
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads of one process; None: as the process was started"
    )


class BatchSettings(Settings):
    """What one batch may hold."""

    max_tokens: int | None = Field(
        None, ge=1, description="tokens per batch; None: 2,048 on a CPU, 32,768 on a GPU"
    )
    max_items: int = Field(1024, ge=1, description="inputs per batch")
    bulk_delay_s: float = Field(
        1.0, ge=0, description="how much longer bulk work waits than interactive work"
    )


class LimitSettings(Settings):
    """What one request may hold; everything above is refused with the limit's name."""

    max_inputs: int = Field(2048, ge=1, description="inputs per request")
    max_characters: int = Field(122_880, ge=1, description="characters per input")
    max_request_tokens: int = Field(
        300_000, ge=1, description="tokens per request that are not in the cache"
    )


class CacheSettings(Settings):
    """How much the cache in one process may hold."""

    max_bytes: int = Field(256 * 2**20, ge=0, description="0 turns the cache off")


class EmbedderSettings(Settings):
    """Everything the library can be told."""

    model: ModelSettings = ModelSettings()
    backend: BackendSettings = BackendSettings()
    batching: BatchSettings = BatchSettings()
    limits: LimitSettings = LimitSettings()
    cache: CacheSettings = CacheSettings()
