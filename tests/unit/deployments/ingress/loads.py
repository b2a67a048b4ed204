"""Loads of models that a test ends, and the names that are served from them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.ingress.service.models import ServedModels
from embedder.core.outputs import Task, Tasks
from embedder.settings.model import ModelSettings


@dataclass(frozen=True, eq=False)
class Connected:
    """The result of a successful load."""

    settings: ModelSettings
    tasks: Tasks = frozenset(Task)


@dataclass(frozen=True, eq=False)
class Load:
    """One attempt, which a test ends."""

    settings: ModelSettings
    end: asyncio.Future[Connected]


class Loads:
    """Connects to models; records every attempt in order, with its result.

    A model has the tasks of ``tasks`` once it has loaded, or all.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, Tasks] = {}
        self.begun: list[ModelSettings] = []
        self.running: list[Load] = []
        self.connected: list[Connected] = []

    async def __call__(self, settings: ModelSettings) -> Connected:
        load = Load(settings, asyncio.get_running_loop().create_future())
        self.begun.append(settings)
        self.running.append(load)
        return await load.end

    async def finish(self, number: int = 0) -> Connected:
        """Let a running load end well, and everybody hear of it."""
        load = self.running.pop(number)
        tasks = self.tasks.get(load.settings.name, frozenset(Task))
        connected = Connected(load.settings, tasks)
        self.connected.append(connected)
        load.end.set_result(connected)
        await settle()
        return connected

    async def fail(self, error: Exception, number: int = 0) -> None:
        """Let a running load end with an error, and everybody hear of it."""
        self.running.pop(number).end.set_exception(error)
        await settle()


class Served:
    """The served models, over loads that a test ends."""

    def __init__(self, retry_s: float = 0.0) -> None:
        self.loads = Loads()
        self.models: ServedModels[Connected] = ServedModels(self.loads, retry_s=retry_s)

    async def configure(self, *models: ModelSettings, tasks: Sequence[Tasks | None] = ()) -> None:
        """Serve these, the first one pinned as in every list; return when loads have begun."""
        pinned = models[0].model_copy(update={"pinned": True})
        # Copies: Serve reads every list anew.
        self.models.configure([model.model_copy() for model in (pinned, *models[1:])], tasks)
        await settle()

    async def start(self, *models: ModelSettings) -> list[Connected]:
        """Serve these, of which every pinned one is loaded; return them."""
        await self.configure(*models)
        return [await self.loads.finish() for _ in [*self.loads.running]]

    async def ask(
        self, name: str | None = None, task: Task | None = None
    ) -> asyncio.Task[Connected]:
        """Return a request for a model, which has begun."""
        asked = asyncio.ensure_future(self.models.get(name, task=task))
        await settle()
        return asked

    def state(self, name: str | None = None) -> str:
        """Return how far the model of a name is."""
        return self.models.state(name).state


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


def model(name: str, alias: str | None = None, *, pinned: bool = False) -> ModelSettings:
    """Return the settings of a model."""
    return ModelSettings(name=name, alias=alias, pinned=pinned)
