"""The replicas of a stage that computes, and the calls that they get."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Protocol

from benchmarks.simulation.costs import DeviceCosts
from benchmarks.simulation.events import Events
from benchmarks.simulation.queueing import BatchQueue
from benchmarks.simulation.replica_set import ReplicaSet
from benchmarks.simulation.requests import Group
from embedder.batching.packing import Budget, Slots
from embedder.batching.queue import QueuedItem
from embedder.batching.work_meter import WorkMeter
from embedder.core.types import ReplicaLoad

if TYPE_CHECKING:
    from benchmarks.simulation.stage_client import StageClient


class Caller(Protocol):
    """A sender of calls, to which their answers return."""

    def answered(self, call: Call) -> None:
        """Receive the answer of a call."""


@dataclass(eq=False, slots=True)
class Call:
    """Groups that travel to a replica together; ``missing`` of them are not computed yet.

    ``load`` is that of the replica when it answered; ``metered`` closes when it has been computed.
    """

    caller: Caller
    client: StageClient
    groups: list[Group]
    replica: Replica
    tokens: int
    started_s: float
    missing: int
    queue_s: float = 0.0
    inference_s: float = 0.0
    load: ReplicaLoad | None = None
    metered: ExitStack = field(default_factory=ExitStack)


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """The settings of a pool's replicas; ``slots`` are those of a replica's batcher."""

    costs: DeviceCosts
    budget: Budget
    slots: Slots

    @property
    def full_tokens_per_s(self) -> float:
        """Return the rate of full batches, which a replica measures when it starts."""
        tokens = self.budget.max_tokens
        return tokens / (self.costs.batch_s + tokens / self.costs.tokens_per_s)


class Replica:
    """Computes the groups of its calls in batches, one after the other on its device."""

    def __init__(self, name: str, settings: ReplicaSettings, pool: Pool) -> None:
        self.name = name
        self.calls = 0
        self.meter = WorkMeter(pool.events.clock)
        self.busy_s = 0.0
        self.batches = 0
        self.computed_tokens = 0
        self._costs = settings.costs
        self._pool = pool
        self._queue: BatchQueue[Call] = BatchQueue(settings.budget, settings.slots)
        self._free_s = 0.0

    def receive(self, call: Call) -> None:
        """Queue the groups of a call."""
        now = self._pool.events.now
        self.calls += 1
        lengths = [group.tokens for group in call.groups]
        call.metered.enter_context(self.meter.queued(call.tokens))
        call.metered.enter_context(self.meter.computed(call.tokens))
        self._queue.add([call] * len(lengths), lengths, now)
        self._start()

    def load(self) -> ReplicaLoad:
        """Return the queue and the rate; before it is measured, the rate of full batches."""
        rate = self.meter.tokens_per_s or self._pool.settings.full_tokens_per_s
        return ReplicaLoad(self.name, self.meter.queued_tokens, rate)

    def _start(self) -> None:
        events = self._pool.events
        while batch := self._queue.start(events.now):
            tokens = sum(queued.length for queued in batch)
            seconds = self._costs.duration_s(tokens, self._pool.random)
            start_s = max(events.now, self._free_s)
            self._free_s = start_s + seconds
            self.busy_s += seconds
            events.at(self._free_s, self._done, (batch, tokens, start_s, seconds))

    def _done(self, ended: tuple[list[QueuedItem[Call, None]], int, float, float]) -> None:
        batch, tokens, start_s, seconds = ended
        events = self._pool.events
        self._queue.running -= 1
        self.batches += 1
        self.computed_tokens += tokens
        for queued in batch:
            call = queued.item
            call.missing -= 1
            call.queue_s = max(call.queue_s, start_s - queued.submission.arrived_s)
            call.inference_s = max(call.inference_s, seconds)
            if not call.missing:
                self.calls -= 1
                call.metered.close()
                call.load = self.load()
                events.at(events.now + self._pool.hop_s, call.caller.answered, call)
        self._start()


class Pool(ReplicaSet[Replica]):
    """The replicas of an encoder pool or of the tokenizer.

    ``hop_s`` is the way of an answer. ``backlog_tokens`` wait in ingresses, are on their way, or
    in replicas; ``submitted_tokens`` counts all that ever were.
    """

    def __init__(
        self, name: str, settings: ReplicaSettings, events: Events, random: Random, hop_s: float
    ) -> None:
        self.settings = settings
        self.events = events
        self.random = random
        self.hop_s = hop_s
        self.backlog_tokens = self.submitted_tokens = 0
        super().__init__(name, self._replica, settings.costs.start_s, events)

    def _replica(self, name: str) -> Replica:
        return Replica(name, self.settings, self)
