"""A model pool keyed by model settings, of which a list of models stays loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

from embedder.inference.pool import ModelPool
from embedder.settings.model import ModelSettings

StageT = TypeVar("StageT")


class PinnedPool(Generic[StageT]):
    """A pool of stages, keyed by the settings of their models; pinned models stay loaded."""

    def __init__(self, pool: ModelPool[str, StageT]) -> None:
        self.pool = pool
        self._settings: dict[str, ModelSettings] = {}
        self._pins: set[str] = set()
        self._pinning = asyncio.Lock()

    def key(self, model: ModelSettings) -> str:
        """Return the pool's key of a model, and remember the settings for its load."""
        key = model.key
        self._settings[key] = model  # settings that are not part of the key may change
        return key

    def settings(self, key: str) -> ModelSettings:
        """Return the latest settings with this key."""
        return self._settings[key]

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load and pin these models, and unpin all others."""
        async with self._pinning:
            wanted = {self.key(model) for model in models}
            failed: list[Exception] = []
            for key in sorted(wanted - self._pins):
                try:
                    await self.pool.pin(key)
                except Exception as error:  # noqa: BLE001 - the other models are still needed
                    failed.append(error)
                else:
                    self._pins.add(key)
            if failed:
                raise failed[0]
            # Last, because requests may use the old models until the new ones are ready.
            for key in self._pins - wanted:
                self.pool.unpin(key)
            self._pins = wanted
