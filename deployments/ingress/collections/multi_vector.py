"""Scores texts by MaxSim of their token vectors and those of a query (late interaction)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from deployments.ingress.service.connection import Connection
from deployments.ingress.service.service import Service
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded
from embedder.core.outputs import OutputKind, RaggedRows, Task
from embedder.core.pairs import Pair
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType, Vectors
from embedder.similarity.late_interaction import maxsim

GROUP = 64
GROUP_TOKENS = 32_768
"""Texts whose token vectors are kept at once, and the most tokens that they can have together:
those of all candidates may take gigabytes. 32,768 vectors of 1,024 components are 128 MiB."""


async def late_interaction_scores(
    service: Service, model: str | None, pairs: Sequence[Pair], deadline: Deadline
) -> Vectors:
    """Return float32[n], the MaxSim of each pair by a model with token vectors.

    Raises:
        DeadlineExceeded: not all texts were compared by the deadline.
        EmbedderError: as `ServedModels.get` and `Pipeline.outputs`.
    """
    # One connection, because vectors of two models must not be compared if the name changes.
    connection = await service.models.get(model, deadline, task=Task.EMBED_TOKENS)
    texts = list(dict.fromkeys(pair.query for pair in pairs))
    rows = await _tokens(service, connection, texts, InputType.QUERY, deadline)
    queries = {text: row.values for text, row in zip(texts, rows.split(), strict=True)}
    scores = np.empty(len(pairs), np.float32)
    size = group_size(connection.info.max_tokens)
    for start in range(0, len(pairs), size):
        group = pairs[start : start + size]
        read = [pair.text for pair in group]
        tokens = await _tokens(service, connection, read, InputType.DOCUMENT, deadline)
        try:
            async with deadline.limit():
                found = await asyncio.to_thread(_compared, group, queries, tokens)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("comparison of tokens") from None
        scores[start : start + size] = found
    return scores


def group_size(max_tokens: int) -> int:
    """Return how many texts, each of at most ``max_tokens``, are compared at a time; at least 1."""
    return max(1, min(GROUP, GROUP_TOKENS // max_tokens))


async def _tokens(
    service: Service,
    connection: Connection,
    texts: Sequence[str],
    kind: InputType,
    deadline: Deadline,
) -> RaggedRows:
    """Return the token vectors of texts, which the model's prompt makes queries or documents."""
    answer = await service.outputs_of(
        connection, texts, (OutputKind.TOKENS,), EmbedOptions(input_type=kind), deadline
    )
    rows = answer.rows[OutputKind.TOKENS]
    assert isinstance(rows, RaggedRows)
    return rows


def _compared(pairs: Sequence[Pair], queries: Mapping[str, Vectors], tokens: RaggedRows) -> Vectors:
    """Return the score of each pair; ``tokens`` are those of its text."""
    rows = defaultdict[str, list[int]](list)
    for row, pair in enumerate(pairs):
        rows[pair.query].append(row)
    scores = np.empty(len(pairs), np.float32)
    for query, own in rows.items():
        scores[own] = maxsim(queries[query], tokens.take(np.array(own, np.intp)))
    return scores
