"""Scores texts by the cosine of their vector and that of a query, each with its prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.ranking.ranking_request import RankingRequest
from deployments.ingress.service.numeric_work import compute
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.rows import width_of
from embedder.core.request import Embeddings, concatenate
from embedder.core.types import InputType, Vectors
from embedder.similarity.metrics import similarity, similarity_price


def cosines(source: Vectors, others: Vectors) -> Vectors:
    """Return float32[n] of float32[1, d] and float32[n, d], within -1 and 1."""
    clipped: Vectors = np.clip(similarity(source, others)[0], -1, 1)
    return clipped


async def compare(
    service: Service, context: RequestContext, request: RankingRequest
) -> tuple[Embeddings, Vectors]:
    """Return the vectors of query and texts, and the cosine for each text, float32[n].

    Raises:
        Overloaded: the predicted wait is too long; the error says when to retry.
        EmbedderError: as `Service.embed`, with the client's name of the texts.
    """
    query, texts, model = request.query, request.texts, request.model
    options = replace(request.options, normalize=False)
    price = similarity_price(1, len(texts), width_of(service, model, texts))

    async def embed(inputs: Sequence[str], kind: InputType, name: str) -> Embeddings:
        as_kind = options.for_input_type(kind)
        row = (lambda _: name) if kind is InputType.QUERY else None
        with rename_input_errors(name, row):
            return await service.embed(inputs, as_kind, context.deadline, model=model)

    with service.numeric_work.reserve(price, query, texts) as reserved:
        # Concurrently, so that both use the same model if the name changes meanwhile.
        of_query, of_texts = await _both(
            embed([query], InputType.QUERY, "query"),
            embed(texts, InputType.DOCUMENT, request.field),
        )
        work = partial(cosines, of_query.vectors, of_texts.vectors)
        scores = await compute(context, "ranking", reserved, work)
    return concatenate([of_query, of_texts]), scores


async def _both(
    query: Coroutine[Any, Any, Embeddings], texts: Coroutine[Any, Any, Embeddings]
) -> list[Embeddings]:
    """Await both; if one fails, cancel the other."""
    halves = [asyncio.ensure_future(query), asyncio.ensure_future(texts)]
    try:
        return await asyncio.gather(*halves)
    finally:
        for half in halves:
            half.cancel()
