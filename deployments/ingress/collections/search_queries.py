"""The queries of a search: checked, and as the index takes them."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.ingress.collections.search_bodies import HybridBody, QueryBody, SearchBody
from deployments.ingress.wire.inputs import check_count
from deployments.settings.service import IngressLimits
from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.filters import Filter
from embedder.index.contract.limits import MAX_TOP_K, MIN_SAMPLE, OVERSAMPLE
from embedder.index.contract.points import PointField
from embedder.index.fusion import candidates as fusion_candidates


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
        try:
            _check(query, limits)
        except InvalidInput as error:
            raise error.with_field(f"{prefix}{error.field}".rstrip(".") or "text") from None
    pairs = sum(read_by_model(query) for query in queries if query.rerank is not None)
    if pairs > limits.max_inputs:
        unit = "texts to read in all (max_inputs)"
        raise LimitExceeded("rerank.candidates", unit, pairs, limits.max_inputs)
    return queries, prefixes


def by_vector(query: QueryBody) -> bool:
    """Return whether a query is compared with vectors."""
    return query.hybrid is None or query.hybrid.weights.dense > 0


def by_words(query: QueryBody) -> bool:
    """Return whether the words of a query are searched."""
    return query.hybrid is not None and query.hybrid.weights.lexical > 0


def by_sparse(query: QueryBody) -> bool:
    """Return whether the sparse weights of a query are searched."""
    return query.hybrid is not None and query.hybrid.weights.sparse > 0


def is_ordered_later(query: QueryBody) -> bool:
    """Return whether the order of its hits is another than that of the index."""
    return query.hybrid is not None or query.rerank is not None


def read_by_model(query: QueryBody) -> int:
    """Return how many hits a model reads to order them; ``top_k`` without ``rerank``."""
    if query.rerank is None:
        return query.top_k
    return query.rerank.candidates or _sample(query)


def found_by_index(query: QueryBody) -> int:
    """Return how many hits each ranking of a query has; not all of them are returned."""
    if query.hybrid is None:
        first_try = query.per_document is not None and query.rerank is None
        return _sample(query) if first_try else read_by_model(query)
    return query.hybrid.candidates or max(fusion_candidates(query.top_k), read_by_model(query))


def _sample(query: QueryBody) -> int:
    return min(max(OVERSAMPLE * query.top_k, MIN_SAMPLE), MAX_TOP_K)


def included(query: QueryBody) -> tuple[PointField, ...]:
    """Return the fields of points that a query needs, also if it returns fewer."""
    include: list[PointField] = [one for one in query.include if one != "scores"]
    if query.rerank is not None and "text" not in include:
        include.append("text")
    if query.per_document is not None and "metadata" not in include:
        include.append("metadata")
    return tuple(include)


def filter_of(query: QueryBody, prefix: str) -> Filter | None:
    """Return the parsed filter of a query."""
    return None if query.filter is None else parse(query.filter, f"{prefix}filter")


def _check(query: QueryBody, limits: IngressLimits) -> None:
    """Check one query; errors name its fields.

    Raises:
        InvalidInput: fields are missing, or cannot stand beside each other.
    """
    given = [name for name in ("text", "vector", "id") if getattr(query, name) is not None]
    if not given:
        raise InvalidInput("", "must have a text, a vector or an id")
    if len(given) > 1 and not (is_ordered_later(query) and given == ["text", "vector"]):
        raise InvalidInput(given[1], f"must be one of {given}")
    for name in ("hybrid", "rerank"):
        if getattr(query, name) is not None:
            _check_text(query, name, limits)
    if query.hybrid is not None:
        _check_hybrid(query, query.hybrid)
    if query.rerank is not None:
        _check_candidates("rerank.candidates", query.rerank.candidates, query.top_k)


def _check_text(query: QueryBody, name: str, limits: IngressLimits) -> None:
    """Check what a field needs beside it that uses the text of a query.

    Raises:
        InvalidInput: the query has no text, or a diversity.
        LimitExceeded: its text is too long.
    """
    if query.text is None:
        raise InvalidInput(name, "needs a 'text', which may stand beside a vector")
    if not query.text:
        raise InvalidInput("text", "must not be empty")
    if len(query.text) > limits.max_characters:
        raise LimitExceeded("text", "characters", len(query.text), limits.max_characters)
    if query.diversity is not None:
        problem = f"cannot stand beside '{name}', which orders the results by scores alone"
        raise InvalidInput("diversity", problem)


def _check_hybrid(query: QueryBody, hybrid: HybridBody) -> None:
    _check_candidates("hybrid.candidates", hybrid.candidates, query.top_k)
    weights = hybrid.weights
    if not (weights.dense or weights.lexical or weights.sparse):
        raise InvalidInput("hybrid.weights", "are all 0; one must be larger")
    if query.vector is not None and not weights.dense:
        raise InvalidInput("vector", "is not used, because 'hybrid.weights.dense' is 0")


def _check_candidates(field: str, candidates: int | None, top_k: int) -> None:
    if candidates is not None and candidates < top_k:
        problem = f"is {candidates}; it must be at least top_k, which is {top_k}"
        raise InvalidInput(field, problem)
