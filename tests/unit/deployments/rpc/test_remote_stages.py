"""Stages behind handles: calls that wait together travel as one, and say what was meant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from deployments.rpc.remote_stages import RemoteCache, RemoteEncoder, RemoteTokenizer
from deployments.settings import StageSettings
from embedder.core.errors import (
    BackendFailure,
    DeadlineExceeded,
    EmbedderError,
    InvalidInput,
)
from embedder.core.types import Encoded, Input, Priority, TokenBatch, Tokenized, Truncate
from embedder.inference.tokenization import Piece
from embedder.settings.model import BatchSettings, ModelSettings
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    END,
    LetterEncoder,
    LetterTokenizer,
    as_handle,
)
from tests.unit.deployments.rpc.replica import from_replica

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
    remote = RemoteTokenizer(as_handle(stage), ONE_FLIGHT, ModelSettings(), BatchSettings())
    texts = [["first"], *([chr(97 + number), "and more"] for number in range(20))]
    answers = await asyncio.gather(
        *(remote.tokenize(text, truncate=Truncate.END, deadline=None) for text in texts)
    )

    assert len(stage.calls) < len(texts) / 4
    for text, answer in zip(texts, answers, strict=True):
        rows = [[ord(letter) for letter in word] for word in text]
        assert [row.tolist() for row in answer.tokens.rows()] == rows


async def test_pieces_and_ids_are_asked_for_directly_and_refused_by_their_place() -> None:
    class Replica(LetterTokenizer):
        async def decode(
            self, model: ModelSettings, rows: Sequence[Sequence[int]], skip_special_tokens: bool
        ) -> list[str]:
            try:
                return await super().decode(model, rows, skip_special_tokens)
            except EmbedderError as error:
                raise from_replica(error) from None

    remote = RemoteTokenizer(as_handle(Replica()), ONE_FLIGHT, ModelSettings(), BatchSettings())
    (pieces,) = await remote.pieces(["ab"], add_special_tokens=True, deadline=None)

    assert list(pieces) == [
        Piece(97, "a", False, 0, 1),
        Piece(98, "b", False, 1, 2),
        Piece(0, END, True, None, None),
    ]
    (bare,) = await remote.pieces(["a"], add_special_tokens=False, deadline=None)
    assert list(bare) == list(pieces)[:1]
    for skipped, texts in ((True, ["ab", ""]), (False, ["ab", END])):
        assert texts == await remote.decode(
            [[97, 98], [0]], skip_special_tokens=skipped, deadline=None
        )
    with pytest.raises(InvalidInput) as caught:
        await remote.decode([[97], [98, 1000]], skip_special_tokens=True, deadline=None)
    assert caught.value.field == "ids[1][1]"


async def test_pieces_do_not_wait_longer_than_the_deadline() -> None:
    class Stuck:
        async def pieces(self, *_: object) -> None:
            await asyncio.sleep(60)

    remote = RemoteTokenizer(as_handle(Stuck()), ONE_FLIGHT, ModelSettings(), BatchSettings())

    with pytest.raises(DeadlineExceeded, match="Tokenizer"):
        await remote.pieces(["a"], add_special_tokens=True, deadline=time.monotonic() + 0.05)


def _encoder(
    stage: LetterEncoder, model: ModelSettings | None = None, **batching: float
) -> RemoteEncoder:
    return RemoteEncoder(
        as_handle(stage),
        ONE_FLIGHT,
        model or ModelSettings(),
        BatchSettings.model_validate(batching),
        max_batch_tokens=100,
        width=4,
    )


def _row(number: int) -> list[int]:
    return [97] * (number % 5) + [98]


async def test_encoder_calls_that_wait_together_travel_together() -> None:
    stage = LetterEncoder()
    remote = _encoder(stage)

    async def encode(number: int) -> Encoded:
        batch = TokenBatch.of([_row(number)])
        return await remote.encode(batch, priority=Priority.INTERACTIVE, deadline=None)

    answers = await asyncio.gather(*(encode(number) for number in range(20)))

    assert len(stage.calls) < 5
    assert [answer.vectors.tolist() for answer in answers] == [
        [[n % 5, 1, 0, 0]] for n in range(20)
    ]


async def test_no_flight_has_more_inputs_than_a_batch_may_hold() -> None:
    stage = LetterEncoder()
    tokens = TokenBatch.of([_row(number) for number in range(20)])
    await _encoder(stage, max_items=3).encode(tokens, priority=Priority.BULK, deadline=None)

    assert [len(rows) for rows, _, _ in stage.calls] == [3, 3, 3, 3, 3, 3, 2]


@pytest.mark.parametrize(("bulk_delay_s", "first"), [(1000.0, "interactive"), (0.0, "bulk")])
async def test_bulk_work_waits_for_a_flight_as_long_as_is_set(
    bulk_delay_s: float, first: str
) -> None:
    stage = LetterEncoder()
    remote = _encoder(stage, bulk_delay_s=bulk_delay_s, max_items=1)

    def encode(ids: list[int], priority: Priority) -> asyncio.Task[Encoded]:
        batch = TokenBatch.of([ids])
        return asyncio.create_task(remote.encode(batch, priority=priority, deadline=None))

    # While the first is in the air, the others wait.
    sent = [encode([97], Priority.INTERACTIVE)]
    await asyncio.sleep(0)
    sent += [encode([98], Priority.BULK), encode([99], Priority.INTERACTIVE)]
    await asyncio.gather(*sent)
    whose = {97: "in the air", 98: "bulk", 99: "interactive"}

    assert [whose[rows[0][0]] for rows, _, _ in stage.calls][:2] == ["in the air", first]


async def test_the_wait_for_a_flight_counts_and_the_flight_itself_does_not() -> None:
    class SlowEncoder(LetterEncoder):
        async def encode(
            self,
            model: ModelSettings,
            tokens: TokenBatch,
            priority: Priority,
            timeout_s: float | None,
        ) -> Encoded:
            await asyncio.sleep(0.02)
            return await super().encode(model, tokens, priority, timeout_s)

    stage = SlowEncoder()
    stage.queue_s, stage.inference_s = 5.0, 7.0
    remote = _encoder(stage)

    async def encode(number: int) -> Encoded:
        batch = TokenBatch.of([[97] * 100])
        return await remote.encode(batch, priority=Priority.INTERACTIVE, deadline=None)

    first, second = await asyncio.gather(encode(0), encode(1))

    assert first.inference_s == second.inference_s == 7.0
    assert second.queue_s >= 5.019
    assert 5.0 <= first.queue_s < second.queue_s


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

    assert [answer.vectors.tolist() for answer in answers] == [[[1, 0, 0, 0]], [[0, 0, 0, 1]]]


async def test_a_cache_that_is_asked_directly_says_what_went_wrong() -> None:
    class Broken:
        async def get_many(self, keys: Sequence[bytes], width: int) -> None:
            raise ValueError("broken")

    with pytest.raises(BackendFailure, match="failed"):
        await RemoteCache("EmbeddingCache-0", as_handle(Broken())).get_many([b"key"], 4)
