"""An ingress: one core that admits requests, sends calls and writes answers, in iterations."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from benchmarks.simulation.costs import IngressCosts
from benchmarks.simulation.events import Events
from benchmarks.simulation.pool import Call
from benchmarks.simulation.requests import Group, Outcome, Requests
from benchmarks.simulation.stages import IngressStages
from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.reservations import ReservationChanges
from embedder.settings.model import LimitSettings

_KEYS = count()
"""Keys for the contents of requests, which are all distinct."""


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """The costs and limits of an ingress.

    Events are coarser, and fewer, with more than one request in ``group_size``, and with a
    ``tick_s`` above 0, the least time between the beginnings of two iterations.
    """

    costs: IngressCosts
    limits: LimitSettings | None
    group_size: int = 1
    tick_s: float = 0.0


class Ingress:
    """The event loop of one ingress.

    An iteration takes what has arrived, then the core is busy for its cost; at its end requests are
    admitted or refused, answers leave, and calls are sent, each of which keeps the core busy again.
    """

    def __init__(
        self,
        name: str,
        settings: IngressSettings,
        events: Events,
        stages: Callable[[Ingress], IngressStages],
        refused: Callable[[Group, Overloaded, Ingress], None],
    ) -> None:
        self.name = name
        self.busy_s = 0.0
        self.arrived = 0
        self.handled = 0
        self.admission = AdmissionControl(settings.limits, clock=events.clock)
        self._settings = settings
        self._events = events
        self.stages = stages(self)
        self._refused = refused
        self._arrivals: deque[tuple[Requests, int, int]] = deque()
        self._returned: list[Group] = []
        self._answers: list[Call] = []
        self._messages = 0
        self._awake = False
        self._next_s = 0.0
        self._due_s = float("inf")

    @property
    def waiting(self) -> int:
        """Return the requests and answers that wait for the core."""
        now = self._events.now
        waiting = sum(map(len, self._returned))
        waiting += sum(len(group) for call in self._answers for group in call.groups)
        for requests, first, end in self._arrivals:
            waiting += bisect_right(requests.sent_s, now, first, end) - first
        return waiting

    def offer(self, requests: Requests, first: int, end: int) -> None:
        """Take requests ``first`` to before ``end`` when each of them is due."""
        if first < end:
            self._arrivals.append((requests, first, end))
            if not self._awake:
                self._sleep()

    def receive(self, group: Group) -> None:
        """Take requests that have been refused before."""
        self._returned.append(group)
        self._wake()

    def answered(self, call: Call) -> None:
        """Take the answer of a call."""
        self._answers.append(call)
        self._wake()

    def receive_changes(self, changes: ReservationChanges) -> None:
        """Take a message of another ingress, which keeps the core busy."""
        self.admission.receive(changes)
        self._messages += 1

    def _wake(self) -> None:
        if not self._awake:
            self._sleep() if self._events.now < self._next_s else self._iterate()

    def _sleep(self) -> None:
        """Start the next iteration when an arrival, a return or an answer is due."""
        self._awake = False
        due_s = self._next_s
        if not self._answers and not self._returned:
            if not self._arrivals:
                return
            requests, first, _ = self._arrivals[0]
            due_s = max(due_s, float(requests.sent_s[first]))
        if due_s < self._due_s:
            self._due_s = due_s
            self._events.at(due_s, self._on_due)

    def _on_due(self, _: object) -> None:
        self._due_s = float("inf")
        if not self._awake:
            self._iterate()

    def _iterate(self, _: object = None) -> None:
        groups, self._returned = self._returned + self._due(), []
        answers, self._answers = self._answers, []
        if not groups and not answers:
            self._sleep()
            return
        self._awake = True
        handled = sum(map(len, groups)) + sum(len(g) for call in answers for g in call.groups)
        self.arrived += sum(map(len, groups))
        self.handled += handled
        costs = self._settings.costs
        work_s = costs.request_s / 2 * handled + costs.message_s * self._messages
        self._messages = 0
        self._next_s = self._events.now + max(work_s, self._settings.tick_s)
        self.busy_s += work_s
        self._events.at(self._events.now + work_s, self._finish, (groups, answers))

    def _finish(self, taken: tuple[list[Group], list[Call]]) -> None:
        now, costs = self._events.now, self._settings.costs
        groups, answers = taken
        for call in answers:
            if call.client is not self.stages.tokenizer and call.load is not None:
                self.admission.answered(call.load)
            for group in self.stages.answered(call, now):
                self._answer(group)
        for group in groups:
            self._admit(group)
        leaves_s = now
        for call in self.stages.start(now):
            leaves_s += costs.call_s
            self._events.at(leaves_s + costs.hop_s, call.client.send, call)
        self.busy_s += leaves_s - now
        self._next_s = max(leaves_s, self._next_s)
        self._events.at(self._next_s, self._iterate)

    def _admit(self, group: Group) -> None:
        try:
            group.work = self.admission.admit([group.key], group.tokens, Priority.INTERACTIVE)
        except Overloaded as error:
            self._refused(group, error, self)
            return
        self.stages.submit(group, self._events.now)

    def _answer(self, group: Group) -> None:
        assert group.work is not None
        group.work.computed(
            group.tokens, Timings(queue_s=group.queue_s, inference_s=group.inference_s)
        )
        group.work.end()
        group.finish(Outcome.ANSWERED, self._events.now + self._settings.costs.base_s)

    def _due(self) -> list[Group]:
        """Return the requests that have arrived by now, in groups."""
        now, size = self._events.now, self._settings.group_size
        groups: list[Group] = []
        while self._arrivals:
            requests, first, end = self._arrivals[0]
            due = bisect_right(requests.sent_s, now, first, end)
            for start in range(first, due, size):
                last = min(start + size, due)
                tokens = requests.tokens(start, last)
                key = next(_KEYS).to_bytes(8, "big")
                groups.append(Group(requests, start, last, tokens, key))
            if due < end:
                self._arrivals[0] = (requests, due, end)
                break
            self._arrivals.popleft()
        return groups
