"""Random events: refusals follow the rule, and nothing is left at the end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.pipeline.admission_control import AdmissionControl, AdmittedTokens, _retry_token
from embedder.pipeline.admission_policy import OWN_TIME_FACTOR, RETURN_SLACK
from embedder.pipeline.reservations import GRACE_S, MAX_RETRY_AFTER_S, Reservations
from embedder.settings.model import LimitSettings
from tests.unit.examples import TIMES

LIMITS = LimitSettings(max_queued_tokens=3000, max_wait_s=0.5)
EPSILON = 1e-6


class AdmissionMachine(RuleBasedStateMachine):
    """Keeps its own account of queued tokens and of the times in refusals."""

    works: Bundle[AdmittedTokens] = Bundle("works")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.admission = AdmissionControl(LIMITS, clock=lambda: self.now)
        self.tokens: dict[AdmittedTokens, int] = {}
        self.due: dict[str, float] = {}
        self.counts = {"admitted": 0, "refused": 0, "returned": 0}

    def ahead(self, priority: Priority) -> int:
        """Return the tokens that go before work of this priority."""
        return sum(n for work, n in self.tokens.items() if work.priority <= priority)

    @rule(
        target=works,
        name=st.sampled_from("abcdefgh"),
        tokens=st.integers(1, 1500),
        priority=st.sampled_from(Priority),
    )
    def ask(
        self, name: str, tokens: int, priority: Priority
    ) -> AdmittedTokens | MultipleResults[AdmittedTokens]:
        """Ask for admission and compare the decision with the rule."""
        ahead = self.ahead(priority)
        full = ahead > 0 and ahead + tokens > LIMITS.max_queued_tokens
        stats = self.admission.stats
        predicted_s, rate = stats.predicted_wait_s, stats.tokens_per_s
        wait_s = self.admission._rate.wait_s(ahead)
        own_s = tokens / rate if rate else 0.0
        bearable_s = max(LIMITS.max_wait_s, OWN_TIME_FACTOR * own_s)
        due = self.due.get(name) if priority is Priority.INTERACTIVE else None
        known = self.reservations.find(_retry_token([name.encode()]), self.now)
        due = None if known is None or priority is Priority.BULK else due
        before = stats.returned
        try:
            work = self.admission.admit([name.encode()], tokens, priority)
        except Overloaded as error:
            self.counts["refused"] += 1
            assert ahead > 0
            if priority is Priority.BULK:
                assert full
                return multiple()
            self.record_refusal(name, error, due)
            if due is not None and due <= self.now:
                assert full or wait_s > RETURN_SLACK * bearable_s - EPSILON
            else:
                assert full or predicted_s > bearable_s - EPSILON
            return multiple()
        assert not full
        if due is None and priority is Priority.INTERACTIVE:
            assert predicted_s <= bearable_s + EPSILON
        came_back = self.admission.stats.returned - before
        assert came_back == (due is not None)
        self.counts["admitted"] += 1
        self.counts["returned"] += came_back
        if priority is Priority.INTERACTIVE:
            self.due.pop(name, None)
        self.tokens[work] = tokens
        return work

    @property
    def reservations(self) -> Reservations:
        """Return the reservations."""
        return self.admission._policy.reservations

    def record_refusal(self, name: str, error: Overloaded, due: float | None) -> None:
        """Record the time in a refusal; a request that returns early keeps its time."""
        assert 0 <= error.retry_after_s <= MAX_RETRY_AFTER_S
        assert error.retry_after_s - EPSILON <= error.whole_s <= MAX_RETRY_AFTER_S + 2
        if due is not None and due > self.now:
            assert abs(self.now + error.retry_after_s - due) < EPSILON
        elif self.reservations.find(_retry_token([name.encode()]), self.now) is not None:
            self.due[name] = self.now + error.retry_after_s
        else:  # too many reservations
            assert error.retry_after_s == MAX_RETRY_AFTER_S
            self.due.pop(name, None)

    @rule(work=works, tokens=st.integers(0, 2000))
    def resize(self, work: AdmittedTokens, tokens: int) -> None:
        """Correct an estimate."""
        work.resize(tokens)
        self.tokens[work] = tokens

    @rule(
        work=works,
        tokens=st.integers(1, 500),
        queue_s=st.sampled_from([0.0, 0.1]),
        seconds=st.floats(0.001, 0.5),
    )
    def compute(self, work: AdmittedTokens, tokens: int, queue_s: float, seconds: float) -> None:
        """Report a part of a work as computed."""
        self.now += seconds
        work.computed(tokens, Timings(queue_s=queue_s, inference_s=0.01))
        self.tokens[work] = max(0, self.tokens[work] - tokens)

    @rule(work=consumes(works))
    def end(self, work: AdmittedTokens) -> None:
        """End a work, as after success, failure or cancellation."""
        work.end()
        del self.tokens[work]

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 70.0]))
    def wait(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds

    @invariant()
    def the_statistics_agree(self) -> None:
        """Compare the queued tokens and the counters."""
        stats = self.admission.stats
        for priority in Priority:
            mine = sum(n for work, n in self.tokens.items() if work.priority == priority)
            assert stats.queued_tokens[priority] == mine >= 0
        assert stats.reserved_tokens >= 0
        seen = {"admitted": stats.admitted, "refused": stats.refused, "returned": stats.returned}
        assert seen == self.counts

    def teardown(self) -> None:
        """End all work: nothing is left."""
        for work in self.tokens:
            work.end()
        self.now += MAX_RETRY_AFTER_S + 2 * GRACE_S + 2
        stats = self.admission.stats
        assert set(stats.queued_tokens.values()) == {0}
        assert stats.reserved_tokens == 0
        assert self.reservations.count == 0


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=50 * TIMES, stateful_step_count=40, deadline=None)
