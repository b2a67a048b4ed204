"""The stages behind one ingress: the tokenizer's replicas, if it calls them, and encoder pools."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.simulation.pool import Call
from benchmarks.simulation.requests import Group
from benchmarks.simulation.routers import Router
from benchmarks.simulation.stage_client import StageClient


class IngressStages:
    """Passes groups to the tokenizer, and then to the encoder pool that the router chooses."""

    def __init__(
        self, tokenizer: StageClient | None, encoders: Sequence[StageClient], router: Router
    ) -> None:
        self.tokenizer = tokenizer
        self.encoders = list(encoders)
        self._router = router

    def submit(self, group: Group, now: float) -> None:
        """Queue a group for the first stage."""
        if self.tokenizer is not None:
            self.tokenizer.submit(group, now)
        else:
            self._router.choose(group, now).submit(group, now)

    def start(self, now: float) -> list[Call]:
        """Return the calls that may leave now."""
        calls = [] if self.tokenizer is None else self.tokenizer.start(now)
        for client in self.encoders:
            for call in client.start(now):
                self._router.called(call)
                calls.append(call)
        return calls

    def answered(self, call: Call, now: float) -> Sequence[Group]:
        """Take an answer, and return the groups that have been encoded."""
        call.client.answered(call)
        if call.client is self.tokenizer:
            for group in call.groups:
                self._router.choose(group, now).submit(group, now)
            return ()
        self._router.answered(call, now)
        for group in call.groups:
            group.queue_s = call.started_s - group.submitted_s + call.queue_s
            group.inference_s = call.inference_s
        return call.groups
