"""What a replica does with ``user_config``: load what is pinned in it, and never fail once running.

While `reconfigure` runs, Serve sends a replica no calls, and a replica whose `reconfigure` raises
is replaced by one that fails at the same model. So only the first one waits and raises; a running
replica loads in the background, again until it succeeds, and keeps what it has until that is done.
Knows nothing of what is loaded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from deployments.settings.models import ModelList
from embedder.settings.model import ModelSettings

RETRY_S = 30.0
"""After a load that failed on a running replica, before the next attempt."""

logger = logging.getLogger("ray.serve")


class PinnedStages(Protocol):
    """Keeps the stages of several models."""

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load these models and keep them."""


class ModelUpdates:
    """The pinned models of one replica."""

    def __init__(self, stages: PinnedStages, *, retry_s: float = RETRY_S) -> None:
        self._stages = stages
        self._retry_s = retry_s
        self._started = False
        self._loading: asyncio.Task[None] | None = None

    async def apply(self, user_config: Mapping[str, Any]) -> None:
        """Load the models that ``user_config`` pins: at once where none is, else in the background.

        Raises:
            ConfigurationError: a model cannot be loaded, and the replica is just starting.
            pydantic.ValidationError: it is no list of models, and the replica is just starting.
        """
        try:
            models = ModelList.model_validate(user_config).pinned
        except ValidationError as error:
            if not self._started:
                raise
            logger.error("user_config is wrong, the models stay as they are: %s", error)
            return
        if not self._started:
            await self._stages.pin(models)
            self._started = True
            return
        if self._loading is not None:
            self._loading.cancel()
        self._loading = asyncio.get_running_loop().create_task(self._load(models))

    async def _load(self, models: Sequence[ModelSettings]) -> None:
        while True:
            try:
                await self._stages.pin(models)
                return
            except Exception as error:  # noqa: BLE001 - the models that are there go on serving
                logger.error("the pinned models stay as they are: %r", error)
            await asyncio.sleep(self._retry_s)
