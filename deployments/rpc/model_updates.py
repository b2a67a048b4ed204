"""How a replica applies ``user_config``: it loads the pinned models, and never fails once started.

While `reconfigure` runs, Serve sends the replica no calls. If `reconfigure` raises, Serve replaces
the replica by a new one, which fails at the same model. So only the first `reconfigure` waits for
the load and raises. A running replica loads in the background, retries until that succeeds, and
keeps its current models until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from deployments.settings.models import ModelList
from embedder.settings.model import ModelSettings

RETRY_S = 30.0
"""Seconds between a failed load on a running replica and the next attempt."""

logger = logging.getLogger("ray.serve")


class PinnedStages(Protocol):
    """The stages of several models, some of which always stay loaded."""

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load these models and keep them loaded."""


class ModelUpdates:
    """Applies each ``user_config`` to the stages of one replica, for the models that it serves.

    ``serves`` of None means that it serves all of them.
    """

    def __init__(
        self, stages: PinnedStages, *, serves: Callable[[ModelSettings], bool] | None = None
    ) -> None:
        self._stages = stages
        self._serves = serves
        self._started = False
        self._loading: asyncio.Task[None] | None = None

    async def apply(self, user_config: Mapping[str, Any]) -> None:
        """Load the models that ``user_config`` pins: the first time at once, then in background.

        Raises:
            ConfigurationError: a model cannot be loaded, and the replica is starting.
            pydantic.ValidationError: ``user_config`` is not a list of models, and the replica is
                starting.
        """
        try:
            pinned = ModelList.model_validate(user_config).pinned
        except ValidationError as error:
            if not self._started:
                raise
            logger.error("user_config is invalid, the models stay unchanged: %s", error)
            return
        models = [model for model in pinned if self._serves is None or self._serves(model)]
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
            except Exception as error:  # noqa: BLE001 - the loaded models must stay in service
                logger.error("the pinned models stay unchanged: %r", error)
            await asyncio.sleep(RETRY_S)
