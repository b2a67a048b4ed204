"""The stages behind one ingress: the tokenizer's replicas, if it calls them, and encoder pools."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.simulation.pool import Call
from benchmarks.simulation.requests import Group
from benchmarks.simulation.stage_client import StageClient
from deployments.encoder.routing import PoolTracker, earliest


class IngressStages:
    """Passes groups to the tokenizer, and then to the encoder pool that completes them first."""

    def __init__(self, tokenizer: StageClient | None, encoders: Sequence[StageClient]) -> None:
        self.tokenizer = tokenizer
        self.encoders = list(encoders)
        self._clients = [*([tokenizer] if tokenizer else []), *encoders]
        self._trackers = {client: PoolTracker() for client in encoders}

    def submit(self, group: Group, now: float) -> None:
        """Queue a group for the first stage."""
        if self.tokenizer is not None:
            self.tokenizer.submit(group, now)
        else:
            self._encode(group, now)

    def start(self, now: float) -> list[Call]:
        """Return the calls that may leave now."""
        calls = []
        for client in self._clients:
            for call in client.start(now):
                if tracker := self._trackers.get(client):
                    tracker.called(call.tokens)
                calls.append(call)
        return calls

    def answered(self, call: Call, now: float) -> Sequence[Group]:
        """Take an answer, and return the groups that have been encoded."""
        client = call.stage
        assert isinstance(client, StageClient)
        client.answered(call)
        tracker = self._trackers.get(client)
        if tracker is None:
            for group in call.groups:
                self._encode(group, now)
            return ()
        tracker.answered(call.tokens, call.load, now)
        for group in call.groups:
            group.queue_s = call.started_s - group.submitted_s + call.queue_s
            group.inference_s = call.inference_s
            if group.routed is not None:
                tracker.remove(group.routed)
        return call.groups

    def _encode(self, group: Group, now: float) -> None:
        if len(self.encoders) == 1:
            self.encoders[0].submit(group, now)
            return
        for client, tracker in self._trackers.items():
            tracker.replicas = len(client.pool.running)
        states = [tracker.state(now) for tracker in self._trackers.values()]
        # Without any replica, work waits for the first pool.
        client = self.encoders[earliest(states, group.tokens) or 0]
        group.routed = self._trackers[client].add(group.tokens, now)
        client.submit(group, now)
