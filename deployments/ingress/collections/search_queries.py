"""The queries of a search: checked, and as the index takes them."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.ingress.collections.search_bodies import QueryBody, SearchBody
from deployments.ingress.wire.inputs import check_count
from deployments.settings.service import IngressLimits
from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.types import Vectors
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.limits import MAX_TOP_K, MIN_SAMPLE, OVERSAMPLE
from embedder.index.contract.points import Consistency, PointField, Query


def queries_of(
    body: SearchBody, limits: IngressLimits
) -> tuple[Sequence[QueryBody], Sequence[str]]:
    """Return the queries of a body, and what precedes the fields of each in errors.

    Raises:
        InvalidInput: there are none or too many, or a query is incomplete.
    """
    queries: Sequence[QueryBody] = [body] if body.queries is None else body.queries
    check_count("queries", len(queries), limits.max_queries)
    prefixes = [""] if body.queries is None else [f"queries[{row}]." for row in range(len(queries))]
    beside = QueryBody.model_fields.keys() & body.model_fields_set
    if body.queries is not None and beside:
        raise InvalidInput("queries", f"cannot stand beside {sorted(beside)}: put these into each")
    for query, prefix in zip(queries, prefixes, strict=True):
        given = [name for name in ("text", "vector", "id") if getattr(query, name) is not None]
        if len(given) != 1 and not (query.rerank and given == ["text", "vector"]):
            raise _not_one_of_three(given, prefix)
        if query.rerank is not None:
            _check_rerank(query, prefix, limits)
    pairs = sum(candidates_of(query) for query in queries if query.rerank is not None)
    if pairs > limits.max_inputs:
        unit = "texts to read in all (max_inputs)"
        raise LimitExceeded("rerank.candidates", unit, pairs, limits.max_inputs)
    return queries, prefixes


def candidates_of(query: QueryBody) -> int:
    """Return how many hits the index finds for a query; not all of them are returned."""
    if query.rerank is None:
        return query.top_k
    return query.rerank.candidates or min(max(OVERSAMPLE * query.top_k, MIN_SAMPLE), MAX_TOP_K)


def index_query(
    name: str,
    query: QueryBody,
    prefix: str,
    vector: Vectors | None,
    field: str,
    consistency: Consistency,
) -> Query:
    """Return a query of a collection for the index.

    A query that is reranked has its threshold applied later, to the scores of the model.
    """
    include: list[PointField] = [one for one in query.include if one != "scores"]
    reranked = query.rerank is not None
    if reranked and "text" not in include:
        include.append("text")
    return Query(
        collection=name,
        vector=vector,
        top_k=candidates_of(query),
        field=field,
        id=query.id,
        filter=None if query.filter is None else parse(query.filter, f"{prefix}filter"),
        threshold=None if reranked else query.score_threshold,
        diversity=query.diversity,
        include=tuple(include),
        consistency=consistency,
    )


def _not_one_of_three(given: Sequence[str], prefix: str) -> InvalidInput:
    if given:
        return InvalidInput(f"{prefix}{given[1]}", f"must be one of {given}")
    return InvalidInput(prefix.rstrip(".") or "text", "must have a text, a vector or an id")


def _check_rerank(query: QueryBody, prefix: str, limits: IngressLimits) -> None:
    """Check that a query can be reranked.

    Raises:
        InvalidInput: it has no text, too few candidates, or a diversity.
        LimitExceeded: its text is too long.
    """
    if query.text is None:
        problem = "needs a 'text', also beside a vector: the model reads it with those of points"
        raise InvalidInput(f"{prefix}rerank", problem)
    if not query.text:
        raise InvalidInput(f"{prefix}text", "must not be empty")
    if len(query.text) > limits.max_characters:
        size = len(query.text), limits.max_characters
        raise LimitExceeded(f"{prefix}text", "characters", *size)
    if query.diversity is not None:
        problem = "cannot stand beside 'rerank', which orders the results by the scores alone"
        raise InvalidInput(f"{prefix}diversity", problem)
    if (candidates := candidates_of(query)) < query.top_k:
        problem = f"is {candidates}; it must be at least top_k, which is {query.top_k}"
        raise InvalidInput(f"{prefix}rerank.candidates", problem)
