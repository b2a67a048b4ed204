"""The stages of the pipeline over handles: calls that wait together travel together.

A hop costs as much as embedding a sentence, so no call pays for one alone: a few are in the air,
and whatever comes meanwhile gathers in a batcher and leaves as one. Every call carries the seconds
that remain to its callers.
"""

from __future__ import annotations

from collections.abc import Sequence

from deployments.remote import Handle, Remote, remaining_s
from deployments.settings import StageSettings
from embedder.batching.gathering import GatheringCache, GatheringEncoder, GatheringTokenizer
from embedder.batching.packing import Budget
from embedder.batching.slots import Slots
from embedder.batching.waiting import Terms
from embedder.config import ModelSettings
from embedder.tokenization import Piece
from embedder.types import (
    CacheHits,
    Encoded,
    Entries,
    Input,
    TokenBatch,
    Tokenized,
    Truncate,
)

FLIGHT_CHARACTERS = 200_000
FLIGHT_KEYS = 4096

INSERTS_PAUSE_S = 0.25
"""Between two calls with inserts, for which nobody waits: each costs both ends a millisecond."""

WORTH_TOKENS = 256
WORTH_CHARACTERS = 20_000
WORTH_KEYS = 256
"""What takes a stage several times as long as a hop: less waits until a replica is free."""


class RemoteTokenizer(GatheringTokenizer):
    """The Tokenizer deployment as the pipeline's stage for one model."""

    def __init__(self, handle: Handle, stage: StageSettings, model: ModelSettings) -> None:
        self._remote = Remote("Tokenizer", handle)
        self._model = model
        super().__init__(
            self._call,
            budget=Budget(max_tokens=FLIGHT_CHARACTERS),
            slots=stage.flights(worth_tokens=WORTH_CHARACTERS),
            cancels=True,
        )

    async def _call(self, inputs: Sequence[Input], truncate: Truncate, terms: Terms) -> Tokenized:
        answer: Tokenized = await self._remote.call(
            "tokenize", self._model, inputs, truncate, deadline=terms.deadline
        )
        return answer

    async def pieces(
        self, texts: Sequence[str], *, add_special_tokens: bool, deadline: float | None
    ) -> list[list[Piece]]:
        """Return every token of every text with its place there; nothing is cut."""
        pieces: list[list[Piece]] = await self._remote.call(
            "pieces", self._model, texts, add_special_tokens, deadline=deadline
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
            "decode", self._model, rows, skip_special_tokens, deadline=deadline
        )
        return texts


class RemoteEncoder(GatheringEncoder):
    """The Encoder deployment as the pipeline's stage for one model.

    A flight is at most one batch of the encoder's, of ``max_batch_tokens``.
    """

    def __init__(
        self, handle: Handle, stage: StageSettings, model: ModelSettings, *, max_batch_tokens: int
    ) -> None:
        self._remote = Remote("Encoder", handle)
        self._model = model
        super().__init__(
            self._call,
            budget=Budget(max_tokens=max_batch_tokens),
            slots=stage.flights(worth_tokens=WORTH_TOKENS),
            cancels=True,
        )

    async def _call(self, tokens: TokenBatch, terms: Terms) -> Encoded:
        timeout_s = remaining_s(terms.deadline)
        encoded: Encoded = await self._remote.call(
            "encode", self._model, tokens, terms.priority, timeout_s, deadline=terms.deadline
        )
        return encoded


class RemoteCache(GatheringCache):
    """One shard of the EmbeddingCache, ``name`` being its deployment."""

    def __init__(self, name: str, handle: Handle) -> None:
        self._remote = Remote(name, handle)
        super().__init__(
            self._look_up,
            self._insert,
            budget=Budget(FLIGHT_KEYS, max_items=FLIGHT_KEYS),
            slots=Slots(2, eager=1, worth_tokens=WORTH_KEYS),
            pause_s=INSERTS_PAUSE_S,
        )

    async def _look_up(self, keys: list[bytes], width: int, terms: Terms) -> CacheHits:
        hits: CacheHits = await self._remote.call("get_many", keys, width, deadline=terms.deadline)
        return hits

    async def _insert(self, keys: list[bytes], entries: Entries, terms: Terms) -> None:
        await self._remote.call("put_many", keys, entries, deadline=terms.deadline)
