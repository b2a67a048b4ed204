"""Orders the hits of searches again, by a model that compares the query with each text.

A search whose hits cannot be scored fails: none is answered in another order than asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from deployments.ingress.collections.multi_vector import late_interaction_scores
from deployments.ingress.collections.search_bodies import QueryBody, RerankMethod
from deployments.ingress.collections.search_queries import read_by_model
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.core.outputs import Task
from embedder.core.pairs import Pair
from embedder.core.request import EmbedOptions
from embedder.core.types import Vectors
from embedder.core.vectors import activate
from embedder.index.ranking.ranked_hits import RankedHit, rerank

CANDIDATES = "rerank.candidates"

TASKS: Mapping[RerankMethod, Task] = {
    "cross-encoder": Task.RERANK,
    "multi-vector": Task.EMBED_TOKENS,
}
"""What the model of each method must be able to do."""

EMPTY = np.empty(0, np.float32)


async def check_rerankers(
    service: Service, queries: Sequence[QueryBody], prefixes: Sequence[str], deadline: Deadline
) -> None:
    """Check, before anything is searched, that served models can rerank; load them if necessary.

    Raises:
        UnsupportedTask: a model cannot, or none can.
        EmbedderError: as `ServedModels.get`.
    """
    for query, prefix in zip(queries, prefixes, strict=True):
        if query.rerank is not None:
            try:
                task = TASKS[query.rerank.method]
                await service.model(query.rerank.model, task=task, deadline=deadline)
            except InvalidInput as error:
                raise error.with_field(f"{prefix}rerank.model") from None


async def rerank_hits(
    service: Service,
    queries: Sequence[QueryBody],
    lists: Sequence[list[RankedHit]],
    deadline: Deadline,
) -> list[list[RankedHit]]:
    """Return the hits of each query, ordered again where it asks for that.

    A hit without a text gets no score, and follows those that have one.

    Raises:
        DeadlineExceeded: the model had not read all texts by the deadline.
        LimitExceeded: the texts have too many tokens.
        EmbedderError: as `Service.score`.
    """
    ordered = list(lists)
    rows_by_model = defaultdict[tuple[RerankMethod, str | None], list[int]](list)
    for row, query in enumerate(queries):
        if query.rerank is not None:
            rows_by_model[query.rerank.method, query.rerank.model].append(row)
    for (method, model), rows in rows_by_model.items():
        read = {row: lists[row][: read_by_model(queries[row])] for row in rows}
        pairs = [_pair(service, queries[row].text, one) for row in rows for one in read[row]]
        given = [pair for pair in pairs if pair is not None]
        score = _by_cross_encoder if method == "cross-encoder" else _by_token_vectors
        with rename_input_errors(CANDIDATES, lambda _: CANDIDATES):
            scores = await score(service, model, given, deadline) if given else (EMPTY, EMPTY)
        raw, shown = (iter(_of_pairs(pairs, each)) for each in scores)
        for row, hits in read.items():
            count = len(hits)
            ordered[row] = rerank(hits, list(islice(raw, count)), list(islice(shown, count)))
    return ordered


def _pair(service: Service, query: str | None, found: RankedHit) -> Pair | None:
    """Return what the model reads for a hit; None if the point has no text.

    A text that is longer than any input may be is cut: a point with a vector may have one.
    """
    if not query or not found.hit.text:
        return None
    return Pair(query, found.hit.text[: service.settings.limits.max_characters])


async def _by_cross_encoder(
    service: Service, model: str | None, pairs: Sequence[Pair], deadline: Deadline
) -> tuple[Vectors, Vectors]:
    """Return the raw scores float32[n], and those with the activation that the model's files name.

    The raw ones order the hits: the largest of them are equal after a sigmoid in float32.
    """
    options, task = EmbedOptions(), Task.RERANK
    answer = await service.score(pairs, options, deadline, model=model, task=task, raw=True)
    info = await service.model(model, task=task, deadline=deadline)
    raw = answer.scores[:, 0]
    return raw, activate(raw, info.activation)


async def _by_token_vectors(
    service: Service, model: str | None, pairs: Sequence[Pair], deadline: Deadline
) -> tuple[Vectors, Vectors]:
    scores = await late_interaction_scores(service, model, pairs, deadline)
    return scores, scores


def _of_pairs(pairs: Sequence[Pair | None], scores: Vectors) -> list[float | None]:
    """Return the score of each pair, of float32[n] for those that exist."""
    left = iter(scores.tolist())
    return [None if pair is None else next(left) for pair in pairs]
