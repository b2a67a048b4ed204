"""The real service and application, over fake stages in this process.

The models count letters: the ids of a text are its code points, of which the first eight are kept,
and its vector has the counts of 'a', 'b', 'c' and 'd'. So "aaabbbb" is (0.6, 0.8, 0, 0). All models
but the default one count in the opposite order.

The models of `LABELS` score instead. Of a pair, the score is the number of letters of its text that
its query has, less the number of the others; of a text alone, each label has the number of its
first letter. Those of `letter_outputs` have sparse weights or token vectors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import httpx
import numpy as np

from deployments.cache.replica import CacheReplica
from deployments.index.replica import IndexReplica
from deployments.ingress.asgi import build_asgi
from deployments.ingress.service.replicas import Handles
from deployments.ingress.service.service import Service
from deployments.rpc.replica_name import ReplicaStats
from deployments.settings.service import IngressLimits, ServeSettings
from embedder.batching.batcher import BatcherStats
from embedder.core.deadline import Deadline
from embedder.core.entries.blobs import stacked
from embedder.core.errors import ModelNotFound
from embedder.core.outputs import OutputKind
from embedder.core.pairs import ChunkTokens, PairRow
from embedder.core.tracing import SpanContext
from embedder.core.types import Encoded, ModelInfo, Priority, TokenBatch, TokenRow, Truncate
from embedder.inference.encoder_pool import EncoderStats
from embedder.inference.residency import LoadState
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.letter_outputs import OUTPUTS, TOKEN_WIDTH, several
from tests.unit.deployments.ingress.letter_tokenizer import (
    LOADED,
    MAX_TOKENS,
    VOCABULARY_SIZE,
    LetterTokenizer,
)
from tests.unit.deployments.local_handle import LocalHandle, as_handle
from tests.unit.waiting import LONG_S

ALIAS = "all-MiniLM-L6-v2"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
CROSS, CLASSES = "/models/cross", "/models/classes"
LABELS = {CROSS: ("a relevance",), CLASSES: ("a", "b", "c")}
MODEL = ModelInfo(
    name=ALIAS,
    repository=REPOSITORY,
    revision="1",
    digest="0" * 64,
    config_digest="2" * 64,
    tokenizer_digest="1" * 64,
    width=4,
    max_tokens=MAX_TOKENS,
    vocabulary_size=VOCABULARY_SIZE,
    max_batch_tokens=100,
    pooling="mean",
    dtype="float32",
    backend="test",
    device="cpu",
    matryoshka=(2,),
)

CACHE_BYTES = 1 << 20
STAGES = ServeSettings(data_directory=None, cache={"max_bytes": CACHE_BYTES})
"""The settings of the cache and of the index, which hold their data in memory. A cache of the
default size would fill tables of megabytes for each service."""


class LetterEncoder:
    """Counts letters; remembers whose work it was and how long it might take; times are as set.

    A model in ``missing`` cannot be loaded, and the load of one in ``releases`` waits for it.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[list[list[int]], Priority, float | None]] = []
        self.missing: set[str] = set()
        self.releases: dict[str, asyncio.Event] = {}
        self.truncation = Truncate.END
        self.queue_s = self.inference_s = 0.0
        self.scale = 1.0
        self.requests = self.batches = tuple[SpanContext, ...]()

    async def describe(self, model: ModelSettings) -> ModelInfo:
        if release := self.releases.get(model.name):
            await release.wait()
        if model.name in self.missing:
            raise ModelNotFound(model.name, ("/srv/secret/place",))
        name = model_names(model)[0]
        if model.name == ALIAS:
            return replace(MODEL, name=name, prompts=model.prompts, truncation=self.truncation)
        labels = LABELS.get(model.name, ())
        scores = (OutputKind.SCORES if labels else OutputKind.DENSE,)
        return replace(
            MODEL,
            name=name,
            repository=PurePath(model.name).name,
            revision="local",
            digest="2" * 64,
            pooling="cls",
            width=len(labels) or MODEL.width,
            outputs=OUTPUTS.get(model.name, scores),
            token_width=TOKEN_WIDTH,
            labels=labels,
        )

    async def encode(
        self,
        model: ModelSettings,
        tokens: TokenBatch,
        priority: Priority,
        deadline: Deadline,
        requests: tuple[SpanContext, ...] = (),
    ) -> Encoded:
        self.requests += requests
        rows = [row.tolist() for row in tokens.rows()]
        if rows != [[0]]:  # what only sees it answer
            self.calls.append((rows, priority, deadline))
        letters = "abcd" if model.name == ALIAS else "dcba"
        letters = "".join(label[0] for label in LABELS.get(model.name, letters))
        counts = [[row.count(ord(one)) for one in letters] for row in rows]
        if tokens.types is not None:
            assert len(letters) == 1
            counts = [[_relevance(item)] for item in tokens.items()]
        if tokens.spans is not None:
            rows_of_chunks = [
                [[row[a:b].count(ord(one)) for one in letters] for a, b in spans.tolist()]
                for row, spans in zip(rows, tokens.spans, strict=True)
            ]
            blobs = [np.array(row, np.float32).tobytes() for row in rows_of_chunks]
            return Encoded(stacked(blobs), self.queue_s, self.inference_s)
        vectors = np.array(counts, np.float32) * np.float32(self.scale)
        if model.name in OUTPUTS:
            return several(model.name, tokens.kinds, vectors, rows)
        return Encoded(vectors, self.queue_s, self.inference_s, batches=self.batches)

    async def stats(self) -> ReplicaStats[EncoderStats]:
        batching = BatcherStats(100, batches=len(self.calls))
        failed = replace(
            LOADED, state=LoadState.FAILED, bytes=0, error="OSError: /srv/secret/place"
        )
        return ReplicaStats("encoder-1", [EncoderStats(LOADED, 3, batching), EncoderStats(failed)])


def _relevance(item: TokenRow | PairRow | ChunkTokens) -> int:
    assert isinstance(item, PairRow)
    query, text = item.ids[item.types == 0], item.ids[item.types == 1]
    return sum(1 if letter in query else -1 for letter in text)


class FakeService(Service):
    """The service over stages whose handles can be broken by name.

    Serves the models that are given, else the default one; wants a running event loop. ``pools``
    has a handle for each deployment of encoders.
    """

    def __init__(self, *models: Mapping[str, Any], **given: Any) -> None:
        self.encoder = LetterEncoder()
        self.handles = {
            "tokenizer": LocalHandle(LetterTokenizer()),
            "encoder": LocalHandle(self.encoder),
            "cache": LocalHandle(CacheReplica(STAGES, "EmbeddingCache-0")),
            "index": LocalHandle(IndexReplica(STAGES, "VectorIndex-0")),
            "ingress": LocalHandle(self),
        }
        # What is no setting of the service is a limit.
        limits = {name: given.pop(name) for name in IngressLimits.model_fields.keys() & given}
        # An ingress that did so itself would load the real model, in a thread, for each of these.
        given.setdefault("encoder", {"placement": "remote"})
        given.setdefault("tokenizer", {"placement": "remote"})
        # On a busy machine a lookup may take longer than the default.
        given.setdefault("cache", {"timeout_s": LONG_S})
        settings = ServeSettings.model_validate({"limits": limits, **given})
        handles = {name: as_handle(handle) for name, handle in self.handles.items()}
        caches = {"EmbeddingCache-0": handles.pop("cache")}
        indexes = {"VectorIndex-0": handles.pop("index")}
        handles.pop("encoder")
        deployments = [pool.deployment for pool in settings.encoder.deployments]
        self.pools = {name: LocalHandle(self.encoder) for name in deployments}
        if deployments == ["Encoder"]:
            self.pools = {"Encoder": self.handles["encoder"]}
        encoders = {name: as_handle(pool) for name, pool in self.pools.items()}
        super().__init__(
            settings, Handles(encoders=encoders, caches=caches, indexes=indexes, **handles)
        )
        self.configure({"models": models or [{"name": ALIAS}]})

    async def local_cache_stats(self) -> dict[str, Any]:
        """Return what the ingress says of its local cache."""
        return self.caches.local_stats()

    async def clear_local_cache(self, tag: bytes | None = None) -> int:
        """Clear the local cache, as the ingress does."""
        return self.caches.clear_local(tag)

    def client(self) -> httpx.AsyncClient:
        """Return a client of the application over this service."""
        # The server answers an unexpected error before it raises it, and clients see the answer.
        transport = httpx.ASGITransport(app=build_asgi(self), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test")

    async def post_texts(self, *texts: str) -> httpx.Response:
        """Ask for the texts' vectors, all in one request of the default model."""
        async with self.client() as http:
            return await http.post("/v1/embeddings", json={"input": texts})


def refusal(response: httpx.Response) -> tuple[int, str | None, str | None]:
    """Return status, code and param of an answer in OpenAI's envelope."""
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"] != ""
    return response.status_code, error["code"], error["param"]


def message(response: httpx.Response) -> str:
    """Return the sentence of an error's answer."""
    return str(response.json()["error"]["message"])
