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
"""Texts whose token vectors are kept at once: those of all candidates may take gigabytes."""


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
    for start in range(0, len(pairs), GROUP):
        group = pairs[start : start + GROUP]
        read = [pair.text for pair in group]
        tokens = await _tokens(service, connection, read, InputType.DOCUMENT, deadline)
        try:
            async with deadline.limit():
                found = await asyncio.to_thread(_compared, group, queries, tokens)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("comparison of tokens") from None
        scores[start : start + GROUP] = found
    return scores


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
