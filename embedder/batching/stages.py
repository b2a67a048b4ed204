"""The stages of the pipeline on top of a batcher, so that work of all requests shares batches.

A batch computes the union of the kinds of results that its inputs ask for.

The ``run`` function of each stage computes a batch: on a device of this process, or on a replica.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget, Slots
from embedder.batching.queue import BatchContext
from embedder.core.deadline import Deadline
from embedder.core.entries.blobs import stacked
from embedder.core.outputs import OutputKind
from embedder.core.pairs import PairRow
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

_Row = TokenRow | PairRow

_EncodedRow = tuple[Any, float, Encoded]
"""The vector of one input, the time at which its batch started, and the answer for the batch. Of an
input that asks for kinds, a tuple with a row of each of them."""


@dataclass(frozen=True, slots=True)
class _AskingRow:
    """The tokens of one input, and the kinds of results that are asked of it."""

    tokens: _Row
    kinds: tuple[OutputKind, ...]


class BatchingEncoder:
    """Encode the token batches of all requests in shared batches.

    ``first`` is the first output of the model.
    """

    def __init__(
        self,
        run: RunEncode,
        *,
        budget: Budget,
        first: OutputKind = OutputKind.DENSE,
        slots: int | Slots | Callable[[], Slots] = 1,
        cancel_abandoned: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        async def run_rows(
            rows: list[_Row | _AskingRow], context: BatchContext
        ) -> Sequence[_EncodedRow]:
            started_s = clock()
            asking = _AskingRow in map(type, rows)
            tokens = _union(rows, first) if asking else TokenBatch.of(cast("list[_Row]", rows))
            answer = await run(tokens, context)
            vectors = _split(rows, tokens.kinds, answer, first) if asking else answer.vectors
            return [(vector, started_s, answer) for vector in vectors]

        self._clock = clock
        self.batcher: Batcher[_Row | _AskingRow, _EncodedRow] = Batcher(
            run_rows, budget=budget, slots=slots, cancel_abandoned=cancel_abandoned, clock=clock
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
        items: Sequence[_Row | _AskingRow] = tokens.items()
        if tokens.kinds:
            items = [_AskingRow(row, tokens.kinds) for row in tokens.items()]
        rows = await self.batcher.submit(
            items, tokens.lengths.tolist(), priority=priority, deadline=deadline
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
        if tokens.kinds:
            found, *others = map(stacked, zip(*vectors, strict=True))
        else:
            bytes_of_rows = isinstance(vectors[0], bytes)
            found, others = stacked(vectors) if bytes_of_rows else np.stack(vectors), []
        return Encoded(found, queue_s, inference_s, batches=tuple(batches), others=tuple(others))


def _union(rows: Sequence[_Row | _AskingRow], first: OutputKind) -> TokenBatch:
    """Pack inputs, with the union of the kinds that they ask for."""
    wanted = {kind for row in rows for kind in _kinds(row, first)}
    kinds = tuple(kind for kind in OutputKind if kind in wanted)
    return TokenBatch.of(
        [row.tokens if isinstance(row, _AskingRow) else row for row in rows], kinds
    )


def _split(
    rows: Sequence[_Row | _AskingRow],
    kinds: tuple[OutputKind, ...],
    answer: Encoded,
    first: OutputKind,
) -> list[Any]:
    """Return what each input has asked for."""
    found: dict[OutputKind, NDArray[Any]] = dict(
        zip(kinds, (answer.vectors, *answer.others), strict=True)
    )
    return [
        tuple(found[kind][at] for kind in row.kinds)
        if isinstance(row, _AskingRow)
        else found[first][at]
        for at, row in enumerate(rows)
    ]


def _kinds(row: _Row | _AskingRow, first: OutputKind) -> tuple[OutputKind, ...]:
    return row.kinds if isinstance(row, _AskingRow) else (first,)


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
