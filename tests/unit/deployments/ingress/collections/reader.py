"""A service with models that read texts: one reads a query and a text together, one their tokens.

Its score of a pair is the number of letters of the text that the query has, less half of those that
it lacks. So for "ab" the text "abz" has 1.5. The model reads eight letters of both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deployments.ingress.service.connection import Connection
from embedder.core.deadline import Deadline
from embedder.core.outputs import ActivationName, OutputKind, RaggedRows
from embedder.core.pairs import PairRow
from embedder.core.request import EmbedOptions, Outputs
from embedder.core.tracing import SpanContext
from embedder.core.types import (
    Encoded,
    Input,
    InputType,
    ModelInfo,
    Priority,
    TokenBatch,
    Vectors,
)
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    MODEL,
    FakeService,
    LetterEncoder,
)

READER = "reader"
MATCHER = "matcher"
"""A model of token vectors: that of a letter is on the unit circle, at the angle of its code point.
"""

JUDGE = "judge"
"""A model of two labels, which cannot rank."""

FACTOR = 1.0
"""By which scores are multiplied."""


class ReadingEncoder(LetterEncoder):
    """Scores pairs; raises ``fault`` instead, if that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.activation: ActivationName = "identity"

    async def describe(self, model: ModelSettings) -> ModelInfo:
        if model.name not in (READER, JUDGE, MATCHER):
            return await super().describe(model)
        if model.name == MATCHER:
            return replace(MODEL, name=MATCHER, digest="4" * 64, outputs=(OutputKind.TOKENS,))
        labels = ("relevance",) if model.name == READER else ("no", "yes")
        return replace(
            MODEL,
            name=model.name,
            digest="3" * 64,
            width=len(labels),
            outputs=(OutputKind.SCORES,),
            labels=labels,
            activation=self.activation,
        )

    async def encode(
        self,
        model: ModelSettings,
        tokens: TokenBatch,
        priority: Priority,
        deadline: Deadline,
        requests: tuple[SpanContext, ...] = (),
    ) -> Encoded:
        if model.name != READER:
            return await super().encode(model, tokens, priority, deadline, requests)
        if self.fault is not None:
            raise self.fault
        scores = [[_score(row)] for row in tokens.items() if isinstance(row, PairRow)]
        return Encoded(np.array(scores or [[0.0]], np.float32), 0.0, 0.0)


class ReadingService(FakeService):
    """Serves the letters, the judge, the reader and the matcher; keeps the texts of the last."""

    def __init__(self, **given: Any) -> None:
        names = (ALIAS, JUDGE, READER, MATCHER)
        super().__init__(*({"name": name} for name in names), **given)
        self.matched: list[tuple[list[str], InputType | None]] = []
        self.reading = ReadingEncoder()
        self.pools["Encoder"]._stage = self.reading

    async def outputs_of(
        self,
        connection: Connection,
        inputs: Sequence[Input],
        kinds: Collection[OutputKind],
        options: EmbedOptions,
        deadline: Deadline,
    ) -> Outputs:
        assert (connection.info.name, [*kinds]) == (MATCHER, [OutputKind.TOKENS])
        if self.reading.fault is not None:
            raise self.reading.fault
        texts = list(map(str, inputs))
        self.matched.append((texts, options.input_type))
        lengths = np.array(list(map(len, texts)), np.int32)
        tokens = RaggedRows.of(np.concatenate(list(map(tokens_of, texts))), lengths)
        return Outputs(
            {OutputKind.TOKENS: tokens}, lengths, np.zeros(len(texts), np.bool_), 0, MATCHER
        )


def tokens_of(text: str) -> Vectors:
    """Return the token vectors of a text."""
    angles = np.array(list(map(ord, text)), np.float64)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def _score(row: PairRow) -> float:
    query, text = set(row.ids[row.types == 0].tolist()), row.ids[row.types == 1].tolist()
    return FACTOR * sum(1.0 if one in query else -0.5 for one in text)
