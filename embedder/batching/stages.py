"""The pipeline's tokenizer and encoder on top of a batcher: work of all requests is gathered.

What a batch then runs on, a device here or a replica elsewhere, is the ``run`` that is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.waiting import Terms
from embedder.types import Input, Priority, TokenBatch, Tokenized, TokenRow, Truncate, Vectors

RunEncode = Callable[[TokenBatch, Terms], Awaitable[Vectors]]
RunTokenize = Callable[[Sequence[Input], Truncate, Terms], Awaitable[Tokenized]]


class GatheringEncoder:
    """Encode token batches together with those of other requests."""

    def __init__(
        self, run: RunEncode, *, budget: Budget, slots: int = 1, cancels: bool = False
    ) -> None:
        async def run_rows(rows: list[TokenRow], terms: Terms) -> Sequence[Vectors]:
            return list(await run(TokenBatch.of(rows), terms))

        self.batcher: Batcher[TokenRow, Vectors] = Batcher(
            run_rows, budget=budget, slots=slots, cancels=cancels
        )

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: float | None
    ) -> Vectors:
        """Return float32[n, width] of a batch of at least one input, in order."""
        rows = await self.batcher.submit(
            tokens.rows(), tokens.lengths.tolist(), priority=priority, deadline=deadline
        )
        return np.stack(rows)


class GatheringTokenizer:
    """Tokenize inputs together with those of other requests."""

    def __init__(
        self, run: RunTokenize, *, budget: Budget, slots: int = 1, cancels: bool = False
    ) -> None:
        self._batchers = {
            truncate: Batcher(_rows_of(run, truncate), budget=budget, slots=slots, cancels=cancels)
            for truncate in Truncate
        }

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: float | None
    ) -> Tokenized:
        """Return the tokens of every input; a budget's tokens are characters here."""
        rows = await self._batchers[truncate].submit(
            inputs, [len(item) for item in inputs], deadline=deadline
        )
        return Tokenized(
            TokenBatch.of([ids for ids, _ in rows]), np.array([cut for _, cut in rows], np.bool_)
        )


def _rows_of(
    run: RunTokenize, truncate: Truncate
) -> Callable[[list[Input], Terms], Awaitable[list[tuple[TokenRow, bool]]]]:
    async def run_rows(inputs: list[Input], terms: Terms) -> list[tuple[TokenRow, bool]]:
        answer = await run(inputs, truncate, terms)
        return list(zip(answer.tokens.rows(), answer.truncated.tolist(), strict=True))

    return run_rows
