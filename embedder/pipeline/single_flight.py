"""Single-flight: identical inputs of concurrent requests are computed once.

No request owns a computation. It runs while it has waiters and is cancelled when the last one
leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, repeat

import numpy as np

from embedder.core.entries.distinct_inputs import DistinctInputs
from embedder.core.entries.entry_results import EntryResults
from embedder.core.tracing import SpanContext, current_contexts, step
from embedder.core.types import Priority
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.stage_executor import StageExecutor


@dataclass(eq=False, slots=True)
class Computation:
    """One running computation of the results for some keys, in their order.

    ``contexts`` are the spans of the request that has started it, if that is traced.
    """

    keys: tuple[bytes, ...]
    task: asyncio.Task[EntryResults]
    waiters: int = 0
    contexts: tuple[SpanContext, ...] = field(default_factory=current_contexts)

    async def results(self, *, shared: bool = False) -> EntryResults:
        """Return the results; cancelling the call does not cancel the computation.

        The computation is ``shared`` if another request has started it.
        """
        if not shared:
            return await asyncio.shield(self.task)
        with step("shared computation") as span:
            span.link(self.contexts)
            return await asyncio.shield(self.task)


class SingleFlight:
    """The running computations of one pipeline, by key."""

    def __init__(self) -> None:
        self._pending: dict[bytes, tuple[Computation, int]] = {}

    def __len__(self) -> int:
        """Return the number of keys that are being computed."""
        return len(self._pending)

    def find(
        self, keys: Sequence[bytes], rows: Iterable[int]
    ) -> tuple[dict[Computation, dict[int, int]], list[int]]:
        """Return the computations of the given rows of ``keys``, and the rows without one.

        Each computation comes with its rows, each with the row of its results. A failed computation
        may not have been removed yet; it is not returned, because a caller that joins it would fail
        for no reason of its own.
        """
        found: dict[Computation, dict[int, int]] = {}
        absent: list[int] = []
        for row in rows:
            pending = self._pending.get(keys[row])
            if pending is None or _has_failed(pending[0].task):
                absent.append(row)
            else:
                found.setdefault(pending[0], {})[row] = pending[1]
        return found, absent

    def start(self, keys: Sequence[bytes], results: Awaitable[EntryResults]) -> Computation:
        """Start computing the results of ``keys``, none of which is being computed yet."""
        computation = Computation(tuple(keys), asyncio.ensure_future(results))
        self._pending.update(zip(keys, zip(repeat(computation), count()), strict=False))
        computation.task.add_done_callback(partial(self._complete, computation))
        return computation

    def join(self, computations: Iterable[Computation]) -> None:
        """Add a waiter to each computation; every call needs a `leave`."""
        for computation in computations:
            computation.waiters += 1

    def leave(self, computations: Iterable[Computation]) -> None:
        """Remove a waiter of each; the last one cancels it, and no request can join it then."""
        for computation in computations:
            computation.waiters -= 1
            if computation.waiters == 0 and not computation.task.done():
                self._remove(computation)
                computation.task.cancel()

    def _complete(self, computation: Computation, task: asyncio.Task[EntryResults]) -> None:
        self._remove(computation)
        if not task.cancelled():
            task.exception()  # retrieved, since all waiters may have left before

    def _remove(self, computation: Computation) -> None:
        for key in computation.keys:
            if self._pending.get(key, (None, 0))[0] is computation:
                del self._pending[key]


class Computations:
    """Admits, starts and shares computations; ``inputs`` counts inputs by their source."""

    def __init__(
        self, executor: StageExecutor, admission: AdmissionControl, inputs: dict[str, int]
    ) -> None:
        self._executor = executor
        self._admission = admission
        self._inputs = inputs
        self._single_flight = SingleFlight()

    def __len__(self) -> int:
        """Return the number of keys that are being computed."""
        return len(self._single_flight)

    async def complete(
        self, distinct: DistinctInputs, results: EntryResults, priority: Priority
    ) -> EntryResults:
        """Return the results of a request, of which caches had a part: wait for the missing ones.

        Raises:
            Overloaded: too much other work is queued.
            Unavailable: a stage is down or too late.
            BackendFailure: the model failed on one of these inputs.
        """
        missing = results.missing()
        while missing:
            joined, absent = self._single_flight.find(distinct.keys, missing)
            self._inputs["joined"] += len(missing) - len(absent)
            started = self._start(distinct, absent, priority) if absent else None
            if started is not None:
                joined[started] = dict(zip(absent, range(len(absent)), strict=True))
            self._single_flight.join(joined)
            missing = []
            try:
                for computation, rows in joined.items():
                    try:
                        computed = await computation.results(shared=computation is not started)
                    except Exception:
                        if computation is started or len(rows) == len(computation.keys):
                            raise
                        # An input of another request may have failed: compute these rows alone.
                        missing += rows
                    else:
                        if computation is started and len(rows) == len(distinct.keys):
                            return computed  # all rows of this request, in their order
                        own = np.fromiter(rows, np.intp, len(rows))
                        results.put(own, computed, np.fromiter(rows.values(), np.intp, len(rows)))
            finally:
                self._single_flight.leave(joined)
        return results

    def _start(
        self, distinct: DistinctInputs, absent: list[int], priority: Priority
    ) -> Computation:
        """Start one computation for the rows that are not being computed yet."""
        subset = distinct.subset(absent)
        tokens = self._executor.token_estimate.tokens_of(subset.inputs)
        # Identify the request by all keys: when a refused request returns, fewer may be missing.
        with step("admission") as span:
            span.set(tokens=tokens, priority=priority.name.lower())
            work = self._admission.admit(distinct.keys, tokens, priority)
        computation = self._single_flight.start(subset.keys, self._executor.run(subset, work))
        # Not in the coroutine: if it is cancelled before its first step, no `finally` runs.
        computation.task.add_done_callback(work.end)
        return computation


def _has_failed(task: asyncio.Task[EntryResults]) -> bool:
    """Tell whether a computation has ended without results."""
    return task.done() and (task.cancelled() or task.exception() is not None)
