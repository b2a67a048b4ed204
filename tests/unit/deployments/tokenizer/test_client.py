"""The Tokenizer behind a handle: waiting requests share a call, errors name the input at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from deployments.settings.stages import StageSettings
from deployments.tokenizer.client import RemoteTokenizer
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import DeadlineExceeded, EmbedderError, InvalidInput
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.tokenization import OffsetToken
from embedder.settings.model import BatchSettings, ModelSettings
from tests.unit.deployments.ingress.letter_tokenizer import END, LetterTokenizer
from tests.unit.deployments.local_handle import as_handle
from tests.unit.deployments.rpc.replica_errors import from_replica

pytestmark = pytest.mark.usefixtures("virtual_time")

ONE_CALL = StageSettings(max_replicas=1, calls_per_replica=1)


class SlowTokenizer(LetterTokenizer):
    """Takes long enough for callers to gather."""

    async def tokenize(
        self, model: ModelSettings, inputs: Sequence[Input], truncate: Truncate
    ) -> Tokenized:
        answer = await super().tokenize(model, inputs, truncate)
        await asyncio.sleep(0.02)
        return answer


async def test_waiting_requests_share_calls() -> None:
    stage = SlowTokenizer()
    remote = RemoteTokenizer(as_handle(stage), ONE_CALL, ModelSettings(), BatchSettings())
    texts = [["first"], *([chr(97 + number), "and more"] for number in range(20))]
    answers = await asyncio.gather(
        *(remote.tokenize(text, truncate=Truncate.END, deadline=NEVER) for text in texts)
    )

    assert len(stage.calls) < len(texts) / 4
    for text, answer in zip(texts, answers, strict=True):
        rows = [[ord(letter) for letter in word] for word in text]
        assert [row.tolist() for row in answer.tokens.rows()] == rows


async def test_errors_of_pieces_and_ids_name_row_and_column() -> None:
    class Replica(LetterTokenizer):
        async def decode(
            self, model: ModelSettings, rows: Sequence[Sequence[int]], skip_special_tokens: bool
        ) -> list[str]:
            try:
                return await super().decode(model, rows, skip_special_tokens)
            except EmbedderError as error:
                raise from_replica(error) from None

    remote = RemoteTokenizer(as_handle(Replica()), ONE_CALL, ModelSettings(), BatchSettings())
    (tokens,) = await remote.tokenize_with_offsets(["ab"], add_special_tokens=True, deadline=NEVER)

    assert list(tokens) == [
        OffsetToken(97, "a", False, 0, 1),
        OffsetToken(98, "b", False, 1, 2),
        OffsetToken(0, END, True, None, None),
    ]
    (bare,) = await remote.tokenize_with_offsets(["a"], add_special_tokens=False, deadline=NEVER)
    assert list(bare) == list(tokens)[:1]
    for skipped, texts in ((True, ["ab", ""]), (False, ["ab", END])):
        assert texts == await remote.decode(
            [[97, 98], [0]], skip_special_tokens=skipped, deadline=NEVER
        )
    with pytest.raises(InvalidInput) as caught:
        await remote.decode([[97], [98, 1000]], skip_special_tokens=True, deadline=NEVER)
    assert caught.value.field == "ids[1][1]"


async def test_pieces_end_at_the_deadline() -> None:
    class Stuck:
        async def tokenize_with_offsets(self, *_: object) -> None:
            await asyncio.sleep(60)

    remote = RemoteTokenizer(as_handle(Stuck()), ONE_CALL, ModelSettings(), BatchSettings())

    with pytest.raises(DeadlineExceeded, match="Tokenizer"):
        await remote.tokenize_with_offsets(
            ["a"], add_special_tokens=True, deadline=Deadline.after(0.05)
        )
