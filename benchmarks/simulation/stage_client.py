"""Calls of one ingress to the replicas of a pool: gathered, limited in number, and balanced."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.simulation.pool import Call, Caller, Pool, Replica
from benchmarks.simulation.queueing import BatchQueue
from benchmarks.simulation.requests import Group
from deployments.settings.stages import StageSettings
from embedder.batching.packing import Budget, Slots


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How an ingress calls the replicas of a pool; ``stage`` limits the concurrent calls."""

    budget: Budget
    worth_tokens: int
    stage: StageSettings
    candidates: int


class StageClient:
    """One ingress's queue for a pool, and its calls to the pool's replicas.

    Replicas are compared by the calls that this ingress believes them to have: the number when the
    replica took its last call, less those answered since. A replica that it does not know yet is
    asked.
    """

    def __init__(self, caller: Caller, pool: Pool, settings: CallSettings) -> None:
        self.pool = pool
        self.calls = 0
        self._caller = caller
        self._settings = settings
        self._queue: BatchQueue[Group] = BatchQueue(settings.budget, Slots())
        self._believed: dict[Replica, int] = {}

    @property
    def queued_tokens(self) -> int:
        """Return the tokens that wait in the ingress for a call."""
        return self._queue.tokens

    def submit(self, group: Group, now: float) -> None:
        """Queue a group."""
        group.submitted_s = now
        self.pool.submitted_tokens += group.tokens
        self.pool.backlog_tokens += group.tokens
        self._queue.add([group], [group.tokens], now)

    def start(self, now: float) -> list[Call]:
        """Return the calls that may leave now."""
        replicas = len(self.pool.running)
        if not replicas or not self._queue.tokens:
            return []
        settings = self._settings
        self._queue.slots = settings.stage.concurrent_calls(
            worth_tokens=settings.worth_tokens, replicas=replicas
        )
        calls = []
        while batch := self._queue.start(now):
            groups = [queued.item for queued in batch]
            tokens = sum(queued.length for queued in batch)
            replica = self._choose()
            calls.append(Call(self._caller, self, groups, replica, tokens, now, len(groups)))
        self.calls += len(calls)
        return calls

    def send(self, call: Call) -> None:
        """Deliver a call to its replica."""
        self._believed[call.replica] = call.replica.calls + 1
        call.replica.receive(call)

    def answered(self, call: Call) -> None:
        """Record that a call has been answered."""
        self._queue.running -= 1
        self.pool.backlog_tokens -= call.tokens
        self._believed[call.replica] -= 1

    def _choose(self) -> Replica:
        running, count = self.pool.running, self._settings.candidates
        if count >= len(running):
            return min(running, key=self._calls_of)
        draw = self.pool.random.random
        # Faster than `sample`; the draws are seldom the same replica, which does little harm.
        return min([running[int(draw() * len(running))] for _ in range(count)], key=self._calls_of)

    def _calls_of(self, replica: Replica) -> int:
        return self._believed.get(replica, replica.calls)
