"""Orders the hits of searches again, by a cross-encoder that reads the query and each text.

A search whose hits cannot be scored fails: none is answered in another order than asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice

from deployments.ingress.collections.search_bodies import QueryBody
from deployments.ingress.collections.search_queries import read_by_model
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded, InvalidInput
from embedder.core.outputs import OutputKind
from embedder.core.pairs import Pair
from embedder.core.types import ModelInfo
from embedder.index.ranking.ranked_hits import RankedHit, rerank

CANDIDATES = "rerank.candidates"

Scorers = Mapping[str | None, Connection]
"""The models that read texts, by the names in requests; None: a request names none."""


async def find_scorers(
    service: Service, queries: Sequence[QueryBody], prefixes: Sequence[str], deadline: Deadline
) -> Scorers:
    """Return the models that the queries ask for, before anything is searched.

    Raises:
        InvalidInput: a model has no scores or several labels, or no served model has scores.
        EmbedderError: as `ServedModels.get`.
    """
    scorers: dict[str | None, Connection] = {}
    for query, prefix in zip(queries, prefixes, strict=True):
        if query.rerank is not None and query.rerank.model not in scorers:
            try:
                scorer = await _find_scorer(service, query.rerank.model, deadline)
            except InvalidInput as error:
                raise error.with_field(f"{prefix}rerank.model") from None
            scorers[query.rerank.model] = scorer
    return scorers


async def rerank_hits(
    service: Service,
    scorers: Scorers,
    queries: Sequence[QueryBody],
    lists: Sequence[list[RankedHit]],
    deadline: Deadline,
) -> list[list[RankedHit]]:
    """Return the hits of each query, ordered again where it asks for that.

    A hit without a text gets no score, and follows those that have one.

    Raises:
        DeadlineExceeded: the model had not read all texts by the deadline.
        LimitExceeded: the texts have too many tokens.
        EmbedderError: as `Pipeline.score`.
    """
    ordered = list(lists)
    for name, scorer in scorers.items():
        read = {
            row: lists[row][: read_by_model(query)]
            for row, query in enumerate(queries)
            if query.rerank is not None and query.rerank.model == name
        }
        pairs = [_pair(service, queries[row].text, one) for row in read for one in read[row]]
        scores = iter(await _scores(scorer, pairs, deadline))
        for row, hits in read.items():
            ordered[row] = rerank(hits, list(islice(scores, len(hits))))
    return ordered


def _pair(service: Service, query: str | None, found: RankedHit) -> Pair | None:
    """Return what the model reads for a hit; None if the point has no text.

    A text that is longer than any input may be is cut: a point with a vector may have one.
    """
    if not query or not found.hit.text:
        return None
    return Pair(query, found.hit.text[: service.settings.limits.max_characters])


async def _scores(
    scorer: Connection, pairs: Sequence[Pair | None], deadline: Deadline
) -> list[float | None]:
    """Return the score of each pair, with the activation that the model's files name."""
    given = [pair for pair in pairs if pair is not None]
    if not given:
        return [None] * len(pairs)
    try:
        with rename_input_errors(CANDIDATES, lambda _: CANDIDATES):
            async with deadline.limit():
                answer = await scorer.pipeline.score(given)
    except asyncio.TimeoutError:
        raise DeadlineExceeded("reranking model") from None
    scores = iter(answer.scores[:, 0].tolist())
    return [None if pair is None else next(scores) for pair in pairs]


async def _find_scorer(service: Service, named: str | None, deadline: Deadline) -> Connection:
    """Return the model of a name, else the first served one that scores pairs."""
    if named is not None:
        connection = await service.models.get(named, deadline)
        _check_scores(connection.info)
        return connection
    for state in service.models.states():
        connection = await service.models.get(state.name, deadline)
        if OutputKind.SCORES in connection.info.outputs and len(connection.info.labels) == 1:
            return connection
    raise InvalidInput("model", "is needed: no served model scores texts")


def _check_scores(model: ModelInfo) -> None:
    if OutputKind.SCORES not in model.outputs:
        raise InvalidInput("model", f"names {model.name!r}, which computes no scores")
    if len(model.labels) != 1:
        problem = f"names {model.name!r}, which has {len(model.labels)} labels; one is needed"
        raise InvalidInput("model", problem)
