"""How an ingress chooses an encoder pool: as the product does, or as only a simulation can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from benchmarks.simulation.pool import Call
from benchmarks.simulation.requests import Group
from benchmarks.simulation.stage_client import StageClient
from deployments.encoder.routing import PoolState, PoolTracker, earliest


class Router(Protocol):
    """Chooses a pool for each group, and may learn from the answers."""

    def choose(self, group: Group, now: float) -> StageClient:
        """Return the client of the pool that gets a group."""

    def called(self, call: Call) -> None:
        """Learn that a call leaves."""

    def answered(self, call: Call, now: float) -> None:
        """Learn from an answer."""


class OnlyPool:
    """There is one pool."""

    def __init__(self, clients: Sequence[StageClient]) -> None:
        (self._client,) = clients

    def choose(self, group: Group, now: float) -> StageClient:
        """Return the only client."""
        return self._client

    def called(self, call: Call) -> None:
        """Learn nothing."""

    def answered(self, call: Call, now: float) -> None:
        """Learn nothing."""


class ReportedLoads:
    """The product's choice: the earliest completion by the reports in answers."""

    def __init__(self, clients: Sequence[StageClient]) -> None:
        self._trackers = {client: PoolTracker() for client in clients}

    def choose(self, group: Group, now: float) -> StageClient:
        """Return the client of the pool that completes the group first, by the reports."""
        for client, tracker in self._trackers.items():
            tracker.replicas = len(client.pool.running)
        clients = list(self._trackers)
        states = [tracker.state(now) for tracker in self._trackers.values()]
        # Without any replica, work waits for the first pool.
        client = clients[earliest(states, group.tokens) or 0]
        group.routed = self._trackers[client].add(group.tokens, now)
        return client

    def called(self, call: Call) -> None:
        """Count the call as on its way."""
        self._trackers[call.client].called(call.tokens)

    def answered(self, call: Call, now: float) -> None:
        """Learn the load of the replica."""
        tracker = self._trackers[call.client]
        tracker.answered(call.tokens, call.load, now)
        for group in call.groups:
            if group.routed is not None:
                tracker.remove(group.routed)


class TrueLoads:
    """The bound of every choice by load: the same rule, by the present work of all pools."""

    def __init__(self, clients: Sequence[StageClient]) -> None:
        self._clients = clients

    def choose(self, group: Group, now: float) -> StageClient:
        """Return the client of the pool that completes the group first, as things are."""
        states = [
            PoolState(
                len(client.pool.running),
                client.pool.backlog_tokens,
                len(client.pool.running) * client.pool.settings.costs.tokens_per_s,
            )
            for client in self._clients
        ]
        return self._clients[earliest(states, group.tokens) or 0]

    def called(self, call: Call) -> None:
        """Learn nothing."""

    def answered(self, call: Call, now: float) -> None:
        """Learn nothing."""
