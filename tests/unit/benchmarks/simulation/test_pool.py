"""Replicas start late, stop late, and are counted at each change."""

from __future__ import annotations

from random import Random

from benchmarks.simulation.events import Events
from benchmarks.simulation.pool import Pool
from tests.unit.benchmarks.simulation.services import pool


def make(replicas: int) -> Pool:
    simulated = Pool("Encoder", pool().replica(), Events(), Random(0), 0.0)
    simulated.scale(replicas, at_once=True)
    return simulated


def test_a_replica_runs_after_its_start_time() -> None:
    simulated = make(1)
    simulated.scale(3)
    simulated.events.run(9.9)
    assert len(simulated.running) == 1

    simulated.events.run(10.1)
    assert len(simulated.running) == 3
    assert simulated.history[-1] == (10.0, 3, 3)


def test_starting_replicas_are_stopped_first() -> None:
    simulated = make(1)
    kept = simulated.running[0]
    simulated.scale(3)
    simulated.scale(1)
    simulated.events.run()

    assert simulated.running == [kept]
    assert not simulated.stopped


def test_a_pool_may_be_scaled_to_zero_and_back() -> None:
    simulated = make(2)
    simulated.scale(0)
    assert not simulated.running
    assert len(simulated.stopped) == 2

    simulated.scale(1)
    simulated.events.run()
    assert len(simulated.running) == 1
