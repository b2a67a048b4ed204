"""The calls of the service for programs without an event loop.

Each runs the call of the same name of `AsyncClient` in a thread, so that a list of many texts
travels in several requests at the same time. Threads may share a client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import httpx

from embedder_client.async_client import AsyncClient, Metric
from embedder_client.batches import Input
from embedder_client.embedding import Progress
from embedder_client.loop_thread import LoopThread
from embedder_client.options import EmbedOptions
from embedder_client.output_calls import Inputs, OutputType
from embedder_client.points import AsyncCollection
from embedder_client.results import (
    ChunkEmbeddings,
    Hits,
    OutputRows,
    Point,
    RankedText,
    SparseVector,
    Upserted,
    Vectors,
)


class Client:
    """A service at ``base_url``; the arguments are those of `AsyncClient`.

    Close the client, or use it in a ``with`` statement, to end its connections and its thread.
    """

    def __init__(  # noqa: PLR0913 - each has a default
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        model: str | None = None,
        timeout_s: float = 60.0,
        batch_tokens: int = 8192,
        max_concurrency: int = 64,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._calls = AsyncClient(
            base_url,
            api_key=api_key,
            model=model,
            timeout_s=timeout_s,
            batch_tokens=batch_tokens,
            max_concurrency=max_concurrency,
            http=http,
        )
        self._loop = LoopThread()

    def embed(
        self,
        inputs: Inputs,
        options: EmbedOptions | None = None,
        *,
        progress: Progress | None = None,
    ) -> Vectors:
        """Return what `AsyncClient.embed` returns."""
        return self._loop.run(self._calls.embed(inputs, options, progress=progress))

    def embed_query(self, inputs: Inputs, options: EmbedOptions | None = None) -> Vectors:
        """Return what `embed` returns, with the model's prompt for search queries."""
        return self._loop.run(self._calls.embed_query(inputs, options))

    def embed_document(self, inputs: Inputs, options: EmbedOptions | None = None) -> Vectors:
        """Return what `embed` returns, with the model's prompt for documents."""
        return self._loop.run(self._calls.embed_document(inputs, options))

    def embed_stream(
        self,
        inputs: Iterable[Input],
        options: EmbedOptions | None = None,
        *,
        progress: Progress | None = None,
    ) -> Iterator[Vectors]:
        """Yield what `AsyncClient.embed_stream` yields; ``inputs`` are read in the thread."""
        return self._loop.iterate(self._calls.embed_stream(inputs, options, progress=progress))

    def embed_chunks(
        self,
        texts: str | Sequence[str],
        options: EmbedOptions | None = None,
        *,
        size: int | None = None,
        overlap: int | None = None,
        boundaries: Literal["tokens", "sentences"] = "tokens",
        late: bool = False,
    ) -> list[ChunkEmbeddings]:
        """Return what `AsyncClient.embed_chunks` returns."""
        return self._loop.run(
            self._calls.embed_chunks(
                texts, options, size=size, overlap=overlap, boundaries=boundaries, late=late
            )
        )

    def embed_sparse(
        self, inputs: Inputs, options: EmbedOptions | None = None
    ) -> list[SparseVector]:
        """Return what `AsyncClient.embed_sparse` returns."""
        return self._loop.run(self._calls.embed_sparse(inputs, options))

    def embed_tokens(self, inputs: Inputs, options: EmbedOptions | None = None) -> list[Vectors]:
        """Return what `AsyncClient.embed_tokens` returns."""
        return self._loop.run(self._calls.embed_tokens(inputs, options))

    def embed_outputs(
        self,
        inputs: Inputs,
        output_types: Sequence[OutputType],
        options: EmbedOptions | None = None,
    ) -> OutputRows:
        """Return what `AsyncClient.embed_outputs` returns."""
        return self._loop.run(self._calls.embed_outputs(inputs, output_types, options))

    def rerank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        raw_scores: bool = False,
        bi_encoder: bool = False,
    ) -> list[RankedText]:
        """Return what `AsyncClient.rerank` returns."""
        return self._loop.run(
            self._calls.rerank(
                query, texts, top_k=top_k, raw_scores=raw_scores, bi_encoder=bi_encoder
            )
        )

    def classify(
        self, inputs: Sequence[str | tuple[str, str]], *, raw_scores: bool = False
    ) -> list[dict[str, float]]:
        """Return what `AsyncClient.classify` returns."""
        return self._loop.run(self._calls.classify(inputs, raw_scores=raw_scores))

    def similarity(
        self, a: Inputs | Vectors, b: Inputs | Vectors, metric: Metric = "cosine"
    ) -> Vectors:
        """Return what `AsyncClient.similarity` returns."""
        return self._loop.run(self._calls.similarity(a, b, metric))

    def tokenize(self, inputs: str | Sequence[str]) -> list[list[int]]:
        """Return what `AsyncClient.tokenize` returns."""
        return self._loop.run(self._calls.tokenize(inputs))

    def models(self) -> list[dict[str, Any]]:
        """Return what `AsyncClient.models` returns."""
        return self._loop.run(self._calls.models())

    def collections(self) -> list[dict[str, Any]]:
        """Return what `AsyncClient.collections` returns."""
        return self._loop.run(self._calls.collections())

    def collection(self, name: str) -> Collection:
        """Return the calls of one collection, which need not exist yet."""
        return Collection(self._calls.collection(name), self._loop)

    def close(self) -> None:
        """End the connections and the thread; a second call does nothing."""
        if not self._loop.is_closed:
            self._loop.run(self._calls.aclose())
            self._loop.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Collection:
    """The calls of `AsyncCollection`, for programs without an event loop."""

    def __init__(self, calls: AsyncCollection, loop: LoopThread) -> None:
        self.name = calls.name
        self._calls = calls
        self._loop = loop

    def create(self, **fields: Any) -> dict[str, Any]:
        """Return what `AsyncCollection.create` returns."""
        return self._loop.run(self._calls.create(**fields))

    def info(self) -> dict[str, Any]:
        """Return what `AsyncCollection.info` returns."""
        return self._loop.run(self._calls.info())

    def drop(self) -> None:
        """Delete the collection with its points."""
        self._loop.run(self._calls.drop())

    def upsert(
        self,
        points: Iterable[Point | Mapping[str, Any]],
        *,
        chunking: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Upserted:
        """Return what `AsyncCollection.upsert` returns."""
        return self._loop.run(self._calls.upsert(points, chunking=chunking, progress=progress))

    def search(self, text: str | None = None, **fields: Any) -> Hits:
        """Return what `AsyncCollection.search` returns."""
        return self._loop.run(self._calls.search(text, **fields))

    def search_many(self, queries: Sequence[str | Mapping[str, Any]], **fields: Any) -> list[Hits]:
        """Return what `AsyncCollection.search_many` returns."""
        return self._loop.run(self._calls.search_many(queries, **fields))

    def fetch(self, ids: Sequence[str], **fields: Any) -> list[Point]:
        """Return what `AsyncCollection.fetch` returns."""
        return self._loop.run(self._calls.fetch(ids, **fields))

    def scroll(self, **fields: Any) -> Iterator[Point]:
        """Yield what `AsyncCollection.scroll` yields."""
        return self._loop.iterate(self._calls.scroll(**fields))

    def count(self, filter: Mapping[str, Any] | None = None) -> int:
        """Return what `AsyncCollection.count` returns."""
        return self._loop.run(self._calls.count(filter))

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        documents: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Return what `AsyncCollection.delete` returns."""
        return self._loop.run(self._calls.delete(ids, documents=documents, filter=filter))
