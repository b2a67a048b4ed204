"""The stages of the pipeline over handles: calls that wait together travel together.

A hop costs as much as embedding a sentence, so no call pays for one alone: a few are in the air,
and whatever comes meanwhile gathers in a batcher and leaves as one. Every call carries the seconds
that remain to its callers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from deployments.rpc import message_size
from deployments.rpc.packed import Packed
from deployments.rpc.remote import Handle, Remote, remaining_s
from deployments.settings import StageSettings
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.slots import Slots
from embedder.batching.stages import BatchingCache, BatchingEncoder, BatchingTokenizer
from embedder.core.types import (
    CacheHits,
    Encoded,
    Entries,
    Input,
    TokenBatch,
    Tokenized,
    Truncate,
)
from embedder.inference.tokenization import Piece
from embedder.settings.model import BatchSettings, ModelSettings

FLIGHT_CHARACTERS = 200_000
FLIGHT_KEYS = 4096

CHARACTER_BYTES = 4
PIECE_BYTES = 32
"""At most what a character takes, and about what a token with its place does."""

INSERTS_PAUSE_S = 0.25
"""Between two calls with inserts, for which nobody waits: each costs both ends a millisecond."""

INSERTED_BYTES = 16 * 2**20
"""In one call with inserts: with the pause, more a second than models compute."""

WORTH_TOKENS = 256
WORTH_CHARACTERS = 20_000
WORTH_KEYS = 256
"""What takes a stage several times as long as a hop: less waits until a replica is free."""


class RemoteTokenizer(BatchingTokenizer):
    """The Tokenizer deployment as the pipeline's stage for one model."""

    def __init__(
        self, handle: Handle, stage: StageSettings, model: ModelSettings, batching: BatchSettings
    ) -> None:
        self._remote = Remote("Tokenizer", handle)
        self._model = model
        super().__init__(
            self._call,
            budget=Budget(FLIGHT_CHARACTERS, bulk_delay_s=batching.bulk_delay_s),
            slots=stage.flights(worth_tokens=WORTH_CHARACTERS),
            cancel_abandoned=True,
        )

    async def _call(
        self, inputs: Sequence[Input], truncate: Truncate, context: BatchContext
    ) -> Tokenized:
        answer: Tokenized = await self._remote.call(
            "tokenize",
            self._model,
            inputs,
            truncate,
            size=_items(inputs) * CHARACTER_BYTES,
            deadline=context.deadline,
        )
        return answer

    async def pieces(
        self, texts: Sequence[str], *, add_special_tokens: bool, deadline: float | None
    ) -> list[Packed[Piece]]:
        """Return every token of every text with its place there; nothing is cut."""
        pieces: list[Packed[Piece]] = await self._remote.call(
            "pieces",
            self._model,
            texts,
            add_special_tokens,
            size=_items(texts) * PIECE_BYTES,
            deadline=deadline,
        )
        return pieces

    async def decode(
        self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool, deadline: float | None
    ) -> list[str]:
        """Return the text of every row of ids.

        Raises:
            InvalidInput: an id is not of the vocabulary; the error names it ``ids[row][place]``.
        """
        texts: list[str] = await self._remote.call(
            "decode",
            self._model,
            rows,
            skip_special_tokens,
            size=_items(rows) * PIECE_BYTES,
            deadline=deadline,
        )
        return texts


class RemoteEncoder(BatchingEncoder):
    """The Encoder deployment as the pipeline's stage for one model.

    A flight is at most one batch of the encoder's, of ``max_batch_tokens``, and its answer is of
    no more vectors of ``width`` than are gathered.
    """

    def __init__(
        self,
        handle: Handle,
        stage: StageSettings,
        model: ModelSettings,
        batching: BatchSettings,
        *,
        max_batch_tokens: int,
        width: int,
    ) -> None:
        self._remote = Remote("Encoder", handle)
        self._model = model
        self._width = width
        most = message_size.rows_within(width)
        super().__init__(
            self._call,
            budget=Budget(
                max_batch_tokens,
                max_items=min(batching.max_items, most),
                bulk_delay_s=batching.bulk_delay_s,
            ),
            slots=stage.flights(worth_tokens=WORTH_TOKENS),
            cancel_abandoned=True,
        )

    async def _call(self, tokens: TokenBatch, context: BatchContext) -> Encoded:
        timeout_s = remaining_s(context.deadline)
        encoded: Encoded = await self._remote.call(
            "encode",
            self._model,
            tokens,
            context.priority,
            timeout_s,
            size=4 * max(len(tokens) * self._width, len(tokens.ids)),
            deadline=context.deadline,
        )
        return encoded


class RemoteCache(BatchingCache):
    """One shard of the EmbeddingCache, ``name`` being its deployment."""

    def __init__(self, name: str, handle: Handle) -> None:
        self._remote = Remote(name, handle)
        super().__init__(
            self._look_up,
            self._insert,
            lookups=partial(_keys, message_size.GATHERED_BYTES),
            inserts=partial(_keys, INSERTED_BYTES),
            slots=Slots(2, eager=1, worth_tokens=WORTH_KEYS),
            pause_s=INSERTS_PAUSE_S,
        )

    async def _look_up(self, keys: list[bytes], width: int, context: BatchContext) -> CacheHits:
        size = len(keys) * 4 * width
        hits: CacheHits = await self._remote.call(
            "get_many", keys, width, size=size, deadline=context.deadline
        )
        return hits

    async def _insert(self, keys: list[bytes], entries: Entries, context: BatchContext) -> None:
        size = entries.vectors.nbytes
        await self._remote.call("put_many", keys, entries, size=size, deadline=context.deadline)


def _keys(most_bytes: int, width: int) -> Budget:
    """Return how many entries of a width travel in one call."""
    most = min(FLIGHT_KEYS, message_size.rows_within(width, most_bytes))
    return Budget(FLIGHT_KEYS, max_items=most)


def _items(rows: Sequence[Input]) -> int:
    return sum(map(len, rows))
