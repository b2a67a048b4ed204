"""The encoders of all pools as one stage of the pipeline, for one model.

Each batch of tokens goes to the pool that will probably complete it first. If that pool fails, the
batch goes to another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from deployments.encoder.agreement import SAME_MODEL, difference, of_several_pools
from deployments.encoder.pool_model import PoolModel, PoolModelState
from deployments.encoder.remote_pool import CHECK_S, RemotePool
from deployments.encoder.routing import earliest
from deployments.settings.encoders import DEPLOYMENT
from deployments.settings.service import ServeSettings
from embedder.core.deadline import Deadline
from embedder.core.errors import (
    BackendFailure,
    ConfigurationError,
    DeadlineExceeded,
    StageUnavailable,
)
from embedder.core.types import Encoded, ModelInfo, Priority, TokenBatch
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings

START_S = 30.0
"""Seconds for which work waits for the first replica. A request may take longer, so that its client
gets 503 with Retry-After before its deadline."""


class PooledEncoder:
    """Encodes with one model in the pools that have it."""

    def __init__(
        self, pools: Sequence[RemotePool], settings: ServeSettings, model: ModelSettings
    ) -> None:
        """Choose the pools of a model among all; connect to none yet.

        Raises:
            ConfigurationError: no pool has the model.
        """
        chosen = [pool for pool in pools if pool.serves(model)]
        if not chosen:
            name = model_names(model)[0]
            raise ConfigurationError(f"no pool of encoder.pools has the model {name!r}")
        self.alone = len(chosen) == 1
        self._dtype = settings.backend.dtype
        self._reference: tuple[RemotePool, ModelInfo] | None = None
        self._models: Sequence[PoolModel] = [
            PoolModel(
                pool,
                model,
                settings.batching,
                self._accept,
                alone=self.alone,
                load_timeout_s=settings.load_timeout_s,
            )
            for pool in chosen
        ]

    async def connect(self, deadline: Deadline) -> ModelInfo:
        """Return the description of the model once one pool has encoded with it.

        Raises:
            EmbedderError: as the first pool, if no pool can load the model.
            StageUnavailable: no pool has had a replica until ``deadline``.
        """
        await self._wait(self._models, 1, deadline)
        assert self._reference is not None  # the first pool that connected has set it
        info = self._reference[1]
        return info if self.alone else of_several_pools(info, self._dtype)

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        """Return pooled vectors float32[n, width] before normalization, in order, and timings.

        Raises:
            StageUnavailable: no pool has had a replica for `START_S`; or all pools failed.
            EmbedderError: as the last pool that was tried.
        """
        count = len(tokens.ids)
        left = self._models
        while True:
            ready = self._ready(left)
            if not ready:
                left = left if _running(left) else self._models
                await self._wait(left, count, min(deadline, Deadline.after(START_S)))
                continue
            chosen = _earliest(ready, count)
            assert chosen.encoder is not None
            try:
                with chosen.pool.counted(count):
                    return await chosen.encoder.encode(tokens, priority=priority, deadline=deadline)
            except DeadlineExceeded:
                if chosen.pool.count_replicas():
                    raise
                raise StageUnavailable(chosen.pool.deployment, "it has no replica") from None
            except (StageUnavailable, BackendFailure) as error:  # the pool has logged it
                left = [one for one in left if one is not chosen]
                lost = isinstance(error, StageUnavailable)
                if not self._ready(left) and not (lost and self._is_expected(left)):
                    raise

    def refresh(self) -> None:
        """Connect in the background to pools that have a replica now, though no work needs them."""
        for one in self._models:
            one.refresh()

    @property
    def idle(self) -> bool:
        """Return whether nothing waits or runs."""
        return all(one.encoder is None or one.encoder.batcher.idle for one in self._models)

    @property
    def waiting(self) -> int:
        """Return the number of inputs that wait in this process."""
        return sum(len(one.encoder.batcher) for one in self._models if one.encoder is not None)

    @property
    def states(self) -> list[PoolModelState]:
        """Return the state of the model in each of its pools."""
        return [one.state for one in self._models]

    def _ready(self, models: Sequence[PoolModel]) -> Sequence[PoolModel]:
        if self.alone and self._models[0].ready:
            return models
        self.refresh()
        return [one for one in models if one.ready]

    def _is_expected(self, models: Sequence[PoolModel]) -> bool:
        """Return whether work that a pool has lost can wait for another pool.

        It waits for a pool that connects now, or if no pool has a replica, for the first replica.
        """
        connecting = any(one.is_connecting for one in _running(models))
        return not self.alone and (connecting or not _running(self._models))

    async def _wait(self, models: Sequence[PoolModel], tokens: int, deadline: Deadline) -> None:
        """Wait as `_first_ready`; meanwhile count the work as that of the first pool.

        Autoscaling then starts a replica if the pool has none.
        """
        with models[0].pool.counted(tokens):
            await self._first_ready(models, deadline)

    async def _first_ready(self, models: Sequence[PoolModel], deadline: Deadline) -> None:
        """Return once one of these pools has answered, or only other pools have replicas.

        Connect to the pools with replicas; if none of these has one, to all of these.

        Raises:
            EmbedderError: as the first pool, if every attempt to connect failed.
            StageUnavailable: no pool has answered until ``deadline``.
        """
        while not self._ready(models):
            running = _running(models)
            if not running and _running(self._models):
                return
            attempts = [one.connect() for one in running or models]
            pending = [attempt for attempt in attempts if not attempt.done()]
            if not pending:
                raise _error_of(attempts[0])
            timeout_s = min(CHECK_S, deadline.remaining_s())
            if timeout_s <= 0:
                raise StageUnavailable(DEPLOYMENT, "no pool has a replica")
            await asyncio.wait(pending, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for one in models:
            if not one.pool.tracker.replicas:
                one.cancel()

    def _accept(self, pool: RemotePool, info: ModelInfo) -> None:
        """Refuse a model that differs from that of the first pool.

        Raises:
            ConfigurationError: it does.
        """
        if self._reference is None:
            self._reference = pool, info
            return
        first, there = self._reference
        if problem := difference(SAME_MODEL, info, there):
            raise ConfigurationError(
                f"{pool.deployment} has another model than {first.deployment}: {problem}"
            )


def _earliest(ready: Sequence[PoolModel], tokens: int) -> PoolModel:
    if len(ready) == 1:
        return ready[0]
    at = earliest([one.pool.tracker.state(one.pool.now()) for one in ready], tokens)
    return ready[at or 0]


def _running(models: Sequence[PoolModel]) -> list[PoolModel]:
    return [one for one in models if one.pool.count_replicas()]


def _error_of(attempt: asyncio.Task[None]) -> BaseException:
    """Return the error of a failed attempt, which several callers raise."""
    error = None if attempt.cancelled() else attempt.exception()
    return (error or StageUnavailable(DEPLOYMENT, "no pool has a replica")).with_traceback(None)
