"""A service with a second model, which reads a query and a text together.

Its score of a pair is the number of letters of the text that the query has, less half of those that
it lacks. So for "ab" the text "abz" has 1.5. The model reads eight letters of both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from embedder.core.deadline import Deadline
from embedder.core.outputs import ActivationName, OutputKind
from embedder.core.pairs import PairRow
from embedder.core.tracing import SpanContext
from embedder.core.types import Encoded, ModelInfo, Priority, TokenBatch
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    MODEL,
    FakeService,
    LetterEncoder,
)

READER = "reader"
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
        if model.name not in (READER, JUDGE):
            return await super().describe(model)
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
    """Serves the letters, the reader and the judge."""

    def __init__(self, **given: Any) -> None:
        super().__init__({"name": ALIAS}, {"name": JUDGE}, {"name": READER}, **given)
        self.reading = ReadingEncoder()
        self.pools["Encoder"]._stage = self.reading


def _score(row: PairRow) -> float:
    query, text = set(row.ids[row.types == 0].tolist()), row.ids[row.types == 1].tolist()
    return FACTOR * sum(1.0 if one in query else -0.5 for one in text)
