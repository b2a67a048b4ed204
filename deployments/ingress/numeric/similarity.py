"""Similarities of texts or vectors: of all pairs of two lists, or of the nearest ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import Response

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.numeric_work import compute
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import NEIGHBOUR_BYTES, check_size
from deployments.ingress.wire.fields import EmbeddingFields, examples
from deployments.ingress.wire.rows import (
    Matrices,
    OptionalRowsField,
    RowsAnswer,
    RowsField,
    check_rows,
    to_matrices,
    width_of,
)
from deployments.settings.access import Scope
from deployments.settings.service import IngressLimits
from embedder.core.errors import InvalidVector, LimitExceeded
from embedder.core.types import SimilarityName
from embedder.index.contract.limits import MAX_TOP_K
from embedder.index.contract.response_budget import NUMBER_BYTES
from embedder.similarity.metrics import similarity, similarity_price
from embedder.similarity.topk import top_k

routes = Routes("similarity")


class SimilarityRequest(EmbeddingFields):
    """The body of ``POST /v1/similarity``."""

    model_config = examples(
        {"a": ["A cat sleeps."], "b": ["A kitten naps.", "Share prices fell."]},
        {"a": [[1, 0], [0.6, 0.8]], "metric": "euclidean"},
        {"a": ["pets"], "b": ["A cat sleeps.", "Share prices fell."], "top_k": 1},
    )

    a: RowsField
    b: OptionalRowsField = Field(None, description="default: the same as a")
    metric: SimilarityName = Field(
        "cosine",
        description="larger is more similar: distances (all but cosine and dot) are negated",
    )
    top_k: int | None = Field(
        None,
        ge=1,
        le=MAX_TOP_K,
        strict=True,
        description="return only the nearest items of b for each item of a, not the whole matrix",
    )


class SimilarityAnswer(RowsAnswer):
    """The similarity of each pair: a row for each item of ``a``, a column for each of ``b``."""

    similarity: list[list[float]]
    metric: SimilarityName


class Neighbour(BaseModel):
    """An item of ``b``, by its number."""

    index: int
    score: float


class NeighboursAnswer(RowsAnswer):
    """The nearest items of ``b`` for each item of ``a``, nearest first."""

    results: list[list[Neighbour]]
    metric: SimilarityName


@routes.add(
    "POST", "/v1/similarity", scope=Scope.READ, response=SimilarityAnswer | NeighboursAnswer
)
async def compare(body: SimilarityRequest, service: Service, context: RequestContext) -> Response:
    """Compare texts or vectors: all pairs, or with ``top_k`` the nearest for each."""
    lists = {"a": body.a} if body.b is None else {"a": body.a, "b": body.b}
    _check(lists, body.top_k, service.settings.limits)
    columns = lists["b" if "b" in lists else "a"]
    width = width_of(service, body.model, body.a)
    price = similarity_price(len(body.a), len(columns), width)
    with service.numeric_work.reserve(price, body.a, columns, body.metric) as reserved:
        matrices = await to_matrices(service, context, body, lists)
        content = await compute(context, "similarity", reserved, partial(_answer, body, matrices))
        return await matrices.respond(content)


def _check(lists: dict[str, Any], k: int | None, limits: IngressLimits) -> None:
    """Check the limits before anything is embedded.

    Raises:
        LimitExceeded: there are too many rows or results, or the response would be too large.
    """
    counts = [check_rows(value, field, limits.max_inputs) for field, value in lists.items()]
    rows, columns = counts[0], counts[-1]
    if k is None and rows * columns > limits.max_similarities:
        raise LimitExceeded("a", "similarities to b", rows * columns, limits.max_similarities)
    if k is None:
        check_size("a", rows * columns * NUMBER_BYTES, limits)
    kept = rows * min(k or 0, columns)
    if kept > limits.max_similarities:
        raise LimitExceeded("top_k", "results in all", kept, limits.max_similarities)
    check_size("top_k", kept * NEIGHBOUR_BYTES, limits)


def _answer(body: SimilarityRequest, matrices: Matrices) -> dict[str, Any]:
    """Compute the response; runs in a thread."""
    a, b = matrices.of_lists[0], matrices.of_lists[-1]
    # Results out of the range of float32 are refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        if body.top_k is None:
            measures = similarity(a, b, body.metric)
            content: dict[str, Any] = {"similarity": measures}
        else:
            indices, measures = top_k(a, b, body.metric, body.top_k)
            content = {"results": _rows(indices, measures)}
    _check_finite(measures, body.metric)
    return {**content, "metric": body.metric}


def _check_finite(measures: NDArray[np.float32], metric: SimilarityName) -> None:
    for row in np.flatnonzero(~np.isfinite(measures).all(axis=1)).tolist():
        raise InvalidVector(f"a[{row}]", f"is too large: its {metric} similarity exceeds float32")


def _rows(indices: NDArray[np.int64], scores: NDArray[np.float32]) -> list[orjson.Fragment]:
    """Write row by row, because all rows as Python objects would take 1 GB."""
    return [
        orjson.Fragment(
            orjson.dumps(
                [{"index": n, "score": s} for n, s in zip(row.tolist(), scored, strict=True)],
                option=orjson.OPT_SERIALIZE_NUMPY,
            )
        )
        for row, scored in zip(indices, scores, strict=True)
    ]
