"""The stages of the pipeline on top of a batcher, so that work of all requests shares batches.

The ``run`` function of each stage computes a batch: on a device of this process, or on a replica.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, cast

import numpy as np

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget, Slots
from embedder.batching.queue import BatchContext
from embedder.core.deadline import Deadline
from embedder.core.entries.blobs import stacked
from embedder.core.outputs import OutputKind
from embedder.core.pairs import ChunkTokens, PairRow
from embedder.core.tracing import SpanContext, link_current
from embedder.core.types import (
    Encoded,
    Input,
    Priority,
    TokenBatch,
    Tokenized,
    TokenRow,
    Truncate,
)

RunEncode = Callable[[TokenBatch, BatchContext], Awaitable[Encoded]]
RunTokenize = Callable[[Sequence[Input], Truncate, BatchContext], Awaitable[Tokenized]]

_Row = TokenRow | PairRow | ChunkTokens

_EncodedRow = tuple[Any, float, Encoded]
"""The row of one input, the time at which its batch started, and the answer for the batch. Of an
input that asks for kinds, a tuple with a row of each of them."""

Kinds = tuple[OutputKind, ...]
"""As in `TokenBatch`: the kinds of results that inputs ask for."""


class BatchingEncoder:
    """Encode the token batches of all requests in shared batches.

    A batch has inputs that ask for the same kinds of results: an input costs no more than it needs.
    ``most_tokens`` returns a limit of a batch with these kinds, in addition to the budget.
    """

    def __init__(
        self,
        run: RunEncode,
        *,
        budget: Budget,
        slots: int | Slots | Callable[[], Slots] = 1,
        cancel_abandoned: bool = False,
        clock: Callable[[], float] = time.monotonic,
        most_tokens: Callable[[Kinds], int] | None = None,
    ) -> None:
        async def run_rows(rows: list[_Row], context: BatchContext) -> Sequence[_EncodedRow]:
            started_s = clock()
            kinds = cast("Kinds", context.group)
            answer = await run(TokenBatch.of(rows, kinds), context)
            found: Iterable[Any] = answer.vectors
            if kinds:
                found = zip(answer.vectors, *answer.others, strict=True)
            return [(row, started_s, answer) for row in found]

        self._clock = clock
        self.batcher: Batcher[_Row, _EncodedRow] = Batcher(
            run_rows,
            budget=budget,
            slots=slots,
            cancel_abandoned=cancel_abandoned,
            clock=clock,
            most_tokens=cast("Callable[[Hashable], int] | None", most_tokens),
        )

    @property
    def idle(self) -> bool:
        """Return whether nothing waits or runs."""
        return self.batcher.idle

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        """Return the rows of at least one input, in order.

        ``queue_s`` is the longest wait of an input: in this batcher plus as reported by ``run``.
        """
        submitted_s = self._clock()
        rows = await self.batcher.submit(
            tokens.items(),
            tokens.lengths.tolist(),
            priority=priority,
            deadline=deadline,
            group=tokens.kinds,
        )
        vectors = []
        batches: dict[SpanContext, None] = {}
        queue_s = inference_s = 0.0
        for vector, started_s, answer in rows:
            vectors.append(vector)
            queue_s = max(queue_s, started_s - submitted_s + answer.queue_s)
            inference_s = max(inference_s, answer.inference_s)
            if answer.batches:
                batches |= dict.fromkeys(answer.batches)
        link_current(batches)
        columns = zip(*vectors, strict=True) if tokens.kinds else [vectors]
        found, *others = map(stacked, columns)
        return Encoded(found, queue_s, inference_s, batches=tuple(batches), others=tuple(others))


class BatchingTokenizer:
    """Tokenize the inputs of all requests in shared batches."""

    def __init__(
        self,
        run: RunTokenize,
        *,
        budget: Budget,
        slots: int | Slots | Callable[[], Slots] = 1,
        cancel_abandoned: bool = False,
    ) -> None:
        self._batchers = {
            truncate: Batcher(
                _rows_of(run, truncate),
                budget=budget,
                slots=slots,
                cancel_abandoned=cancel_abandoned,
            )
            for truncate in Truncate
        }

    @property
    def waiting_characters(self) -> int:
        """Return the characters of the queued inputs."""
        return sum(batcher.waiting_tokens for batcher in self._batchers.values())

    @property
    def submitted_characters(self) -> int:
        """Return the characters of all inputs that were ever submitted."""
        return sum(batcher.submitted_tokens for batcher in self._batchers.values())

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        """Return the tokens of every input; the budget counts characters."""
        rows = await self._batchers[truncate].submit(
            inputs, list(map(len, inputs)), deadline=deadline
        )
        return Tokenized(
            TokenBatch.of([ids for ids, _ in rows]), np.array([cut for _, cut in rows], np.bool_)
        )


def _rows_of(
    run: RunTokenize, truncate: Truncate
) -> Callable[[list[Input], BatchContext], Awaitable[list[tuple[_Row, bool]]]]:
    async def run_rows(inputs: list[Input], context: BatchContext) -> list[tuple[_Row, bool]]:
        answer = await run(inputs, truncate, context)
        return list(zip(answer.tokens.items(), answer.truncated.tolist(), strict=True))

    return run_rows
