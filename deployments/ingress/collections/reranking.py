"""Orders the hits of searches again, by a cross-encoder that reads the query and each text.

A search whose hits cannot be scored fails: none is answered in another order than asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from deployments.ingress.collections.search_bodies import QueryBody
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
                await service.model(query.rerank.model, task=Task.RERANK, deadline=deadline)
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
    for model in dict.fromkeys(query.rerank.model for query in queries if query.rerank is not None):
        read = {
            row: lists[row][: read_by_model(query)]
            for row, query in enumerate(queries)
            if query.rerank is not None and query.rerank.model == model
        }
        pairs = [_pair(service, queries[row].text, one) for row in read for one in read[row]]
        raw, shown = map(iter, await _scores(service, model, pairs, deadline))
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


async def _scores(
    service: Service, model: str | None, pairs: Sequence[Pair | None], deadline: Deadline
) -> tuple[list[float | None], list[float | None]]:
    """Return the raw score of each pair, and that with the activation that the model's files name.

    The raw ones order the hits: the largest of them are equal after a sigmoid in float32.
    """
    given = [pair for pair in pairs if pair is not None]
    if not given:
        return [None] * len(pairs), [None] * len(pairs)
    options, task = EmbedOptions(), Task.RERANK
    with rename_input_errors(CANDIDATES, lambda _: CANDIDATES):
        answer = await service.score(given, options, deadline, model=model, task=task, raw=True)
    info = await service.model(model, task=task, deadline=deadline)
    raw = answer.scores[:, 0]
    return _of_pairs(pairs, raw), _of_pairs(pairs, activate(raw, info.activation))


def _of_pairs(pairs: Sequence[Pair | None], scores: Vectors) -> list[float | None]:
    """Return the score of each pair, of float32[n] for those that exist."""
    left = iter(scores.tolist())
    return [None if pair is None else next(left) for pair in pairs]
