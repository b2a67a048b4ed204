"""A pool of encoders behind a handle, whose replicas a test starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from deployments.encoder.pooled import PooledEncoder
from deployments.encoder.remote_pool import RemotePool
from deployments.rpc.handle_client import Handle
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import StageUnavailable
from embedder.core.types import Encoded, ModelInfo, Priority, ReplicaLoad, TokenBatch
from embedder.settings.model import ModelSettings
from tests.unit.deployments.ingress.fake_service import LetterEncoder
from tests.unit.deployments.local_handle import LocalHandle

SLOW, FAST = 1_000.0, 1_000_000.0
"""Tokens per second."""

AB = [1.0, 1.0, 0.0, 0.0]
"""The vector of 'ab'."""

MODELS = ModelSettings(name="all-MiniLM-L6-v2", pinned=True)


class PoolStage(LetterEncoder):
    """Encodes at ``tokens_per_s``, which it reports; ``changes`` are those of its description."""

    def __init__(self, tokens_per_s: float, **changes: Any) -> None:
        super().__init__()
        self.tokens_per_s = tokens_per_s
        self.queued = 0
        self.changes = changes
        self.hangs = False
        self._killed = asyncio.Event()

    def kill(self) -> None:
        """Lose the calls that hang; the replicas that come next do not hang."""
        self.hangs = False
        self._killed.set()
        self._killed = asyncio.Event()

    async def describe(self, model: ModelSettings) -> ModelInfo:
        return replace(await super().describe(model), **self.changes)

    async def encode(
        self,
        model: ModelSettings,
        tokens: TokenBatch,
        priority: Priority,
        deadline: Deadline,
        requests: tuple[str, ...] = (),
    ) -> Encoded:
        if self.hangs:
            await self._killed.wait()
            raise StageUnavailable("Encoder", "its replica was killed")
        await asyncio.sleep(len(tokens.ids) / self.tokens_per_s)
        encoded = await super().encode(model, tokens, priority, deadline)
        return replace(encoded, load=ReplicaLoad("r", self.queued, self.tokens_per_s))


class PoolHandle(LocalHandle):
    """A handle that knows its running replicas, and keeps calls until there is one, as Serve."""

    def __init__(self, stage: PoolStage, replicas: int = 1) -> None:
        super().__init__(stage)
        self.stage = stage
        self.calls: list[str] = []
        self._running: dict[int, None] = {}
        self._started = asyncio.Event()
        router = SimpleNamespace(curr_replicas=self._running)
        self._router = SimpleNamespace(_asyncio_router=SimpleNamespace(_request_router=router))
        self.run(replicas)

    def run(self, replicas: int) -> None:
        """Set the number of running replicas."""
        self._running.clear()
        self._running.update(dict.fromkeys(range(replicas)))
        (self._started.set if replicas else self._started.clear)()

    async def _answer(self, method: str, args: Sequence[Any]) -> Any:
        self.calls.append(method)
        await self._started.wait()
        return await super()._answer(method, args)

    @property
    def encoded(self) -> int:
        """Return the number of encoded calls, without probes."""
        return len(self.stage.calls)


class Pools:
    """The stage of one model over named pools, each a handle of a test."""

    def __init__(self, *, pools: Sequence[dict[str, Any]] | None = None, **handles: Any) -> None:
        stated = pools or [{"name": name} for name in handles]
        self.settings = ServeSettings.model_validate({"encoder": {"pools": stated}})
        self.remote = [
            RemotePool(pool, cast("Handle", handle))
            for pool, handle in zip(
                self.settings.encoder.deployments, handles.values(), strict=True
            )
        ]
        self.encoder = PooledEncoder(self.remote, self.settings, MODELS)

    async def connect(self, deadline: Deadline = NEVER) -> ModelInfo:
        return await self.encoder.connect(deadline)

    async def encode(self, text: str = "ab", deadline: Deadline = NEVER) -> list[float]:
        """Encode a text of letters, and return its vector."""
        tokens = TokenBatch.of([[ord(letter) for letter in text]])
        encoded = await self.encoder.encode(
            tokens, priority=Priority.INTERACTIVE, deadline=deadline
        )
        vector: list[float] = encoded.vectors[0].tolist()
        return vector

    def states(self) -> dict[str, str]:
        return {one.deployment.removeprefix("Encoder-"): one.state for one in self.encoder.states}


def two_handles(slow: int = 1, fast: int = 1) -> tuple[PoolHandle, PoolHandle]:
    """Return a slow and a fast pool with so many replicas."""
    return PoolHandle(PoolStage(SLOW), slow), PoolHandle(PoolStage(FAST), fast)


async def connected(cpu: PoolHandle, gpu: PoolHandle) -> Pools:
    """Return pools with all that have replicas connected."""
    pools = Pools(cpu=cpu, gpu=gpu)
    await pools.connect()
    pools.encoder._ready(pools.encoder._models)
    await asyncio.sleep(0.1)
    return pools
