"""A service with a second model, which reads a query and a text together.

Its score of a pair is the number of the first eight letters of the text that the query has, less
half of those that it lacks. So for "ab" the text "abz" has 1.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from embedder.core.deadline import Deadline
from embedder.core.outputs import OutputKind
from embedder.core.pairs import Pair, PairRow
from embedder.core.tracing import SpanContext
from embedder.core.types import Encoded, Input, ModelInfo, Priority, TokenBatch, Tokenized, Truncate
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    MODEL,
    FakeService,
    LetterEncoder,
)
from tests.unit.deployments.ingress.letter_tokenizer import MAX_TOKENS, LetterTokenizer

READER = "reader"
JUDGE = "judge"
"""A model of two labels, which cannot rank."""


class ReadingTokenizer(LetterTokenizer):
    """Tokenizes pairs too: the query has the type 0, and the text the type 1."""

    async def tokenize(
        self, model: ModelSettings, inputs: Sequence[Input], truncate: Truncate
    ) -> Tokenized:
        pairs = [one for one in inputs if isinstance(one, Pair)]
        if not pairs:
            return await super().tokenize(model, inputs, truncate)
        self.calls.append(list(inputs))
        rows = [_row(pair) for pair in pairs]
        return Tokenized(TokenBatch.of(rows), np.zeros(len(rows), np.bool_))


class ReadingEncoder(LetterEncoder):
    """Scores pairs; raises ``fault`` instead, if that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None

    async def describe(self, model: ModelSettings) -> ModelInfo:
        if model.name not in (READER, JUDGE):
            return await super().describe(model)
        labels = ("relevance",) if model.name == READER else ("no", "yes")
        outputs = (OutputKind.SCORES,)
        digest = "3" * 64
        return replace(
            *(MODEL,),
            name=model.name,
            digest=digest,
            width=len(labels),
            outputs=outputs,
            labels=labels,
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
        self.tokenizing = ReadingTokenizer()
        self.pools["Encoder"]._stage = self.reading
        self.handles["tokenizer"]._stage = self.tokenizing


def _row(pair: Pair) -> PairRow:
    ids = [[ord(one) for one in half[:MAX_TOKENS]] for half in (pair.query, pair.text)]
    types = [number for number, half in enumerate(ids) for _ in half]
    return PairRow(np.array([*chain(*ids)], np.int32), np.array(types, np.int8))


def _score(row: PairRow) -> float:
    query, text = set(row.ids[row.types == 0].tolist()), row.ids[row.types == 1].tolist()
    return sum(1.0 if one in query else -0.5 for one in text)
