"""Ranks the texts of a request by a cross-encoder, which reads each text together with the query.

Vectors are compared instead only if the request asks for it: their scores have another scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.ranking.bi_encoder import compare
from deployments.ingress.ranking.ranking_request import RankingRequest
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.inputs import check_count
from embedder.core.errors import InvalidInput, UnsupportedTask
from embedder.core.outputs import Task
from embedder.core.pairs import Pair
from embedder.core.request import Embeddings, Scores
from embedder.core.types import Vectors
from embedder.core.vectors import activate

ADVICE = '; "method": "bi-encoder" compares vectors instead'
"""The end of a message where no cross-encoder can rank the texts."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The rows of the texts, best first, and the score of each row, float32[n].

    Rows with equal scores stay in their order. ``answer`` has the tokens of what was computed.
    """

    order: Sequence[int]
    scores: Vectors
    answer: Scores | Embeddings


async def rank(service: Service, context: RequestContext, request: RankingRequest) -> Ranking:
    """Rank texts by the deadline of the request.

    Raises:
        UnsupportedTask: the model cannot rank, or no served model can.
        InvalidInput: the query or a text is empty or too long, named as the client does.
        EmbedderError: as `Service.score`, or as `Service.embed` with a bi-encoder.
    """
    check_count(request.field, len(request.texts), service.settings.limits.max_inputs)
    if request.method == "bi-encoder":
        answer, cosines = await compare(service, context, request)
        halves = ((cosines + 1) / 2).astype(np.float32, copy=False)
        return _ranking(cosines, cosines if request.raw else halves, answer)
    pairs = [Pair(request.query, text) for text in request.texts]
    try:
        with _client_names(request.field):
            scored = await service.score(
                pairs,
                request.options,
                context.deadline,
                model=request.model,
                task=Task.RERANK,
                raw=True,
            )
    except UnsupportedTask as error:
        field, task, *rest = error.args
        raise UnsupportedTask(field, task + ADVICE, *rest) from None
    raw = scored.scores[:, 0]
    return _ranking(raw, raw if request.raw else activate(raw, "sigmoid"), scored)


def _ranking(by: Vectors, scores: Vectors, answer: Scores | Embeddings) -> Ranking:
    # By the raw scores, because the largest of them are equal after a sigmoid in float32.
    order: list[int] = np.argsort(-by, kind="stable").tolist()
    return Ranking(order, scores, answer)


@contextmanager
def _client_names(field: str) -> Iterator[None]:
    """Rename the halves of pairs in errors of the pipeline to the fields of the client."""
    try:
        with rename_input_errors(field):
            yield
    except InvalidInput as error:
        text, _, half = error.field.rpartition(".")
        if half == "query":
            raise error.with_field("query") from None
        if half == "text":
            raise error.with_field(text) from None
        raise
