"""The pool behaves like its oracle in random sequences of calls.

Threads, clock and timers are simulated, so that no test waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from embedder.core.deadline import Deadline
from embedder.inference.residency import LoadState
from tests.unit.examples import TIMES
from tests.unit.inference.fake_pool import FakeLoader, PoolUser, settle
from tests.unit.inference.pool_oracle import Oracle

KEYS = "abcde"
IDLE_S = 6
MOST_PINS = 3

Sizes = st.fixed_dictionaries({key: st.integers(1, 4) for key in KEYS})
Number = st.integers(0, 30)


class PoolMachine(RuleBasedStateMachine):
    """Applies each step to the pool and to the oracle, and compares all visible state."""

    steps: ClassVar[int] = 0
    seen: ClassVar[Counter[str]] = Counter()

    @initialize(budget=st.integers(2, 9), sizes=Sizes, wrong=st.one_of(st.none(), Sizes))
    def start(self, budget: int, sizes: dict[str, int], wrong: dict[str, int] | None) -> None:
        self.oracle = Oracle(budget, sizes, dict(wrong or sizes))
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._open(budget, sizes))
        self.users: list[PoolUser] = []

    async def _open(self, budget: int, sizes: dict[str, int]) -> None:
        self.loader = FakeLoader(sizes, estimates=self.oracle.expected)
        pytest.MonkeyPatch().setattr(asyncio.get_running_loop(), "time", self.loader.clock)
        self.pool = self.loader.pool(budget, idle_unload_s=IDLE_S)

    def _settle_and_compare(self) -> None:
        """Run the callbacks of both sides, and compare them."""
        type(self).steps += 1
        self.oracle.advance()
        self.loop.run_until_complete(settle())
        self._compare()

    def _compare(self) -> None:
        oracle, loader = self.oracle, self.loader
        snapshots = {
            state.key: (state.state, state.bytes, state.in_use, state.pinned, state.idle_s)
            for state in self.pool.states()
        }
        reserved = oracle.expected[oracle.loading] if oracle.loading else 0
        assert [user.status for user in self.users] == oracle.status
        assert loader.log == oracle.log
        assert snapshots == oracle.states()
        assert len(loader.pending) == (oracle.loading is not None)
        assert sum(model.bytes for model in loader.alive) + reserved <= oracle.budget
        assert all(user.model is None or user.model.alive for user in self.users)

    def _with_status(self, *where: str) -> list[int]:
        return [number for number, status in enumerate(self.oracle.status) if status in where]

    @rule(key=st.sampled_from(KEYS), wait_s=st.one_of(st.just(1e6), st.integers(1, 6)))
    def start_use(self, key: str, wait_s: float) -> None:
        async def enter() -> PoolUser:
            return PoolUser(self.pool, key, Deadline(self.loader.clock.now + wait_s))

        self.users.append(self.loop.run_until_complete(enter()))
        self.oracle.start_use(key, wait_s)
        self._settle_and_compare()

    @rule(key=st.sampled_from(KEYS))
    def use_briefly(self, key: str) -> None:
        self.start_use(key, 1e6)
        while self.loader.pending:
            self.finish_load(broken=False)
        if self.oracle.status[-1] == "using":
            self._release(-1)

    @precondition(lambda self: self._with_status("using"))
    @rule(which=Number)
    def leave(self, which: int) -> None:
        inside = self._with_status("using")
        self._release(inside[which % len(inside)])

    def _release(self, number: int) -> None:
        self.users[number].release()
        self.oracle.end_use(number, "released")
        self._settle_and_compare()

    @precondition(lambda self: self._with_status("using", "waiting"))
    @rule(which=Number)
    def cancel(self, which: int) -> None:
        present = self._with_status("using", "waiting")
        number = present[which % len(present)]
        self.users[number].task.cancel()
        self.oracle.end_use(number, "cancelled")
        self._settle_and_compare()

    @precondition(lambda self: self.loader.pending)
    @rule(broken=st.sampled_from([False, False, True]))
    def finish_load(self, broken: bool) -> None:
        self.loader.broken = dict.fromkeys(KEYS, OSError("broken")) if broken else {}
        self.loader.finish_load()
        self.oracle.finish(broken)
        self._settle_and_compare()

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.loader.clock.now += seconds
        self.oracle.now += seconds
        for number in self._with_status("waiting"):
            if self.oracle.deadlines[number] <= self.oracle.now:
                self.oracle.end_use(number, "DeadlineExceeded")
        self._settle_and_compare()

    @precondition(lambda self: self.oracle.ready and sum(self.oracle.pins.values()) < MOST_PINS)
    @rule(which=Number)
    def pin(self, which: int) -> None:
        key = [*self.oracle.ready][which % len(self.oracle.ready)]
        self.loop.run_until_complete(self.pool.pin(key))
        self.oracle.pins[key] += 1
        self.oracle.touch(key)
        self._settle_and_compare()

    @precondition(lambda self: +self.oracle.pins)
    @rule(which=Number)
    def unpin(self, which: int) -> None:
        pinned = sorted(+self.oracle.pins)
        key = pinned[which % len(pinned)]

        async def unpin() -> None:
            self.pool.unpin(key)

        self.loop.run_until_complete(unpin())
        self.oracle.pins[key] -= 1
        self._settle_and_compare()

    @rule()
    def unload_idle(self) -> None:
        expected = [
            key
            for key in self.oracle.evictable()
            if self.oracle.now - self.oracle.ready[key] >= IDLE_S
        ]
        assert self.loop.run_until_complete(self.pool.unload_idle()) == expected
        for key in expected:
            self.oracle.evict(key)
        self._settle_and_compare()

    def teardown(self) -> None:
        """Let all users go in any state; afterwards each has ended, and no model is in use."""
        if not hasattr(self, "pool"):
            return
        self.seen.update(self.oracle.status)
        self.seen.update(line.split()[0] for line in self.oracle.log)
        for user in self.users:
            user.task.cancel()
        self.loop.run_until_complete(self.loader.finish_loads())
        assert all(user.task.done() for user in self.users)
        states = self.pool.states()
        assert {model.key for model in self.loader.alive} == {
            state.key for state in states if state.state is LoadState.READY
        }
        assert {state.in_use for state in states} <= {0}
        self.loop.close()


def test_the_pool_behaves_like_the_oracle_for_thousands_of_steps() -> None:
    everything = {"using", "released", "cancelled", "OSError", "PoolFull", "DeadlineExceeded"}
    everything |= {"load", "unload"}
    PoolMachine.steps = 0
    PoolMachine.seen.clear()
    for _ in range(10):  # by chance, one outcome may not occur
        run_state_machine_as_test(
            PoolMachine, settings=settings(max_examples=60 * TIMES, stateful_step_count=100)
        )
        if everything <= PoolMachine.seen.keys():
            break

    assert PoolMachine.steps >= 3_000 * TIMES
    assert everything <= PoolMachine.seen.keys()
