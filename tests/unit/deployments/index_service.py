"""A running service for the index commands: real shards, and an ingress that counts letters.

The vector of a text is how many 'a', 'b', 'c' and 'd' it has, and one more each.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import chain, cycle
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson

from deployments.index.replica import IndexReplica
from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.service.collection_model import TextVectors
from deployments.operations.collections import CollectionOperations
from deployments.operations.running_service import RunningService
from deployments.rpc.handle_client import Handle
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput, Overloaded, UnknownModel
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority, Vectors
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import CollectionInfo, Query, StoredModel
from embedder.index.contract.sparse import SparseVector
from tests.unit.deployments.local_handle import LocalHandle, as_handle

LETTERS = "letters"


class LetterIngress:
    """Records the embedded texts; raises `Overloaded` for the first ``busy`` calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, Priority, str | None]] = []
        self.searches: list[dict[str, Any]] = []
        self.index: RemoteIndex | None = None
        self.busy = 0
        self.computes_weights = False
        self.model = StoredModel(LETTERS, "1", "0" * 64, "mean")

    async def embed_for(
        self,
        collection: CollectionInfo | None,
        texts: Sequence[str],
        options: EmbedOptions,
        model: str | None = None,
    ) -> TextVectors:
        if model is None and collection is not None:
            model = collection.model
        return await self.embed_with(model, texts, options)

    async def search(self, collection: str, body: dict[str, Any]) -> bytes:
        """Search by the vector of a text, with a filter, and keep the body."""
        assert self.index is not None
        self.searches.append(body)
        info = await self.index.describe(collection, NEVER)
        (vector,) = (await self.embed_for(info, [body["text"]], EmbedOptions())).vectors
        condition = parse(body["filter"]) if "filter" in body else None
        query = Query(collection, vector, body["top_k"], filter=condition)
        found = await self.index.search([query], complete=body["complete"], deadline=NEVER)
        return orjson.dumps({"results": [*found.hits[0]]})

    async def embed_with(
        self, model: str | None, texts: Sequence[str], options: EmbedOptions
    ) -> TextVectors:
        """Return the vectors of a model, and which model that is."""
        vectors = await self.embed(texts, options, model)
        return TextVectors(vectors, self.sparse_of(texts), self.model)

    def sparse_of(self, texts: Sequence[str]) -> Sequence[SparseVector]:
        """Return the number of each letter as its weight, if the model computes weights."""
        if not self.computes_weights:
            return ()
        return [SparseVector.of(Counter(map(ord, text))) for text in texts]

    async def embed(
        self, texts: Sequence[str], options: EmbedOptions, model: str | None
    ) -> Vectors:
        if model not in (None, LETTERS):
            raise UnknownModel("model", str(model))
        if self.busy:
            self.busy -= 1
            raise Overloaded(0.1)
        if "" in texts:
            raise InvalidInput(f"input[{texts.index('')}]", "must not be empty")
        self.calls.append((len(texts), options.priority, model))
        return vectors_of(texts)


class InTurn:
    """Replicas of a deployment, each of which gets every so many-th call."""

    def __init__(self, replicas: Sequence[object]) -> None:
        self._turns = cycle(replicas)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._turns), name)


class IndexService:
    """A service with some shards in this process, which keep their data in a folder.

    With ``url`` each shard has ``replicas``, which get the calls in turn, over that database.
    """

    def __init__(
        self, folder: Path, shards: int, *, url: str | None = None, replicas: int = 1
    ) -> None:
        index = {"shards": shards, "reserve_bytes": 0, "url": url}
        settings = ServeSettings.model_validate(
            {
                "data_directory": str(folder),
                "index": index,
                "vector_index": {"max_replicas": replicas},
            }
        )
        self.fake_ingress = LetterIngress()
        names = [f"VectorIndex-{at}" for at in range(shards)]
        self.replicas = {
            name: [IndexReplica(settings, name) for _ in range(replicas)] for name in names
        }
        self.index = {name: of_shard[0] for name, of_shard in self.replicas.items()}
        self.handles = {name: LocalHandle(InTurn(one)) for name, one in self.replicas.items()}

    @property
    def ingress(self) -> Handle:
        self.fake_ingress.index = RemoteIndex(self.shards("VectorIndex"))
        return as_handle(self.fake_ingress)

    def shards(self, deployment: str) -> dict[str, Handle]:
        assert deployment == "VectorIndex"
        return {name: as_handle(one) for name, one in self.handles.items()}

    def close(self) -> None:
        for replica in chain.from_iterable(self.replicas.values()):
            asyncio.run(replica._stop())

    def as_running(self) -> RunningService:
        return cast("RunningService", self)


def vectors_of(texts: Sequence[str]) -> Vectors:
    """Return the vectors of texts."""
    return np.array([[text.count(one) + 1 for one in "abcd"] for text in texts], np.float32)


def run(work: Any) -> Any:
    """Return the result of a coroutine."""
    return asyncio.run(work)


async def search(
    operation: CollectionOperations, name: str, text: str, top_k: int, **fields: Any
) -> list[dict[str, Any]]:
    """Return the points nearest to a text."""
    return await operation.search(name, {"text": text, "top_k": top_k, **fields})
