"""A handle to a stage in this process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, cast

from deployments.rpc.handle_client import Handle
from tests.unit.deployments.rpc.grpc_limit import GRPC_BYTES, check_size


class LocalHandle:
    """Calls a stage in this process as a handle calls a deployment; raises ``fault`` if set.

    Calls by value are refused above ``limit`` bytes, as by gRPC. Records the multiplexed model ids,
    the size of each message, and the methods called by reference.
    """

    def __init__(self, stage: object, limit: int = GRPC_BYTES) -> None:
        self.fault: Exception | None = None
        self.multiplexed: list[str] = []
        self.sizes: list[int] = []
        self.by_reference: list[str] = []
        self._stage = stage
        self._limit = limit
        self._by_reference = False

    def options(
        self, *, multiplexed_model_id: str = "", _by_reference: bool = False
    ) -> LocalHandle:
        if multiplexed_model_id:
            self.multiplexed.append(multiplexed_model_id)
        if not _by_reference:
            return self
        handle = LocalHandle(self._stage, self._limit)
        handle.fault, handle._by_reference = self.fault, True
        handle.sizes, handle.by_reference = self.sizes, self.by_reference
        return handle

    def __getattr__(self, method: str) -> _Method:
        return _Method(self, method)

    def broadcast(self, method: str, *args: Any) -> _Broadcast:
        return _Broadcast(self, method, args)

    async def _answer(self, method: str, args: Sequence[Any]) -> Any:
        if self.fault is not None:
            raise self.fault
        if self._by_reference:
            self.by_reference.append(method)
        limit = sys.maxsize if self._by_reference else self._limit
        self.sizes.append(check_size(args, limit))
        answer = await getattr(self._stage, method)(*args)
        self.sizes.append(check_size(answer, limit))
        return answer


class _Method:
    def __init__(self, handle: LocalHandle, name: str) -> None:
        self._handle = handle
        self._name = name

    def remote(self, *args: Any) -> Awaitable[Any]:
        return self._handle._answer(self._name, args)


class _Broadcast:
    """The answers of all replicas, of which there is one."""

    def __init__(self, handle: LocalHandle, method: str, args: Sequence[Any]) -> None:
        self._answer = partial(handle._answer, method, args)

    async def results_async(self, *, return_exceptions: bool) -> list[Any]:
        return list(await asyncio.gather(self._answer(), return_exceptions=return_exceptions))


def as_handle(stage: object) -> Handle:
    """Return a stage, or its local handle, typed as a handle."""
    return cast("Handle", stage if isinstance(stage, LocalHandle) else LocalHandle(stage))
