"""One model in one pool of encoders: connected while the pool has replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from deployments.encoder.client import RemoteEncoder, handle_for
from deployments.encoder.remote_pool import RemotePool
from deployments.rpc.handle_client import HandleClient
from embedder.core.deadline import Deadline
from embedder.core.types import ModelInfo, Priority, TokenBatch
from embedder.settings.model import BatchSettings, ModelSettings

logger = logging.getLogger("ray.serve")

RETRY_S = 5.0
"""Seconds between a failed connection and the next attempt."""

Accept = Callable[[RemotePool, ModelInfo], None]
"""Raises an error for a model that differs from that of the other pools."""


@dataclass(frozen=True, slots=True)
class PoolModelState:
    """The state of a model in one pool, as one ingress knows it.

    ``state`` is ``ready``, ``no replica``, ``loading`` or ``failed``. ``info`` is None until the
    pool has answered for the first time.
    """

    deployment: str
    state: str
    info: ModelInfo | None


class PoolModel:
    """Connects to a model in a pool, and again after the pool had no replica.

    A pool that is ``alone`` keeps its calls while it has none: no other pool could take them.
    """

    def __init__(
        self,
        pool: RemotePool,
        model: ModelSettings,
        batching: BatchSettings,
        accept: Accept,
        *,
        alone: bool,
        load_timeout_s: float,
    ) -> None:
        self.pool = pool
        self.encoder: RemoteEncoder | None = None
        self.info: ModelInfo | None = None
        self._model = model
        self._batching = batching
        self._accept = accept
        self._alone = alone
        self._load_timeout_s = load_timeout_s
        self._attempt: asyncio.Task[None] | None = None
        self._retry_s = 0.0

    @property
    def ready(self) -> bool:
        """Return whether work can go to this pool."""
        return self.encoder is not None and (self._alone or self.pool.tracker.replicas > 0)

    @property
    def is_connecting(self) -> bool:
        """Return whether an attempt to connect is running."""
        return self._attempt is not None and not self._attempt.done()

    def refresh(self) -> None:
        """Connect in the background if the pool has replicas; disconnect if it has none."""
        if self.pool.count_replicas():
            if self.encoder is None:
                self.connect()
        elif not self._alone:
            self.encoder = None

    @property
    def state(self) -> PoolModelState:
        """Return the present state."""
        attempt = self._attempt
        if self.pool.tracker.replicas == 0:
            state = "no replica"
        elif self.encoder is not None:
            state = "ready"
        else:
            state = "failed" if attempt is not None and attempt.done() else "loading"
        return PoolModelState(self.pool.deployment, state, self.info)

    def connect(self) -> asyncio.Task[None]:
        """Return the attempt to connect: one that runs, one that just failed, or a new one."""
        attempt = self._attempt
        if attempt is None or (attempt.done() and self.pool.now() >= self._retry_s):
            self._attempt = attempt = asyncio.get_running_loop().create_task(self._connect())
            attempt.add_done_callback(self._ended)
        return attempt

    def cancel(self) -> None:
        """Cancel a running attempt to connect."""
        if self._attempt is not None:
            self._attempt.cancel()

    async def _connect(self) -> None:
        pool, deadline = self.pool, Deadline.after(self._load_timeout_s)
        handle = handle_for(pool.handle, self._model)
        # Once: a load takes long, and must not start on another replica because of that.
        call = HandleClient(pool.deployment, handle).call(
            "describe", self._model, deadline=deadline, once=True
        )
        watched = not self._alone and pool.count_replicas()
        info: ModelInfo = await (pool.while_running(call) if watched else call)
        self._accept(pool, info)
        encoder = RemoteEncoder(pool, handle, self._model, self._batching, info, alone=self._alone)
        # Not through the pipeline, where the cache or a colocated stage may answer.
        await encoder.encode(TokenBatch.of([[0]]), priority=Priority.INTERACTIVE, deadline=deadline)
        self.info, self.encoder = info, encoder

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        failed = not attempt.cancelled() and attempt.exception() is not None
        if not failed or not self.pool.count_replicas():  # the pool lost its replicas meanwhile
            self._attempt = None
            return
        self._retry_s = self.pool.now() + RETRY_S
        if not self._alone:
            logger.error("%s cannot be used: %r", self.pool.deployment, attempt.exception())
