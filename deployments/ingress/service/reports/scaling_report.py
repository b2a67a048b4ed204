"""What one ingress reports for scaling: its own load, and that of the stages which it calls.

The ingress works on the thread of its event loop, so it is busy for the processor time of that
thread. Requests of different kinds take different times; so the policy divides the requests that
all ingresses answered by the time of all, where a mean of their rates would hide the slow kinds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from deployments.autoscaling.reports import BUSY, DONE, INGRESS, Increases, arriving, waiting
from deployments.encoder.remote_pool import RemotePool
from deployments.index.client import RemoteShard
from deployments.tokenizer.client import RemoteTokenizer

MIN_BUSY = 0.1
"""Share of its time that the thread must be busy for a rate: below, most of its work is not for
requests, so its answers show only the least rate."""

_PROCESSOR, _ANSWERED, _REFUSED, _RETURNED = "processor_s", "answered", "refused", "returned"


@dataclass(frozen=True, slots=True)
class StageQueue:
    """What waits in the ingress for one stage, and what was ever submitted to it."""

    stage: str
    waiting: int
    submitted: int


def pool_queues(pools: Iterable[RemotePool]) -> list[StageQueue]:
    """Return the queue in tokens for each pool of encoders."""
    trackers = ((pool.deployment, pool.tracker) for pool in pools)
    return [StageQueue(name, one.waiting_tokens, one.added_tokens) for name, one in trackers]


def other_queues(
    tokenizers: Sequence[RemoteTokenizer], shards: Iterable[RemoteShard]
) -> list[StageQueue]:
    """Return the queue in characters for the tokenizers, and in requests for each index shard."""
    waiting = sum(one.waiting_characters for one in tokenizers)
    submitted = sum(one.submitted_characters for one in tokenizers)
    of_shards = (StageQueue(one.name, one.waiting, one.submitted) for one in shards)
    return [StageQueue("Tokenizer", waiting, submitted), *of_shards]


class ScalingReport:
    """Turns the counters of an ingress into its reports; ``clock`` and ``processor_s`` in s.

    Take every report on the thread of the event loop.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        processor_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._increases = Increases(clock)
        self._processor_s = processor_s
        self._rate = 0.0

    def take(
        self,
        *,
        arrived: int,
        answered: int,
        encoders: Iterable[StageQueue],
        others: Iterable[StageQueue],
        refused_tokens: int,
        returned_tokens: int,
    ) -> dict[str, float]:
        """Return the numbers for the policy, by their names; ``others`` are not encoders.

        Refused tokens count as arriving at the encoders, in proportion to what they got: the
        refused requests would have come to them. Those that return do not count again; as they may
        have been refused by another ingress, only the sum over all ingresses is not negative.
        """
        pools = _merged(encoders)
        queues = [*others, *pools]
        rates = self._increases.per_second(
            {
                _PROCESSOR: self._processor_s(),
                _ANSWERED: answered,
                _REFUSED: refused_tokens,
                _RETURNED: returned_tokens,
                arriving(INGRESS): arrived,
                **{arriving(queue.stage): queue.submitted for queue in queues},
            }
        )
        done, busy = self._done(rates.pop(_ANSWERED), rates.pop(_PROCESSOR))
        refused = rates.pop(_REFUSED) - rates.pop(_RETURNED)
        names = [arriving(pool.stage) for pool in pools]
        total = sum(rates[name] for name in names)
        for name in names:
            rates[name] += refused * (rates[name] / total if total else 1 / len(names))
        return {
            DONE: done,
            BUSY: busy,
            **rates,
            **{waiting(queue.stage): float(queue.waiting) for queue in queues},
        }

    def _done(self, answered: float, busy: float) -> tuple[float, float]:
        """Return the requests per second and the busy share; zeros while no rate is known.

        An idle ingress counts as busy for `MIN_BUSY`, at the last rate or at what it answers then,
        if that is more.
        """
        if busy >= MIN_BUSY and answered:
            self._rate = answered / busy
            return answered, busy
        if not self._rate:
            return 0.0, 0.0
        self._rate = max(self._rate, answered / MIN_BUSY)
        return self._rate * MIN_BUSY, MIN_BUSY


def _merged(queues: Iterable[StageQueue]) -> list[StageQueue]:
    """Return one queue for each stage, with the sums of all that are for it."""
    merged: dict[str, StageQueue] = {}
    for queue in queues:
        one = merged.get(queue.stage, StageQueue(queue.stage, 0, 0))
        merged[queue.stage] = StageQueue(
            queue.stage, one.waiting + queue.waiting, one.submitted + queue.submitted
        )
    return list(merged.values())
