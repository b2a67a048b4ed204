"""Stages behind handles: calls that wait together travel as one, and say what was meant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest

from deployments.index import IndexShard
from deployments.remote import RemoteCache, RemoteEncoder, RemoteIndex, RemoteTokenizer
from deployments.settings import StageSettings
from embedder.config import ModelSettings
from embedder.errors import BackendFailure, EmbedderError, UnknownCollection
from embedder.index.points import Hit, Metric, Query
from embedder.types import Input, Priority, TokenBatch, Tokenized, Truncate, Vectors
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    LetterEncoder,
    LetterTokenizer,
    as_handle,
)
from tests.unit.deployments.replica import from_replica
from tests.unit.index.oracle import points

ONE_FLIGHT = StageSettings(max_replicas=1, flights_per_replica=1)


class SlowTokenizer(LetterTokenizer):
    """Takes long enough for callers to gather."""

    async def tokenize(
        self, model: ModelSettings, inputs: Sequence[Input], truncate: Truncate
    ) -> Tokenized:
        answer = await super().tokenize(model, inputs, truncate)
        await asyncio.sleep(0.02)
        return answer


async def test_tokenizer_calls_that_wait_together_travel_together() -> None:
    stage = SlowTokenizer()
    remote = RemoteTokenizer(as_handle(stage), ONE_FLIGHT, ModelSettings())
    texts = [["first"], *([chr(97 + number), "and more"] for number in range(20))]
    answers = await asyncio.gather(
        *(remote.tokenize(text, truncate=Truncate.END, deadline=None) for text in texts)
    )

    assert len(stage.calls) < len(texts) / 4
    for text, answer in zip(texts, answers, strict=True):
        rows = [[ord(letter) for letter in word] for word in text]
        assert [row.tolist() for row in answer.tokens.rows()] == rows


def _encoder(stage: LetterEncoder, model: ModelSettings | None = None) -> RemoteEncoder:
    return RemoteEncoder(
        as_handle(stage), ONE_FLIGHT, model or ModelSettings(), max_batch_tokens=100
    )


def _row(number: int) -> list[int]:
    return [97] * (number % 5) + [98]


async def test_encoder_calls_that_wait_together_travel_together() -> None:
    stage = LetterEncoder()
    remote = _encoder(stage)

    async def encode(number: int) -> Vectors:
        batch = TokenBatch.of([_row(number)])
        return await remote.encode(batch, priority=Priority.INTERACTIVE, deadline=None)

    answers = await asyncio.gather(*(encode(number) for number in range(20)))

    assert len(stage.calls) < 5
    assert [answer.tolist() for answer in answers] == [[[n % 5, 1, 0, 0]] for n in range(20)]


@pytest.mark.parametrize("priority", Priority)
async def test_the_encoder_is_told_whose_work_it_is_and_how_long_it_may_take(
    priority: Priority,
) -> None:
    stage = LetterEncoder()
    remote = _encoder(stage)
    batch = TokenBatch.of([[97]])
    await remote.encode(batch, priority=priority, deadline=time.monotonic() + 30)
    await remote.encode(batch, priority=priority, deadline=None)
    (_, first, seconds), (_, second, forever) = stage.calls

    assert first is second is priority
    assert seconds is not None
    assert 25 < seconds <= 30
    assert forever is None


async def test_the_encoder_is_told_which_model_is_meant() -> None:
    remotes = [_encoder(LetterEncoder(), ModelSettings(name=name)) for name in (ALIAS, "own")]
    batch = TokenBatch.of([[97]])
    answers = [
        await remote.encode(batch, priority=Priority.BULK, deadline=None) for remote in remotes
    ]

    assert [answer.tolist() for answer in answers] == [[[1, 0, 0, 0]], [[0, 0, 0, 1]]]


async def test_searches_that_wait_together_travel_together_and_fail_alone() -> None:
    class Counting(IndexShard):
        sends = 0

        async def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
            Counting.sends += 1
            try:
                return await super().search(queries)
            except EmbedderError as error:
                raise from_replica(error) from None

    shard = Counting()
    remote = RemoteIndex(as_handle(shard))
    await remote.create("line", Metric.L1, None)
    await remote.upsert("line", points({str(n): [float(n)] for n in range(20)}), None)

    async def nearest(name: str, number: int) -> list[list[Hit]]:
        return await remote.search([Query(name, np.array([number], np.float32), 1)], None)

    answers = await asyncio.gather(*(nearest("line", n) for n in range(20)))
    assert Counting.sends < 5
    assert [hits[0].id for (hits,) in answers] == [str(n) for n in range(20)]

    mixed = await asyncio.gather(
        nearest("line", 3), nearest("gone", 3), nearest("line", 4), return_exceptions=True
    )
    assert isinstance(mixed[1], UnknownCollection)
    assert [answer[0][0].id for answer in mixed[::2] if isinstance(answer, list)] == ["3", "4"]


async def test_a_cache_that_is_asked_directly_says_what_went_wrong() -> None:
    class Broken:
        async def get_many(self, keys: Sequence[bytes], width: int) -> None:
            raise ValueError("broken")

    with pytest.raises(BackendFailure, match="failed"):
        await RemoteCache(as_handle(Broken())).get_many([b"key"], 4)
