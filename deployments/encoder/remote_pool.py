"""One pool of encoders as an ingress sees it: its handle, its replicas, and its load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from deployments.encoder.routing import PoolTracker
from deployments.rpc.handle_client import Handle
from deployments.rpc.running_replicas import running_replicas
from deployments.settings.encoders import EncoderDeployment
from embedder.core.errors import StageUnavailable
from embedder.core.types import ReplicaLoad

T = TypeVar("T")

CHECK_S = 0.25
"""Seconds between two looks at the number of replicas while a call is in progress."""


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool of encoders as one ingress replica sees it.

    ``waiting_tokens`` wait in this ingress; ``backlog_tokens`` wait or run, also those of other
    ingress replicas, as far as they are known. ``tokens_per_s`` is the rate of all replicas, 0
    while unknown. ``added_tokens`` and ``failures`` count since the start of this ingress.
    """

    deployment: str
    replicas: int
    waiting_tokens: int
    backlog_tokens: float
    tokens_per_s: float
    added_tokens: int
    failures: int


class RemotePool:
    """A pool of encoders; all models of an ingress share it.

    ``reported`` is called with the load in each answer of a replica.
    """

    def __init__(
        self,
        settings: EncoderDeployment,
        handle: Handle,
        reported: Callable[[ReplicaLoad], None] = lambda _: None,
    ) -> None:
        self.deployment = settings.deployment
        self.stage = settings.replicas
        self.serves = settings.serves
        self.handle = handle
        self.reported = reported
        self.tracker = PoolTracker()
        self.now = time.monotonic

    def count_replicas(self) -> int:
        """Return the number of running replicas; an unknown number counts as one."""
        known = running_replicas(self.handle)
        self.tracker.replicas = 1 if known is None else known
        return self.tracker.replicas

    @property
    def stats(self) -> PoolStats:
        """Return the present statistics."""
        self.count_replicas()
        tracker = self.tracker
        state = tracker.state(self.now())
        return PoolStats(
            deployment=self.deployment,
            replicas=state.replicas,
            waiting_tokens=tracker.waiting_tokens,
            backlog_tokens=state.backlog_tokens,
            tokens_per_s=state.tokens_per_s,
            added_tokens=tracker.added_tokens,
            failures=tracker.failures,
        )

    @contextmanager
    def counted(self, tokens: int) -> Iterator[None]:
        """Count work of so many tokens as waiting or running in this pool during the block."""
        work = self.tracker.add(tokens, self.now())
        try:
            yield
        finally:
            self.tracker.remove(work)

    async def while_running(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call to this pool, for as long as the pool has a replica.

        Serve keeps a call for a pool without replicas until there is one.

        Raises:
            StageUnavailable: the pool has no replica.
        """
        task = asyncio.ensure_future(call)
        try:
            while self.count_replicas():
                done, _ = await asyncio.wait((task,), timeout=CHECK_S)
                if done:
                    return task.result()
        finally:
            task.cancel()
        raise StageUnavailable(self.deployment, "it has no replica")
