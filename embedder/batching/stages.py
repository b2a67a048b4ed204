"""The stages of the pipeline on top of a batcher, so that work of all requests shares batches.

The ``run`` function of each stage computes a batch: on a device of this process, or on a replica.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.slots import Slots
from embedder.core.deadline import Deadline
from embedder.core.types import (
    CacheHits,
    Encoded,
    Entries,
    Input,
    Priority,
    TokenBatch,
    Tokenized,
    TokenRow,
    Truncate,
    Vectors,
)

RunEncode = Callable[[TokenBatch, BatchContext], Awaitable[Encoded]]
RunTokenize = Callable[[Sequence[Input], Truncate, BatchContext], Awaitable[Tokenized]]
RunGet = Callable[[list[bytes], int, BatchContext], Awaitable[CacheHits]]
RunPut = Callable[[list[bytes], Entries, BatchContext], Awaitable[None]]
BudgetForWidth = Callable[[int], Budget]

_Row = tuple[Entries, int]
"""Entries and the number of one row in them; not copied yet."""

_Hit = tuple[CacheHits, int]
"""The hits of a lookup and the number of one row in them; not copied yet."""

_EncodedRow = tuple[Vectors, float, Encoded]
"""The vector of one input, the time at which its batch started, and the answer for the batch."""


class BatchingEncoder:
    """Encode the token batches of all requests in shared batches."""

    def __init__(
        self,
        run: RunEncode,
        *,
        budget: Budget,
        slots: int | Slots = 1,
        cancel_abandoned: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        async def run_rows(rows: list[TokenRow], context: BatchContext) -> Sequence[_EncodedRow]:
            started_s = clock()
            answer = await run(TokenBatch.of(rows), context)
            return [(vector, started_s, answer) for vector in answer.vectors]

        self._clock = clock
        self.batcher: Batcher[TokenRow, _EncodedRow] = Batcher(
            run_rows, budget=budget, slots=slots, cancel_abandoned=cancel_abandoned, clock=clock
        )

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        """Return float32[n, width] for at least one input, in order.

        ``queue_s`` is the longest wait of an input: in this batcher plus as reported by ``run``.
        """
        submitted_s = self._clock()
        rows = await self.batcher.submit(
            tokens.rows(), tokens.lengths.tolist(), priority=priority, deadline=deadline
        )
        return Encoded(
            np.stack([vector for vector, _, _ in rows]),
            max(started_s - submitted_s + answer.queue_s for _, started_s, answer in rows),
            max(answer.inference_s for _, _, answer in rows),
        )


class BatchingTokenizer:
    """Tokenize the inputs of all requests in shared batches."""

    def __init__(
        self,
        run: RunTokenize,
        *,
        budget: Budget,
        slots: int | Slots = 1,
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

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        """Return the tokens of every input; the budget counts characters."""
        rows = await self._batchers[truncate].submit(
            inputs, [len(item) for item in inputs], deadline=deadline
        )
        return Tokenized(
            TokenBatch.of([ids for ids, _ in rows]), np.array([cut for _, cut in rows], np.bool_)
        )


class BatchingCache:
    """Look up and insert the entries of all requests in shared batches.

    A batch holds entries of one vector width; ``lookups`` and ``inserts`` return the budget for a
    width. No request waits for an insert, so insert batches start at least ``pause_s`` apart, which
    keeps them few and large.
    """

    def __init__(
        self,
        get: RunGet,
        put: RunPut,
        *,
        lookups: BudgetForWidth,
        inserts: BudgetForWidth,
        slots: int | Slots = 1,
        pause_s: float = 0.0,
    ) -> None:
        self._get = get
        self._lookup_budget, self._insert_budget = lookups, inserts
        self._slots = slots
        self._lookups: dict[int, Batcher[bytes, _Hit | None]] = {}
        self._inserts: dict[int, Batcher[tuple[bytes, _Row], None]] = {}

        async def run_put(items: list[tuple[bytes, _Row]], context: BatchContext) -> Sequence[None]:
            await put([key for key, _ in items], _stack([row for _, row in items]), context)
            await asyncio.sleep(pause_s)
            return [None] * len(items)

        self._run_put = run_put

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the cached entries with ``width`` components among the keys."""
        if width not in self._lookups:
            self._lookups[width] = Batcher(
                self._run_get(width),
                budget=self._lookup_budget(width),
                slots=self._slots,
                cancel_abandoned=True,
            )
        rows = await self._lookups[width].submit(keys, [1] * len(keys))
        found = [(at, row) for at, row in enumerate(rows) if row is not None]
        if not found:
            return CacheHits.empty(width)
        return CacheHits(
            np.array([at for at, _ in found], np.intp),
            _stack([(hits.entries, row) for _, (hits, row) in found]),
            _lives([row for _, row in found]),
        )

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Insert the entries."""
        width = entries.vectors.shape[1]
        if width not in self._inserts:
            budget = self._insert_budget(width)
            self._inserts[width] = Batcher(self._run_put, budget=budget, cancel_abandoned=True)
        rows = [(key, (entries, row)) for row, key in enumerate(keys)]
        await self._inserts[width].submit(rows, [1] * len(rows))

    def _run_get(
        self, width: int
    ) -> Callable[[list[bytes], BatchContext], Awaitable[Sequence[_Hit | None]]]:
        async def run_get(keys: list[bytes], context: BatchContext) -> Sequence[_Hit | None]:
            hits = await self._get(keys, width, context)
            found: list[_Hit | None] = [None] * len(keys)
            for row, at in enumerate(hits.rows.tolist()):
                found[at] = (hits, row)
            return found

        return run_get


def _stack(rows: Sequence[_Row]) -> Entries:
    return Entries(
        np.stack([entries.vectors[row] for entries, row in rows]),
        np.array([entries.token_counts[row] for entries, row in rows], np.int32),
        np.array([entries.truncated[row] for entries, row in rows], np.bool_),
    )


def _lives(rows: Sequence[_Hit]) -> NDArray[np.float64] | None:
    if all(hits.ttls_s is None for hits, _ in rows):
        return None
    return np.array(
        [np.inf if hits.ttls_s is None else hits.ttls_s[row] for hits, row in rows], np.float64
    )


def _rows_of(
    run: RunTokenize, truncate: Truncate
) -> Callable[[list[Input], BatchContext], Awaitable[list[tuple[TokenRow, bool]]]]:
    async def run_rows(inputs: list[Input], context: BatchContext) -> list[tuple[TokenRow, bool]]:
        answer = await run(inputs, truncate, context)
        return list(zip(answer.tokens.rows(), answer.truncated.tolist(), strict=True))

    return run_rows
