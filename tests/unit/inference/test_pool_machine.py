"""The pool against a plain model of it that is kept outside: dictionaries, lists and no loop.

Nothing here takes time: threads, the clock and the loop's timers are all the machine's own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
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

from embedder.inference.residency import State
from tests.unit.inference.test_pool import Visitor, Workshop, settle

KEYS = "abcde"
IDLE_S = 6
MOST_PINS = 3

Sizes = st.fixed_dictionaries({key: st.integers(1, 4) for key in KEYS})
Number = st.integers(0, 30)
Told = tuple[State, int, int, bool, float | None]


@dataclass
class Oracle:
    """What must be true of the pool once nothing more happens by itself."""

    budget: int
    sizes: dict[str, int]
    expected: dict[str, int]
    now: int = 0
    loading: str | None = None
    ready: dict[str, int] = field(default_factory=dict)  # key to last use, least recent first
    pins: Counter[str] = field(default_factory=Counter)
    inside: Counter[str] = field(default_factory=Counter)
    queue: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    wants: list[str] = field(default_factory=list)
    patience: list[float] = field(default_factory=list)

    def waiting(self, key: str) -> list[int]:
        return [n for n, at in enumerate(self.status) if at == "waiting" and self.wants[n] == key]

    def held(self, keys: list[str]) -> int:
        return sum(self.sizes[key] for key in keys)

    def evict(self, key: str) -> None:
        del self.ready[key]
        self.log.append(f"unload {key}")

    def touch(self, key: str) -> None:
        self.ready.pop(key, None)
        self.ready[key] = self.now

    def loose(self) -> list[str]:
        return [key for key in self.ready if not self.pins[key] and not self.inside[key]]

    def arrive(self, key: str, patience: float) -> None:
        self.wants.append(key)
        self.patience.append(self.now + patience)
        self.status.append("inside" if key in self.ready else "waiting")
        if key in self.ready:
            self.inside[key] += 1
        elif key != self.loading and key not in self.queue:
            self.queue.append(key)

    def quit(self, number: int, how: str) -> None:
        if self.status[number] == "inside":
            self.inside[self.wants[number]] -= 1
            self.touch(self.wants[number])
        self.status[number] = how

    def fail(self, key: str, how: str) -> None:
        for number in self.waiting(key):
            self.status[number] = how
        self.failed.add(key)

    def land(self, broken: bool) -> None:
        key, self.loading = self.loading, None
        assert key is not None
        if broken:
            self.fail(key, "OSError")
            return
        self.log.append(f"load {key}")
        self.expected[key] = self.sizes[key]
        if self.held([key, *self.ready]) - self.held(self.loose()) > self.budget:
            self.log.append(f"unload {key}")
            self.queue.insert(0, key)
            return
        self.make_room(self.sizes[key])
        self.touch(key)
        self.failed.discard(key)
        for number in self.waiting(key):
            self.status[number] = "inside"
            self.inside[key] += 1

    def make_room(self, needed: int) -> None:
        for key in self.loose():
            if self.held([*self.ready]) + needed > self.budget:
                self.evict(key)

    def follow_up(self) -> None:
        """Do what happens by itself."""
        self.queue = [key for key in self.queue if self.waiting(key)]
        for key in [*self.queue]:
            pinned = [other for other in self.ready if self.pins[other]]
            if self.expected[key] + self.held(pinned) > self.budget:
                self.fail(key, "PoolFull")
                self.queue.remove(key)
        if self.loading is None and self.queue:
            needed = self.expected[self.queue[0]]
            stuck = [key for key in self.ready if key not in self.loose()]
            if needed + self.held(stuck) <= self.budget:
                self.loading = self.queue.pop(0)
                self.make_room(needed)

    def states(self) -> dict[str, Told]:
        told: dict[str, Told] = {key: (State.FAILED, 0, 0, False, None) for key in self.failed}
        for key in self.queue:
            told[key] = (State.WAITING, self.expected[key], 0, False, None)
        if self.loading is not None:
            told[self.loading] = (State.LOADING, self.expected[self.loading], 0, False, None)
        for key, used in self.ready.items():
            idle = 0 if self.inside[key] else self.now - used
            told[key] = (State.READY, self.sizes[key], self.inside[key], self.pins[key] > 0, idle)
        return told


class PoolMachine(RuleBasedStateMachine):
    """Does everything twice, lets the loop come to rest, and compares all that can be seen."""

    steps: ClassVar[int] = 0
    seen: ClassVar[Counter[str]] = Counter()

    @initialize(budget=st.integers(3, 9), sizes=Sizes, wrong=st.one_of(st.none(), Sizes))
    def start(self, budget: int, sizes: dict[str, int], wrong: dict[str, int] | None) -> None:
        self.oracle = Oracle(budget, sizes, dict(wrong or sizes))
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._open(budget, sizes))
        self.visitors: list[Visitor] = []

    async def _open(self, budget: int, sizes: dict[str, int]) -> None:
        self.workshop = Workshop(sizes, estimates=self.oracle.expected)
        pytest.MonkeyPatch().setattr(asyncio.get_running_loop(), "time", self.workshop.clock)
        self.pool = self.workshop.pool(budget, idle_unload_s=IDLE_S)

    def _rest(self) -> None:
        """Let both sides do what follows, and compare them."""
        type(self).steps += 1
        self.oracle.follow_up()
        self.loop.run_until_complete(settle())
        self._compare()

    def _compare(self) -> None:
        oracle, workshop = self.oracle, self.workshop
        told = {
            state.key: (state.state, state.bytes, state.in_use, state.pinned, state.idle_s)
            for state in self.pool.states()
        }
        reserved = oracle.expected[oracle.loading] if oracle.loading else 0
        assert [visitor.status for visitor in self.visitors] == oracle.status
        assert workshop.log == oracle.log
        assert told == oracle.states()
        assert len(workshop.jobs) == (oracle.loading is not None)
        assert sum(model.bytes for model in workshop.alive) + reserved <= oracle.budget
        assert all(visitor.model is None or visitor.model.alive for visitor in self.visitors)

    def _present(self, *where: str) -> list[int]:
        return [number for number, status in enumerate(self.oracle.status) if status in where]

    @rule(key=st.sampled_from(KEYS), patience=st.one_of(st.just(1e6), st.integers(1, 6)))
    def arrive(self, key: str, patience: float) -> None:
        async def enter() -> Visitor:
            return Visitor(self.pool, key, self.workshop.clock.now + patience)

        self.visitors.append(self.loop.run_until_complete(enter()))
        self.oracle.arrive(key, patience)
        self._rest()

    @rule(key=st.sampled_from(KEYS))
    def visit(self, key: str) -> None:
        self.arrive(key, 1e6)
        while self.workshop.jobs:
            self.end_load(broken=False)
        if self.oracle.status[-1] == "inside":
            self._leave(-1)

    @precondition(lambda self: self._present("inside"))
    @rule(which=Number)
    def leave(self, which: int) -> None:
        inside = self._present("inside")
        self._leave(inside[which % len(inside)])

    def _leave(self, number: int) -> None:
        self.visitors[number].leave()
        self.oracle.quit(number, "left")
        self._rest()

    @precondition(lambda self: self._present("inside", "waiting"))
    @rule(which=Number)
    def cancel(self, which: int) -> None:
        present = self._present("inside", "waiting")
        number = present[which % len(present)]
        self.visitors[number].task.cancel()
        self.oracle.quit(number, "cancelled")
        self._rest()

    @precondition(lambda self: self.workshop.jobs)
    @rule(broken=st.sampled_from([False, False, True]))
    def end_load(self, broken: bool) -> None:
        self.workshop.broken = dict.fromkeys(KEYS, OSError("broken")) if broken else {}
        self.workshop.end_load()
        self.oracle.land(broken)
        self._rest()

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.workshop.clock.now += seconds
        self.oracle.now += seconds
        for number in self._present("waiting"):
            if self.oracle.patience[number] <= self.oracle.now:
                self.oracle.quit(number, "DeadlineExceeded")
        self._rest()

    @precondition(lambda self: self.oracle.ready and sum(self.oracle.pins.values()) < MOST_PINS)
    @rule(which=Number)
    def pin(self, which: int) -> None:
        key = [*self.oracle.ready][which % len(self.oracle.ready)]
        self.loop.run_until_complete(self.pool.pin(key))
        self.oracle.pins[key] += 1
        self.oracle.touch(key)
        self._rest()

    @precondition(lambda self: +self.oracle.pins)
    @rule(which=Number)
    def unpin(self, which: int) -> None:
        pinned = sorted(+self.oracle.pins)
        key = pinned[which % len(pinned)]

        async def unpin() -> None:
            self.pool.unpin(key)

        self.loop.run_until_complete(unpin())
        self.oracle.pins[key] -= 1
        self._rest()

    @rule()
    def unload_idle(self) -> None:
        expected = [
            key for key in self.oracle.loose() if self.oracle.now - self.oracle.ready[key] >= IDLE_S
        ]
        assert self.loop.run_until_complete(self.pool.unload_idle()) == expected
        for key in expected:
            self.oracle.evict(key)
        self._rest()

    def teardown(self) -> None:
        """Close the pool, whatever it is at: in the end nothing is left of it."""
        if not hasattr(self, "pool"):
            return
        self.seen.update(self.oracle.status)
        self.seen.update(line.split()[0] for line in self.oracle.log)
        self.loop.run_until_complete(self.pool.close())
        self.loop.run_until_complete(settle())
        for number in self._present("waiting"):
            assert self.visitors[number].status == "Unavailable"
        assert {model.key for model in self.workshop.alive} == {*+self.oracle.inside}
        for visitor in self.visitors:
            visitor.leave()
        self.loop.run_until_complete(self.workshop.make())
        assert self.workshop.alive == []
        assert {state.state for state in self.pool.states()} <= {State.FAILED}
        self.loop.close()


def test_the_pool_does_what_its_model_says_for_ten_thousand_steps() -> None:
    PoolMachine.steps = 0
    PoolMachine.seen.clear()
    run_state_machine_as_test(
        PoolMachine, settings=settings(max_examples=180, stateful_step_count=100)
    )

    everything = {"inside", "left", "cancelled", "OSError", "PoolFull", "DeadlineExceeded"}
    assert PoolMachine.steps >= 10_000
    assert everything | {"load", "unload"} <= PoolMachine.seen.keys()
