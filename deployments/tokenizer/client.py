"""The Tokenizer deployment as a stage of the pipeline: waiting requests share one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from deployments.rpc.handle_client import Handle, HandleClient
from deployments.rpc.pickled_rows import PickledRows
from deployments.rpc.running_replicas import running_replicas
from deployments.settings.stages import StageSettings
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingTokenizer
from embedder.chunking.request import ChunkOptions, ChunkTable, SplitTexts
from embedder.core.deadline import Deadline
from embedder.core.protocols import Tokenizing
from embedder.core.types import Input, Tokenized, Truncate
from embedder.inference.tokenization import OffsetToken
from embedder.settings.model import BatchSettings, ModelSettings

CALL_CHARACTERS = 200_000
"""The most characters of one call."""

CHARACTER_BYTES = 4
PIECE_BYTES = 32
"""Upper bound on the bytes of a character, and estimated bytes of a token with its offsets."""

WORTH_CHARACTERS = 20_000
"""Tokenizing so many characters takes several times as long as a call between processes. Fewer
characters wait until a replica is free."""


class Splitting(Tokenizing, Protocol):
    """A tokenizer that splits texts too."""

    async def split(
        self,
        texts: Sequence[Input],
        options: ChunkOptions,
        *,
        prompt: str,
        most: int,
        deadline: Deadline,
    ) -> SplitTexts:
        """Return the chunks of every text behind ``prompt``, ``most`` in all.

        Raises:
            InvalidInput: as `embedder.chunking.texts.split_texts`.
            DeadlineExceeded: other texts occupied the tokenizer until the deadline.
        """


class RemoteTokenizer(BatchingTokenizer):
    """The Tokenizer deployment as the pipeline's stage for one model."""

    def __init__(
        self, handle: Handle, stage: StageSettings, model: ModelSettings, batching: BatchSettings
    ) -> None:
        self._client = HandleClient("Tokenizer", handle)
        self._model = model
        super().__init__(
            self._call,
            budget=Budget(CALL_CHARACTERS, bulk_delay_s=batching.bulk_delay_s),
            slots=lambda: stage.concurrent_calls(
                worth_tokens=WORTH_CHARACTERS, replicas=running_replicas(handle)
            ),
            cancel_abandoned=True,
        )

    async def _call(
        self, inputs: Sequence[Input], truncate: Truncate, context: BatchContext
    ) -> Tokenized:
        answer: Tokenized = await self._client.call(
            "tokenize",
            self._model,
            inputs,
            truncate,
            size=_items(inputs) * CHARACTER_BYTES,
            deadline=context.deadline,
        )
        return answer

    async def tokenize_with_offsets(
        self, texts: Sequence[str], *, add_special_tokens: bool, deadline: Deadline
    ) -> list[PickledRows[OffsetToken]]:
        """Return every token of every text with its offsets, without truncation."""
        tokens: list[PickledRows[OffsetToken]] = await self._ask(
            "tokenize_with_offsets", texts, add_special_tokens, deadline
        )
        return tokens

    async def decode(
        self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool, deadline: Deadline
    ) -> list[str]:
        """Return the text of every row of ids.

        Raises:
            InvalidInput: an id is not in the vocabulary; its field is ``ids[row][column]``.
        """
        texts: list[str] = await self._ask("decode", rows, skip_special_tokens, deadline)
        return texts

    async def split(
        self,
        texts: Sequence[Input],
        options: ChunkOptions,
        *,
        prompt: str,
        most: int,
        deadline: Deadline,
    ) -> SplitTexts:
        """Return what `Splitting.split` returns."""
        table: ChunkTable = await self._client.call(
            "split",
            self._model,
            texts,
            options,
            prompt,
            most,
            size=_items(texts) * CHARACTER_BYTES,
            deadline=deadline,
        )
        return table.split()

    async def _ask(self, method: str, rows: Sequence[Input], flag: bool, deadline: Deadline) -> Any:
        size = _items(rows) * PIECE_BYTES
        return await self._client.call(
            method, self._model, rows, flag, size=size, deadline=deadline
        )


def _items(rows: Sequence[Input]) -> int:
    return sum(map(len, rows))
