"""Services of a benchmark that have one model, whose pipeline the benchmark brings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from deployments.ingress.service.connection import Connection
from deployments.ingress.service.models import ServedModels
from embedder.core.types import ModelInfo

WIDTH = 384
MODEL = ModelInfo(
    name="all-MiniLM-L6-v2",
    repository="benchmark",
    revision="1",
    digest="0" * 64,
    config_digest="0" * 64,
    tokenizer_digest="0" * 64,
    width=WIDTH,
    max_tokens=256,
    vocabulary_size=30_000,
    max_batch_tokens=4096,
    pooling="mean",
    dtype="float32",
    backend="none",
    device="cpu",
)


def one_model(pipeline: Any) -> ServedModels[Connection]:
    """Return served models of which every name and task has this pipeline."""
    connection = cast("Connection", SimpleNamespace(info=MODEL, pipeline=pipeline))

    class OneModel:
        async def get(self, *_: object, **__: object) -> Connection:
            return connection

    return cast("ServedModels[Connection]", OneModel())
