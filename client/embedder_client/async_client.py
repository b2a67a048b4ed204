"""The calls of the service for programs that run an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Literal

import httpx
import numpy as np

from embedder_client import answers
from embedder_client.batches import Input
from embedder_client.concurrency import RequestLimit
from embedder_client.embedding import Embedding, Progress
from embedder_client.options import EmbedOptions
from embedder_client.output_calls import Inputs, OutputCalls, rows_of
from embedder_client.points import AsyncCollection
from embedder_client.results import RankedText, Vectors
from embedder_client.transport import Request, Transport

Metric = Literal["cosine", "dot", "euclidean", "squared_euclidean", "manhattan"]
"""A measure of similarity; larger is more similar, so distances are negated."""


class AsyncClient(OutputCalls):
    """A service at ``base_url``; use it in an ``async with`` statement, or close it.

    ``model`` is for calls that name none; without it the service chooses. ``timeout_s`` is for
    each request with its repetitions. ``batch_tokens`` are about the tokens of one request of many
    texts, ``max_concurrency`` the most requests in flight. ``http`` replaces the HTTP client, for
    certificates or proxies of your own; closing this client closes it.
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
        limits = httpx.Limits(max_connections=max_concurrency)
        self._http = http or httpx.AsyncClient(limits=limits)
        self._http.base_url = httpx.URL(base_url.rstrip("/") + "/")
        if api_key is not None:
            self._http.headers["authorization"] = f"Bearer {api_key}"
        self._transport = Transport(self._http, RequestLimit(max_concurrency), timeout_s)
        self._embedding = Embedding(self._transport, model, batch_tokens)

    async def embed(
        self,
        inputs: Inputs,
        options: EmbedOptions | None = None,
        *,
        progress: Progress | None = None,
    ) -> Vectors:
        """Return float32[n, width], one row per input, in order; one text gives one row.

        Many inputs travel in several requests at the same time. If the service refuses an input,
        `ServiceError.position` is its place in ``inputs``.

        Raises:
            ClientError: as `Transport.send`.
        """
        return await self._embedding.all(rows_of(inputs), options or EmbedOptions(), progress)

    async def embed_query(self, inputs: Inputs, options: EmbedOptions | None = None) -> Vectors:
        """Return what `embed` returns, with the model's prompt for search queries."""
        return await self.embed(inputs, (options or EmbedOptions()).for_input_type("query"))

    async def embed_document(self, inputs: Inputs, options: EmbedOptions | None = None) -> Vectors:
        """Return what `embed` returns, with the model's prompt for documents."""
        return await self.embed(inputs, (options or EmbedOptions()).for_input_type("document"))

    async def embed_stream(
        self,
        inputs: Iterable[Input],
        options: EmbedOptions | None = None,
        *,
        progress: Progress | None = None,
    ) -> AsyncGenerator[Vectors, None]:
        """Yield float32[width] for every input, in order, in bounded memory.

        The inputs of about twice the requests in flight are read ahead. Close the iterator (with
        `contextlib.aclosing`) to cancel them.

        Raises:
            ClientError: as `embed`, after the vectors of the requests before.
        """
        parts = self._embedding.parts(inputs, options or EmbedOptions(), progress)
        async with aclosing(parts):
            async for part in parts:
                for row in part:
                    yield row.copy()  # a view would keep the whole part in memory

    async def rerank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        top_k: int | None = None,
        raw_scores: bool = False,
        bi_encoder: bool = False,
    ) -> list[RankedText]:
        """Return the texts that answer a query best, by the scores of a cross-encoder.

        ``top_k`` None returns all of them. ``raw_scores`` leaves out the activation.
        ``bi_encoder`` compares vectors instead, for services without a cross-encoder.

        Raises:
            ClientError: as `Transport.send`.
        """
        body: dict[str, Any] = {"query": query, "texts": list(texts), "raw_scores": raw_scores}
        if bi_encoder:
            body["method"] = "bi-encoder"
        return answers.ranked(await self._embedding.post("rerank", body))[:top_k]

    async def classify(
        self, inputs: Sequence[str | tuple[str, str]], *, raw_scores: bool = False
    ) -> list[dict[str, float]]:
        """Return the score of each label for every text or pair of texts, the best label first.

        ``raw_scores`` leaves out the activation.

        Raises:
            ClientError: as `Transport.send`.
        """
        rows = [[row] if isinstance(row, str) else list(row) for row in inputs]
        body = {"inputs": rows, "raw_scores": raw_scores}
        return answers.classes(await self._embedding.post("predict", body))

    async def similarity(
        self, a: Inputs | Vectors, b: Inputs | Vectors, metric: Metric = "cosine"
    ) -> Vectors:
        """Return float32[n, m], the similarity of each text or vector of ``a`` to each of ``b``.

        Raises:
            ClientError: as `Transport.send`.
        """
        body = {"a": _compared(a), "b": _compared(b), "metric": metric}
        return answers.matrix(await self._embedding.post("v1/similarity", body))

    async def tokenize(self, inputs: str | Sequence[str]) -> list[list[int]]:
        """Return the token ids of every text, with special tokens and without truncation.

        Raises:
            ClientError: as `Transport.send`.
        """
        body = {"inputs": rows_of(inputs)}
        return answers.token_ids(await self._embedding.post("tokenize", body))

    async def models(self) -> list[dict[str, Any]]:
        """Return the served models, each as the service describes it.

        Raises:
            ClientError: as `Transport.send`.
        """
        answer = await self._transport.send(Request("GET", "v1/models"))
        return [dict(model) for model in answer["data"]]

    async def collections(self) -> list[dict[str, Any]]:
        """Return the collections, each as the service describes it.

        Raises:
            ClientError: as `Transport.send`.
        """
        answer = await self._transport.send(Request("GET", "v1/collections"))
        return [dict(one) for one in answer["collections"]]

    def collection(self, name: str) -> AsyncCollection:
        """Return the calls of one collection, which need not exist yet."""
        return AsyncCollection(self._embedding, name)

    async def aclose(self) -> None:
        """End the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _compared(items: Any) -> list[Any]:
    """Return texts as they are, and the rows of an array as lists: base64 would be a text."""
    if isinstance(items, np.ndarray) and items.dtype.kind == "f":
        return list(np.atleast_2d(items).tolist())
    return rows_of(items)
